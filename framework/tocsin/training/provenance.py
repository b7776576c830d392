"""What a run's figures came from: versions, machine, source state, data files, seeds and times.

It says neither who ran it nor where: no user, no machine's name, no folder outside of the working folder,
`$TOCSIN_DATA` and the home folder.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tocsin.errors import Interrupted
from tocsin.files import file_sha256
from tocsin.privacy import shown_argument, shown_path, without_paths

__all__ = ["describe_files", "ended", "seed_of_run", "started"]

_DISTRIBUTIONS = ("tocsin", "torch", "lightning", "transformers", "numpy", "pyarrow", "scikit-learn")
_LONGEST = 500  # characters of an error that a record keeps
_QUOTED = re.compile(r"(['\"])(?=[^'\"]*\s[^'\"]*\s)[^'\"]{16,}\1")


def started(name: str, verb: str) -> dict[str, Any]:
    """Return the provenance of a run that begins now, as plain data."""
    return {
        "name": name,
        "verb": verb,
        "status": "running",
        "started": _now(),
        "ended": None,
        "duration_seconds": None,
        "error": None,
        "signal": None,
        "go_on": None,
        "command": shlex.join([Path(sys.argv[0]).name, *map(shown_argument, sys.argv[1:])]),
        "seed": seed_of_run(),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": _machine(),
        "git": _git(Path.cwd()),
        "data": None,
    }


def ended(record: Mapping[str, Any], error: BaseException | None, go_on: str | None = None) -> dict[str, Any]:
    """Return `record` closed now.

    Its status becomes "completed"; "interrupted" by a signal, with the signal's name and the command that goes on; or
    "failed" with the error's first line, in which quoted texts (a message may be among them) are left out.
    """
    now = _now()
    duration = (datetime.fromisoformat(now) - datetime.fromisoformat(record["started"])).total_seconds()
    by = _signal_of(error)
    status = "completed" if error is None else "failed" if by is None else "interrupted"
    return {
        **record,
        "status": status,
        "ended": now,
        "duration_seconds": duration,
        "error": None if error is None or by is not None else _told(error),
        "signal": by,
        # The terminal has the command as it is; a record does not say in whose folders it ran.
        "go_on": go_on and shlex.join(map(shown_argument, shlex.split(go_on))),
    }


def _signal_of(error: BaseException | None) -> str | None:
    if isinstance(error, Interrupted):
        return signal.Signals(error.signum).name
    return "SIGINT" if isinstance(error, KeyboardInterrupt) else None


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    named = getattr(error, "file", None) or getattr(error, "filename", None)  # a path may hold white space
    # what holds white space in quotes is more likely a message than a name or a path
    line = _QUOTED.sub(lambda found: f"{found[1]}…{found[1]}", without_paths(lines[0], named))
    return f"{type(error).__name__}: {line[:_LONGEST]}"


def describe_files(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return path, size in bytes and SHA-256 of each file, in the order given.

    A path is named from the working folder, `$TOCSIN_DATA` or the home folder, where the file lies below it; else by
    the file's name alone.
    """
    return [
        {"path": shown_path(path), "bytes": Path(path).stat().st_size, "sha256": file_sha256(Path(path))}
        for path in paths
    ]


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def seed_of_run() -> int | None:
    """Return the seed that fixes this process's random numbers; None where none was set."""
    given = os.environ.get("PL_GLOBAL_SEED", "")  # where lightning's seed_everything leaves it
    return int(given) if given.isdigit() else None


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for distribution in _DISTRIBUTIONS:
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            found[distribution] = None
    return found


def _machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "logical_cores": os.cpu_count(),
        "torch_threads": _torch("get_num_threads"),
        "gpus": _gpus(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _torch(function: str) -> Any:
    # a run without torch (a classical baseline) does not import it for its record
    torch = sys.modules.get("torch")
    return None if torch is None else getattr(torch, function)()


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _git(folder: Path) -> dict[str, Any] | None:
    """Return the working folder's commit and whether tracked files differ from it; None outside git."""
    commit = _git_answer(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git_answer(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git_answer(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
