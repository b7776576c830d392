"""Every error that Tocsin raises on purpose.

    TocsinError
    ├── ConfigError        a setting, a YAML file or a command line that cannot be honoured
    ├── DataError          a message file or a row of it
    ├── LabelError         label names, their order or their values
    ├── BundleError        a shipped folder that is incomplete, altered or made for something else
    ├── CheckpointError    a checkpoint that cannot be written, read or matched
    ├── PluginError        a plugin that cannot be loaded, or a component that nobody offers
    └── TrainingError      a fit that cannot go on (a loss that is not finite)

`Interrupted` stands outside: a signal that ends the process is nobody's error.

Each is a user's to mend: the command line prints its message without a traceback and exits with code 2.
A message says what was given, what was wanted and the likely fix.
"""

from __future__ import annotations

import signal
from pathlib import Path

__all__ = [
    "BundleError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Interrupted",
    "LabelError",
    "PluginError",
    "TocsinError",
    "TrainingError",
    "did_you_mean",
]

_BEGINNING = 3  # letters of which a name may be told


class TocsinError(Exception):
    """Base of all errors that Tocsin raises on purpose."""


class ConfigError(TocsinError):
    """A setting, a YAML file or a command line that cannot be honoured."""


class DataError(TocsinError):
    """A message file or a row of it.

    Args:
        message: What was given, what was wanted, the likely fix.
        file: The file that holds the fault.
        row: The row in that file, counted from 1, header not counted.
    """

    def __init__(self, message: str, *, file: str | Path | None = None, row: int | None = None) -> None:
        self.file = None if file is None else str(file)
        self.row = row
        where = "" if file is None else f"{file}: " if row is None else f"{file}, row {row}: "
        super().__init__(f"{where}{message}")


class LabelError(TocsinError):
    """Label names, their order or their values."""


class BundleError(TocsinError):
    """A shipped folder that is incomplete, altered or made for something else."""


class CheckpointError(TocsinError):
    """A checkpoint that cannot be written, read or matched."""


class PluginError(TocsinError):
    """A plugin that cannot be loaded, or a component that nobody offers."""


class TrainingError(TocsinError):
    """A fit that cannot go on, for instance because its loss is not finite."""


class Interrupted(BaseException):
    """A signal asks this process to end; no error, so that nothing that handles errors swallows it.

    Args:
        signum: The signal's number.

    Attributes:
        note: What was saved and how to go on, for the last line; "" for nothing.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
        self.note = ""

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells and schedulers report it."""
        return 128 + self.signum

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.signum).name}{self.note}"


def did_you_mean(given: str, known: list[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, or "" when none is close.

    A name that begins as the given one does comes first, as Mean begins MeanEnsemble, whatever the case; the shortest
    of several.
    """
    from difflib import get_close_matches

    folded = given.casefold()
    begun = [name for name in known if len(given) >= _BEGINNING and name.casefold().startswith(folded)]
    close = sorted(begun, key=len) or get_close_matches(given, known, n=1)
    if not close:  # case is the commonest slip, and too far for difflib in a short name
        names = {name.casefold(): name for name in known}
        close = [names[each] for each in get_close_matches(folded, names, n=1)]
    return f" Did you mean {close[0]!r}?" if close else ""
