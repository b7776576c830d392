"""Paths as records, cards and bundles name them: without the folders that tell who ran something, and where.

A path below the working folder, `$TOCSIN_DATA` or the home folder is named from there; of any other only the file's
name is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["shown_argument", "shown_data", "shown_path", "with_shown_paths", "without_paths"]

Value = TypeVar("Value")

_QUOTED = re.compile(r"""(?P<quote>['"`])(?P<path>/(?!/)[^'"`\n]+)(?P=quote)""")
_BARE = re.compile(r"(?<![\w.~$/-])/(?!/)(?:[^\s/'\"`,;:()\[\]{}<>|]+/)+[^\s/'\"`,;:()\[\]{}<>|]*")


def shown_path(path: str | os.PathLike[str]) -> str:
    """Return a path as a record may name it: `data/a.csv`, `$TOCSIN_DATA/a.csv`, `~/a.csv`, else `a.csv`."""
    given = os.path.abspath(Path(path).expanduser())
    for place in dict.fromkeys((given, os.path.realpath(given))):
        for base, prefix in _bases():
            if place == base:
                return prefix or "."
            if place.startswith(base + os.sep):
                inner = place[len(base) + 1 :].replace(os.sep, "/")
                return f"{prefix}/{inner}" if prefix else inner
    return os.path.basename(given)


def with_shown_paths(facts: Mapping[str, Value]) -> dict[str, Value]:
    """Return facts by path under paths as records may name them; of several with one name, later ones get a number."""
    found: dict[str, Value] = {}
    for path, fact in facts.items():
        name = shown_path(path)
        numbered = (f"{name} ({number})" for number in range(2, len(facts) + 1))
        found[name if name not in found else next(one for one in numbered if one not in found)] = fact
    return found


def shown_argument(argument: str) -> str:
    """Return an argument of a command line (`/a/b`, `--option=/a/b`, YAML), its paths as records may name them."""
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    return f"{option}{equals}{shown_path(value) if _is_path(value) else without_paths(value)}"


def shown_data(value: Any) -> Any:
    """Return plain data with every text that is an absolute path as records may name it."""
    if isinstance(value, dict):
        return {key: shown_data(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(shown_data, value))
    return shown_path(value) if isinstance(value, str) and _is_path(value) else value


def without_paths(text: str, known: str | None = None) -> str:
    """Return a message with the absolute paths in it as records may name them.

    Args:
        text: The message. A path with white space is seen whole where it stands in quotes or below a folder that
            paths are named from.
        known: A path that may stand in it as it is.
    """
    if isinstance(known, str) and _is_path(known):
        text = text.replace(known, shown_path(known))
    for base, prefix in _bases():
        place = rf"(?<![\w.~$-]){re.escape(base)}"
        text = re.sub(rf"{place}[/\\]", f"{prefix}/" if prefix else "", text)
        text = re.sub(rf"{place}(?![\w.-])", prefix or ".", text)
    text = _QUOTED.sub(lambda found: f"{found['quote']}{shown_path(found['path'])}{found['quote']}", text)
    return _BARE.sub(lambda found: shown_path(found[0]), text)


def _is_path(text: str) -> bool:
    return os.path.isabs(text) and "\n" not in text and len(Path(text).parts) > 1


def _bases() -> Iterator[tuple[str, str]]:
    """Folders from which paths are named, and what stands for each.

    A working folder that holds the home folder says who is at home there.
    """
    home = os.path.abspath(Path("~").expanduser())
    here = os.getcwd()
    data = os.environ.get("TOCSIN_DATA")
    found = [(os.path.abspath(data), "$TOCSIN_DATA")] if data else []
    found += [(os.path.realpath(data), "$TOCSIN_DATA")] if data else []
    found += [(home, "~"), (os.path.realpath(home), "~")]
    within = home == here or not home.startswith(here.rstrip(os.sep) + os.sep)
    found = [(here, ""), *found] if within else [*found, (here, "")]
    return ((base, prefix) for base, prefix in found if len(Path(base).parts) > 1)
