"""Lightning's TensorBoard and CSV loggers; a folder that cannot be written costs a warning, not the fit.

Their names differ from Lightning's: two classes of one name make the short name in a YAML file ambiguous.
"""

import csv
import os
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers import TensorBoardLogger as _EventLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from tocsin.escaping import terminal_text
from tocsin.files import FullDiskWarning, fsync_path, whole_file

__all__ = ["RunCsvLogger", "RunTensorBoardLogger"]


class CurvesWarning(UserWarning):
    """Curves that are not whole."""


class _Surviving:
    """Stops writing at the first OSError, says so once, and goes on as a logger that writes nothing."""

    stopped: bool = False

    def attempt(self, write: Callable[[], Any]) -> Any:
        """Run `write` unless this logger has stopped; stop at an OSError and return None."""
        if self.stopped:
            return None
        try:
            return write()
        except (OSError, ValueError) as failed:
            # Lightning's TensorBoard logger says ValueError to whatever its writer says.
            error = failed if isinstance(failed, OSError) else failed.__cause__
            if not isinstance(error, OSError):
                raise
            self.stopped = True
            warnings.warn(
                f"{type(self).__name__} stops: {error}. The fit goes on without these curves.",
                FullDiskWarning,
                stacklevel=3,
            )
            return None


class RunTensorBoardLogger(_Surviving, _EventLogger):
    """Writes TensorBoard event files straight into a folder.

    Args:
        save_dir: The folder, for instance a run's.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir=save_dir, name="", version="", default_hp_metric=False)
        _hide_host()

    @property
    def experiment(self) -> Any:
        """The SummaryWriter; once stopped, an object whose every method does nothing."""
        writer = self.attempt(lambda: super(RunTensorBoardLogger, self).experiment)
        return _DummyExperiment() if writer is None else writer

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars."""
        self.attempt(lambda: super(RunTensorBoardLogger, self).log_metrics(_named(metrics), step))

    def log_hyperparams(self, *arguments: Any, **named: Any) -> None:
        """Write a flat dict of settings."""
        self.attempt(lambda: super(RunTensorBoardLogger, self).log_hyperparams(*arguments, **named))

    def save(self) -> None:
        """Flush to disk."""
        self.attempt(super().save)

    def finalize(self, status: str) -> None:
        """Close the files."""
        self.attempt(lambda: super(RunTensorBoardLogger, self).finalize(status))

    def position(self) -> dict[str, Any]:
        """The event files and their sizes in bytes, all that was logged so far on the disk."""
        return self.attempt(self._sizes) or {}

    def go_on(self, position: dict[str, Any]) -> None:
        """Cut the folder's event files to a position of an earlier process, so that no step stands twice."""
        self.attempt(lambda: self._cut(position))

    def _sizes(self) -> dict[str, int]:
        self.experiment.flush()
        return {path.name: path.stat().st_size for path in self._event_files()}

    def _cut(self, sizes: dict[str, Any]) -> None:
        # TensorBoard tells nobody the name of the file that it writes.
        own = Path(self.experiment.file_writer.event_writer._file_name).name
        for path in self._event_files():
            if path.name == own:
                continue
            if path.name not in sizes:  # of a process that was killed before it saved anything
                path.unlink()
            elif path.stat().st_size > sizes[path.name]:
                os.truncate(path, sizes[path.name])

    def _event_files(self) -> list[Path]:
        return sorted(Path(self.log_dir).glob("events.out.tfevents.*"))


class RunCsvLogger(_Surviving, CSVLogger):
    """Writes metrics.csv straight into a folder.

    Args:
        save_dir: The folder, for instance a run's.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir=save_dir, name="", version="")

    @property
    def experiment(self) -> Any:
        """The writer; once stopped, an object whose every method does nothing."""
        if self._experiment is None and getattr(rank_zero_only, "rank", 0) == 0:
            self._experiment = self.attempt(lambda: _Rows(self.log_dir))
        return _DummyExperiment() if self._experiment is None or self.stopped else self._experiment

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars."""
        self.attempt(lambda: super(RunCsvLogger, self).log_metrics(_named(metrics), step))

    def save(self) -> None:
        """Flush to disk."""
        self.attempt(super().save)

    def finalize(self, status: str) -> None:
        """Close the files."""
        self.attempt(lambda: super(RunCsvLogger, self).finalize(status))

    def position(self) -> dict[str, Any]:
        """The rows and columns so far, on the disk."""
        self.save()
        return self.attempt(lambda: self.experiment.position()) or {}

    def go_on(self, position: dict[str, Any]) -> None:
        """Cut metrics.csv to a position of an earlier process and append to it from there."""
        self.attempt(lambda: self.experiment.go_on(position))


class _Rows(ExperimentWriter):
    """Appends rows to metrics.csv; a new column rewrites it, whole or not at all.

    A file of another fit is replaced with the first row.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.path = Path(self.metrics_file_path)
        self.rows = 0

    def _check_log_dir_exists(self) -> None:
        """Delete nothing here: a fit that goes on reads the file."""

    def save(self) -> None:
        """Write the rows that were logged since the last save."""
        if not self.metrics:
            return
        if self._record_new_keys() or not self.rows:
            self._rewrite(self._written(self.rows))
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.metrics_keys).writerows(self.metrics)
        self.rows += len(self.metrics)
        self.metrics = []

    def position(self) -> dict[str, Any]:
        if self.rows:
            fsync_path(self.path)
        return {"rows": self.rows, "columns": list(self.metrics_keys)}

    def go_on(self, position: dict[str, Any]) -> None:
        wanted = int(position.get("rows", 0))
        kept = self._written(wanted)
        if len(kept) < wanted:
            rank_zero_warn(
                f"{self.path} has {len(kept):,} of the {wanted:,} rows that the checkpoint counts; the curve goes on.",
                category=CurvesWarning,
            )
        self.rows, self.metrics_keys = len(kept), [str(name) for name in position.get("columns", [])]
        if kept:
            self._rewrite(kept)

    def _written(self, most: int) -> list[dict[str, Any]]:
        """The first rows of the file; a torn one ends them."""
        if not most or not self.path.is_file():
            return []
        with open(self.path, newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.DictReader(file)
            found = [row for row, _ in zip(rows, range(most), strict=False)]
        whole = [None not in row and None not in row.values() for row in found]
        return found[: whole.index(False)] if False in whole else found

    def _rewrite(self, kept: list[dict[str, Any]]) -> None:
        with whole_file(self.path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.metrics_keys, extrasaction="ignore")
            writer.writeheader()
            writer.writerows([*kept, *self.metrics])


def _hide_host() -> None:
    """Let files of events be named "tocsin" where TensorBoard puts the machine's name; it has no option for that."""
    from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]

    event_file_writer.socket = types.SimpleNamespace(gethostname=lambda: "tocsin")


def _named(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics with names that are shown as text: those of languages and labels come from data."""
    return {terminal_text(name): value for name, value in metrics.items()}
