"""Lightning's TensorBoard and CSV loggers; a folder that cannot be written costs a warning, not the fit.

Their names differ from Lightning's: two classes of one name make the short name in a YAML file ambiguous.
"""

import warnings
from collections.abc import Callable
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers import TensorBoardLogger as _EventLogger

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

    @property
    def experiment(self) -> Any:
        """The SummaryWriter; once stopped, an object whose every method does nothing."""
        writer = self.attempt(lambda: super(RunTensorBoardLogger, self).experiment)
        return _DummyExperiment() if writer is None else writer

    def log_metrics(self, *arguments: Any, **named: Any) -> None:
        """Write scalars."""
        self.attempt(lambda: super(RunTensorBoardLogger, self).log_metrics(*arguments, **named))

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

    def log_metrics(self, *arguments: Any, **named: Any) -> None:
        """Write scalars."""
        self.attempt(lambda: super(RunCsvLogger, self).log_metrics(*arguments, **named))

    def save(self) -> None:
        """Flush to disk."""
        self.attempt(super().save)

    def finalize(self, status: str) -> None:
        """Close the files."""
        self.attempt(lambda: super(RunCsvLogger, self).finalize(status))
