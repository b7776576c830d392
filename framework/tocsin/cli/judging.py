"""Options that `tocsin calibrate` and `tocsin ensemble` share: how what was fitted is judged."""

from __future__ import annotations

from typing import Any

__all__ = ["add_judging"]


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
