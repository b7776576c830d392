"""What `tocsin calibrate` and `tocsin ensemble` share: how what was fitted is judged, and a folder of results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tocsin.errors import ConfigError

__all__ = ["add_judging", "refuse_leftovers"]


def refuse_leftovers(folder: Path, mark: str, written: Iterable[Path], kinds: Iterable[str]) -> None:
    """Refuse a folder in which results of another run would stay beside those of this one.

    Args:
        folder: `--output`.
        mark: A file that such a run writes in any case.
        written: What this run will write.
        kinds: Patterns of what such a run may write.

    Raises:
        ConfigError: Something there would be left.
    """
    if not (folder / mark).is_file():
        return
    left = sorted({path for kind in kinds for path in folder.glob(kind)} - set(written))
    if left:
        raise ConfigError(
            f"--output: {left[0]} is of another run, and would stay beside the results of this one. Choose another "
            "folder, or remove it."
        )


def add_judging(parser: Any) -> None:
    """Add --groups, --folds, --draws and --seed to jsonargparse's parser."""
    parser.add_argument(
        "--groups",
        type=str | None,
        default=None,
        help="Keep messages of one value of this column in one fold and draw.",
    )
    parser.add_argument("--folds", type=int, default=5, help="Parts that are judged by fits on the others.")
    parser.add_argument(
        "--draws",
        type=int,
        default=1000,
        help="Bootstrap draws behind the intervals, at most; fewer for large files.",
    )
    parser.add_argument("--seed", type=int, default=42, help="Seed of the draws.")
