"""Lightning's TensorBoard and CSV loggers; a folder that cannot be written costs a warning, not the fit.

Their names differ from Lightning's: two classes of one name make the short name in a YAML file ambiguous.
"""

import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers import TensorBoardLogger as _EventLogger

from tocsin.escaping import terminal_text

__all__ = ["RunCsvLogger", "RunTensorBoardLogger"]


class _Surviving:
    """Stops writing at the first OSError, says so once, and goes on as a logger that writes nothing."""

    stopped: bool = False

    def attempt(self, write: Callable[[], Any]) -> Any:
        """Run `write` unless this logger has stopped; stop at an OSError and return None."""
        if self.stopped:
            return None
        try:
            return write()
        except OSError as error:
            self.stopped = True
            warnings.warn(
                f"{type(self).__name__} stops: {error}. The fit goes on without these curves.", stacklevel=3
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
        writer = self.attempt(lambda: super(RunCsvLogger, self).experiment)
        return _DummyExperiment() if writer is None else writer

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars."""
        self.attempt(lambda: super(RunCsvLogger, self).log_metrics(_named(metrics), step))

    def save(self) -> None:
        """Flush to disk."""
        self.attempt(super().save)

    def finalize(self, status: str) -> None:
        """Close the files."""
        self.attempt(lambda: super(RunCsvLogger, self).finalize(status))


def _hide_host() -> None:
    """Let files of events be named "tocsin" where TensorBoard puts the machine's name; it has no option for that."""
    from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]

    event_file_writer.socket = types.SimpleNamespace(gethostname=lambda: "tocsin")


def _named(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics with names that are shown as text: those of languages and labels come from data."""
    return {terminal_text(name): value for name, value in metrics.items()}
