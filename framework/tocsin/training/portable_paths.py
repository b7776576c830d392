"""Paths in a checkpoint, as seen from its own folder: they tell nothing of the machine, and move with the folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["with_absolute_paths", "with_portable_paths"]

_MARK = "from this checkpoint: "


def with_portable_paths(state: Any, folder: Path) -> Any:
    """Return plain data in which paths in the run of a checkpoint are seen from the checkpoint's folder.

    Args:
        state: Of callbacks, such as where the best checkpoint lies; paths are texts, or keys of dicts.
        folder: Of the checkpoint; the run is the folder that holds it.
    """
    here = os.path.realpath(folder)  # as Lightning's callbacks have it
    run = os.path.dirname(here)

    def portable(text: str) -> str:
        inside = os.path.isabs(text) and (text == run or text.startswith(run + os.sep))
        return _MARK + Path(os.path.relpath(text, here)).as_posix() if inside else text

    return _mapped(state, portable)


def with_absolute_paths(state: Any, folder: Path) -> Any:
    """Return what `with_portable_paths` was given, where the checkpoint lies in `folder` now."""
    here = os.path.realpath(folder)  # latest-fit is a link

    def absolute(text: str) -> str:
        if not text.startswith(_MARK):
            return text
        return os.path.normpath(os.path.join(here, text.removeprefix(_MARK)))

    return _mapped(state, absolute)


def _mapped(state: Any, change: Callable[[str], str]) -> Any:
    """Return plain data with every text in it changed; other values are the same objects."""
    if isinstance(state, str):
        return change(state)
    if type(state) is dict:
        return {_mapped(key, change): _mapped(value, change) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(_mapped(each, change) for each in state)
    return state
