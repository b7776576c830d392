"""What stands in several splits, and how much of validation and test was seen in training. Axes: N messages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tocsin.text.splitting import SPLITS, coded

__all__ = ["Crossing", "column_groups", "crossing"]


@dataclass(frozen=True)
class Crossing:
    """Groups of messages over the splits.

    Attributes:
        groups: Groups with a message in some split.
        crossing: Those with messages in more than one split.
        seen: For validation and test, as far as they have messages: how many of them belong to a group that also has
            training messages.
    """

    groups: int
    crossing: int
    seen: dict[str, int]


def crossing(names: np.ndarray, groups: np.ndarray) -> Crossing:
    """Count what crosses.

    Args:
        names: (N,) split of each message, "" for none.
        groups: (N,) group numbers from 0, or below 0 for a message of no group.
    """
    inside = np.zeros((len(SPLITS), groups.max(initial=-1) + 1), bool)
    for split, name in enumerate(SPLITS):
        inside[split, groups[(names == name) & (groups >= 0)]] = True
    splits_of = inside.sum(axis=0)
    seen = {}
    for name in SPLITS[1:]:
        rows = names == name
        if rows.any():
            held = groups[rows & (groups >= 0)]
            seen[name] = int(np.count_nonzero(inside[0, held]))
    return Crossing(int(np.count_nonzero(splits_of)), int(np.count_nonzero(splits_of > 1)), seen)


def column_groups(table: pa.Table, column: str) -> np.ndarray:
    """Return group numbers, (N,), equal for equal values of a column; -1 for null and empty ones.

    Raises:
        DataError: The table has no such column, or it holds neither strings nor numbers.
    """
    codes, values = coded(table, column)
    return np.where(codes == len(values), -1, codes)
