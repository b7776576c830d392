"""Walks through a document as its reader would: writes its files, runs its commands, compares what they print.

    ```yaml experiments/a/config.yaml     a file to write; one that is there already must hold this
    ```diff tocsin-a/code.py              lines to take out (-) and to put in their place (+)
    ```console                            `$ command` lines, each followed by what it prints, errors included

Blocks of other kinds are left alone. A line "…" stands for any lines, "…" within a line for any text. Numbers are
compared by being numbers; so are a prediction's labels, whose order follows from them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Step", "matches", "steps", "walk"]

_FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCORE = r"\b[a-z_]+ [01]\.\d\d\*?"
_LIMIT = 300  # seconds a command may take on a busy machine


@dataclass(frozen=True)
class Step:
    """One thing that a reader does.

    Attributes:
        kind: "file", "diff" or "command".
        subject: The file's path, or the command.
        text: The file, the changes, or what the command prints.
    """

    kind: str
    subject: str
    text: str


def steps(document: str) -> list[Step]:
    """Return the steps of a document in their order."""
    found: list[Step] = []
    for language, path, body in _FENCE.findall(document):
        if language == "console":
            found += _commands(body)
        elif path:
            found.append(Step("diff" if language == "diff" else "file", path, body))
    return found


def _commands(body: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        last = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
        yield Step("command", "\n".join(lines[: last + 1]), "\n".join(lines[last + 1 :]))


def walk(document: str, folder: Path, environ: Mapping[str, str]) -> Iterator[tuple[Step, str]]:
    """Take each step in `folder`; yield it with what was printed. AssertionError where the document is wrong."""
    for step in steps(document):
        printed = ""
        if step.kind == "command":
            printed = _run(step, folder, environ)
            assert matches(step.text, printed), (
                f"$ {step.subject}\nThe document shows:\n{step.text}\nIt printed:\n{printed}"
            )
        elif step.kind == "diff":
            _change(folder / step.subject, step.text.splitlines())
        else:
            _write(folder / step.subject, step.text)
        yield step, printed


def _run(step: Step, folder: Path, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        step.subject,
        shell=True,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT,
    )
    wanted = 2 if re.search(r"^tocsin: ", step.text, re.MULTILINE) else 0
    assert done.returncode == wanted, (
        f"$ {step.subject}\nended with {done.returncode}, not {wanted}:\n{done.stdout}"
    )
    return done.stdout


def _write(path: Path, text: str) -> None:
    if path.exists():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} holds something else than shown"
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _change(path: Path, changes: Sequence[str]) -> None:
    text = path.read_text(encoding="utf-8")
    old = "".join(f"{line[1:]}\n" for line in changes if line.startswith("-"))
    new = "".join(f"{line[1:]}\n" for line in changes if line.startswith("+"))
    assert text.count(old) == 1, f"{path.name} does not hold once:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def matches(shown: str, printed: str) -> bool:
    """Tell whether a command printed what a document shows."""
    pattern = ""
    for line in _normalised(shown):
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split("…"))) + r"\n"
    text = "".join(f"{line}\n" for line in _normalised(printed))
    return re.fullmatch(pattern, text) is not None


def _normalised(text: str) -> list[str]:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    # From a minute on pytest says its time twice.
    text = re.sub(r"( in \d+\.\d+s) \(\d+:\d\d:\d\d\)", r"\1", text)
    # A prediction's labels stand in the order of their probabilities.
    text = re.sub(rf"{_SCORE}(?:, {_SCORE})+", lambda found: re.sub(_SCORE, "LABEL 0", found[0]), text)
    text = re.sub(r"\d+(?:[.,]\d+)*", "0", text)
    text = re.sub(r"([─━=])\1+", r"\1", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if line]
