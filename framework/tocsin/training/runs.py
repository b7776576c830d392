"""One folder per run and verb: runs/NAME/2026-11-21T18-04-05-fit, with a link latest-fit beside it.

Only the first process of a distributed run makes and locks a folder; the other ranks are told its path.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from dataclasses import dataclass, field
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tocsin.errors import ConfigError
from tocsin.escaping import json_escaped
from tocsin.files import NO_LOCKS, FullDiskWarning, write_text
from tocsin.training import provenance

try:
    import fcntl
except ImportError:  # Windows: folders are still unique, only resuming one twice at once is not noticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["DATED", "Run", "is_first_rank", "is_held", "open_run", "start_run"]

# How the first process tells its path to the ranks that Lightning starts as children.
_FOLDER = "TOCSIN_RUN_FOLDER"
# What torchrun, Lightning, SLURM and LSF call a process's rank, in the order in which Lightning asks.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
_NAME = re.compile(r"[\w][\w.+-]*")
DATED = re.compile(r"(?P<stamp>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)-(?P<verb>.+?)(-\d+)?")
"""A run folder's name: when it began, and what it does."""


@dataclass
class Run:
    """A run's folder, held by this process until `close` or its end.

    Attributes:
        path: The folder.
        verb: What the run does, for instance "fit".
        name: The experiment it belongs to.
        record: What provenance.json says of this session, with the sessions before it under "earlier"; empty where this
            process writes no file. A run has one from its beginning, so that a killed one is known as such.
        elsewhere: What stands in for the folder where scores had no room in it; None: the folder itself.
    """

    path: Path
    verb: str
    name: str
    record: dict[str, Any] = field(default_factory=dict, compare=False)
    elsewhere: Path | None = field(default=None, compare=False)
    _lock: TextIOWrapper | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """The run as tables and reports quote it: NAME/FOLDER."""
        return f"{self.name}/{self.path.name}"

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def scores(self) -> Path:
        """Where its scores tables lie."""
        return (self.elsewhere or self.path) / "scores"

    @property
    def pairs(self) -> Path:
        """Where the held-out pairs of a distillation lie."""
        return self.path / "pairs"

    def begin(self) -> None:
        """Open the record of a session, or open again one that runs: seeds and libraries are known late."""
        if self.record.get("status") == "running":
            kept: dict[str, Any] = {
                name: self.record[name] for name in ("started", "earlier") if name in self.record
            }
        else:
            earlier = _earlier(self.path)
            kept = {"earlier": earlier} if earlier else {}
        self.record = {**provenance.started(self.name, self.verb), **kept}

    def write_record(self) -> None:
        """Write `record` to provenance.json.

        Raises:
            OSError: The folder is full or read-only.
        """
        if self.record:
            text = json_escaped(json.dumps(self.record, indent=2, ensure_ascii=False, default=str))
            write_text(self.path / "provenance.json", text + "\n")

    def end(self, error: BaseException | None, go_on: str | None = None) -> None:
        """Write how the run ended, with a warning where the folder cannot be written; an error outdoes "completed".

        Args:
            error: Why it ended; None: it is complete.
            go_on: The command that goes on with it.
        """
        if not self.record or (error is None and self.record.get("status") != "running"):
            return
        self.record = provenance.ended(self.record, error, go_on)
        try:
            self.write_record()
        except OSError as fault:
            warnings.warn(
                f"provenance.json of the run {self.path} could not be written: {fault}",
                FullDiskWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        """Let other processes open the folder; closing twice is fine."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def start_run(name: str, verb: str, root: str | Path = "runs") -> Run:
    """Make a new run folder and hold it.

    Args:
        name: The experiment; one folder name.
        verb: What the run does; ends the folder's name.
        root: Where all runs lie.

    Raises:
        ConfigError: The name is no folder name, or the folder cannot be written.
    """
    for word, what in ((name, "the run's name"), (verb, "the verb")):
        if not _NAME.fullmatch(word):
            raise ConfigError(
                f"{what} is {word!r}; wanted: one folder name of letters, digits, '.', '+', '_' and '-', "
                "for instance 'crisis-messages'"
            )
    if not is_first_rank():
        told = os.environ.get(_FOLDER)
        # Under torchrun nobody told: this rank writes no file, so its path is only a name.
        return Run(Path(told) if told else Path(root, name, f"other-rank-{verb}").absolute(), verb, name)
    home = Path(root, name).absolute()
    stamp = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    try:
        home.mkdir(parents=True, exist_ok=True)
        path = _new_folder(home, f"{stamp}-{verb}")
        run = Run(path, verb, name, _lock=_lock(path))
        run.begin()
        run.write_record()
    except OSError as error:
        raise ConfigError(
            f"the run folder {home} cannot be written ({error}); choose another folder for runs, or mend its "
            "permissions"
        ) from error
    _link_latest(home, verb, path)
    os.environ[_FOLDER] = str(path)
    return run


def open_run(path: str | Path) -> Run:
    """Hold an existing run folder again, to resume it.

    Raises:
        ConfigError: There is no such folder, it cannot be written, or another process works in it.
    """
    folder = Path(path).absolute()
    folder = folder.resolve() if folder.is_symlink() else folder  # latest-fit
    if not folder.is_dir():
        raise ConfigError(f"there is no run folder {folder}")
    dated = DATED.fullmatch(folder.name)
    run = Run(folder, dated["verb"] if dated else "run", folder.parent.name)
    if is_first_rank():
        try:
            run._lock = _lock(folder)
            run.begin()
            run.write_record()
        except OSError as error:
            raise ConfigError(f"the run folder {folder} cannot be written ({error})") from error
        os.environ[_FOLDER] = str(folder)
    return run


def is_first_rank() -> bool:
    """Say whether this process is the one of its run that writes files."""
    given = [os.environ[name] for name in _RANKS if name in os.environ]
    # Lightning's own launcher tells the rank in the machine and the machine's number apart
    return (not given or given[0] == "0") and os.environ.get("NODE_RANK", "0") == "0"


def is_held(path: str | Path) -> bool | None:
    """Say whether a process of this machine works in a run folder; None where that cannot be told."""
    if fcntl is None:
        return None
    try:
        with open(Path(path) / ".lock", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def _earlier(folder: Path) -> list[dict[str, Any]]:
    try:
        record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        earlier = record.pop("earlier", [])
        return [*earlier, record]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _new_folder(home: Path, name: str) -> Path:
    for number in range(1, 1000):
        path = home / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):  # another run of the same second
            path.mkdir()
            return path
    raise FileExistsError(f"{home / name} and 998 more")


def _lock(folder: Path) -> TextIOWrapper:
    # The system drops this lock when the process ends, however it ends: no stale lock after a kill.
    file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115  held as long as the run
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise ConfigError(
                f"another process (id {holder}) works in the run folder {folder}; wait for its end or start "
                "a new run"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise
            warnings.warn(
                f"the file system of {folder} has no locks: make sure that no other process works there",
                stacklevel=4,
            )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _link_latest(home: Path, verb: str, path: Path) -> None:
    temporary = home / f".latest-{verb}.{os.getpid()}.tmp"
    with contextlib.suppress(
        OSError, NotImplementedError
    ):  # symlinks may need privileges; nothing relies on them
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path.name, target_is_directory=True)
        os.replace(temporary, home / f"latest-{verb}")
