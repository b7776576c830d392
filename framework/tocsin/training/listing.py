"""What a folder of runs holds, read from each run's own files; a broken folder is told as one, never raised.

Nothing here needs torch or lightning.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tocsin.errors import ConfigError
from tocsin.training.runs import DATED, is_held

__all__ = ["SORTS", "RunSummary", "list_runs", "read_run", "run_folders", "sorted_runs"]

NO_RECORD = "no record"
_SPLITS = ("test", "validation")  # of a run that has both, the test scores are its figures


@dataclass
class RunSummary:
    """One run in a list; None where its files do not say.

    Args:
        path: Its folder.
        name: The experiment.
        verb: What it did.
        started: As its record says, ISO 8601 with the time zone; without a record, what its folder's name says.
        status: completed, failed, interrupted (by a signal), running, killed (its record says running and no process
            holds the folder) or "no record" (none that can be read; `problems` says what to do).
        duration_seconds: Of all its sessions that ended, resumed ones included.
        resumed: Times it was resumed.
        split: The split that the figures are of.
        messages: Messages in the scores table.
        macro_roc_auc: Mean over the labels where it is defined.
        macro_average_precision: Likewise.
        seed: Of the whole run.
        commit: Of the working folder, whole.
        dirty: Whether tracked files differed from it.
        reason: Why it failed, or the signal that interrupted it.
        go_on: The command that goes on with it.
        problems: What could not be read, why, and what to do.
    """

    path: str
    name: str
    verb: str | None = None
    started: str | None = None
    status: str = NO_RECORD
    duration_seconds: float | None = None
    resumed: int = 0
    split: str | None = None
    messages: int | None = None
    macro_roc_auc: float | None = None
    macro_average_precision: float | None = None
    seed: int | None = None
    commit: str | None = None
    dirty: bool | None = None
    reason: str | None = None
    go_on: str | None = None
    problems: list[str] = field(default_factory=list)


# Column -> whether the largest comes first.
SORTS = {
    "started": True,
    "name": False,
    "verb": False,
    "status": False,
    "duration_seconds": True,
    "macro_roc_auc": True,
    "macro_average_precision": True,
}


def list_runs(root: str | Path = "runs") -> list[RunSummary]:
    """Read every run below a folder: `root`/NAME/RUN, the runs of one NAME, or one run.

    Raises:
        ConfigError: There is no such folder.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise ConfigError(
            f"there is no folder of runs {str(root)!r}; wanted the folder given to --runs of a fit"
        )
    return [read_run(path) for path in run_folders(folder, depth=2)]


def sorted_runs(runs: Iterable[RunSummary], by: str = "started", reverse: bool = False) -> list[RunSummary]:
    """Sort by a key of `SORTS`: latest, longest and best first, names from a to z; runs without a value come last."""
    known = [run for run in runs if getattr(run, by) is not None]
    unknown = [run for run in runs if getattr(run, by) is None]
    return sorted(known, key=lambda run: getattr(run, by), reverse=SORTS[by] != reverse) + unknown


def read_run(path: Path) -> RunSummary:
    """Tell what a run's folder says of itself; what cannot be read goes into `problems`."""
    dated = DATED.fullmatch(path.name)
    found = RunSummary(
        path=str(path),
        name=path.absolute().parent.name,
        verb=dated["verb"] if dated else None,
        started=_stamp(dated["stamp"]) if dated else None,
    )
    try:
        record = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"a {type(record).__name__}, not a record")
        _take_record(found, record)
    except FileNotFoundError:
        found.problems.append(f"provenance.json is missing; {_fix(path)}")
    except (OSError, ValueError) as error:
        found.problems.append(f"provenance.json cannot be read ({_first_line(error)}); {_fix(path)}")
    if found.go_on and "--resume" in found.go_on.split():
        found.go_on = _resume_words(path)  # the folder as it is found now: it may have been moved
    held = is_held(path)
    if found.status == "running" and held is False:
        found.status = "killed"
        found.go_on = found.go_on or _resume(path)
    elif found.status == NO_RECORD and held:
        found.status = "running"
    _take_scores(found, path)
    return found


def _resume(path: Path) -> str | None:
    """The command that goes on with a fit; None without a checkpoint."""
    if not any((path / "checkpoints").glob("*.ckpt")):
        return None
    return _resume_words(path)


def _resume_words(path: Path) -> str:
    return shlex.join(["tocsin", "fit", "--resume", str(path)])


def _fix(path: Path) -> str:
    resume = _resume(path)
    if resume:
        return f"its checkpoints are there: go on with {resume}"
    if any((path / name).exists() for name in ("bundle", "scores")):
        return "what else lies in the folder can still be used; start the run again for a record of it"
    return f"nothing of it can be used: {shlex.join(['rm', '-r', str(path)])}"


def _take_record(found: RunSummary, record: dict[str, Any]) -> None:
    found.name = _of(record, "name", str) or found.name
    found.verb = _of(record, "verb", str) or found.verb
    found.started = _of(record, "started", str) or found.started
    found.status = _of(record, "status", str) or found.status
    found.seed = _of(record, "seed", int)
    found.reason = _of(record, "error", str) or _of(record, "signal", str)
    found.go_on = _of(record, "go_on", str)
    git = _of(record, "git", dict) or {}
    found.commit, found.dirty = _of(git, "commit", str), _of(git, "dirty", bool)
    earlier = [one for one in _of(record, "earlier", list) or [] if isinstance(one, dict)]
    found.resumed = len(earlier)
    seconds = [_of(one, "duration_seconds", int, float) for one in (record, *earlier)]
    known = [float(one) for one in seconds if one is not None]
    found.duration_seconds = sum(known) if known else None
    if earlier:  # the run began with its first session
        found.started = _of(earlier[0], "started", str) or found.started


def _take_scores(found: RunSummary, path: Path) -> None:
    split = next((split for split in _SPLITS if (path / "scores" / f"{split}.parquet").is_file()), None)
    if split is None:
        return
    from tocsin.scores.metrics import evaluate
    from tocsin.scores.table import ScoresTable

    found.split = split
    try:
        table = ScoresTable.read(path / "scores" / f"{split}.parquet")
        found.messages = len(table.ids)
        if table.targets_NL is not None:
            macro = evaluate(table).macro
            found.macro_roc_auc = _finite(macro["roc_auc"])
            found.macro_average_precision = _finite(macro["average_precision"])
    except Exception as error:  # one spoilt file must not hide the other runs, whatever is wrong with it
        found.problems.append(f"scores/{split}.parquet: {_first_line(error)}")


def run_folders(folder: Path, depth: int = 2) -> Iterator[Path]:
    """Yield the folders of runs below a folder, itself among them, to a depth."""
    if DATED.fullmatch(folder.name) or (folder / "provenance.json").is_file():
        yield folder
    elif depth:
        try:
            # latest-fit is a link to a run that is listed anyway
            inner = sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())
        except OSError:
            return
        for one in inner:
            if os.access(one, os.R_OK | os.X_OK):
                yield from run_folders(one, depth - 1)
            elif DATED.fullmatch(one.name):
                yield one


def _of(record: dict[str, Any], key: str, *kinds: type) -> Any:
    value = record.get(key)
    # True is an int to Python, but no seed and no number of seconds.
    return value if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) else None


def _stamp(text: str) -> str:
    date, _, time = text.partition("T")
    return f"{date}T{time.replace('-', ':')}"


def _finite(value: float) -> float | None:
    return None if value != value else float(value)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
