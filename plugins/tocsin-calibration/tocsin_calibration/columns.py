"""What calibrators and rules read of a scores table. N messages, L labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tocsin.plugins import ConfigError, DataError, ScoresTable

__all__ = [
    "check_shrinkage",
    "group_rows",
    "known_cells",
    "learning_rows",
    "logit",
    "logits_of",
    "sigmoid",
    "weight",
]

_FAR = 40.0  # a logit further out says nothing more, and squares of it stay exact


def logit(probabilities: np.ndarray) -> np.ndarray:
    """Return log p / (1 - p) of probabilities inside (0, 1), float64."""
    p = np.asarray(probabilities, dtype=np.float64)
    return np.log(p) - np.log1p(-p)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits, float64."""
    return (1.0 + np.tanh(np.asarray(logits, dtype=np.float64) / 2.0)) / 2.0


def logits_of(table: ScoresTable) -> np.ndarray:
    """Return (N, L) float64 logits, of probabilities where the table has these; at most 40 from 0."""
    if table.logits_NL is not None and table.calibrated_NL is None:
        return np.clip(table.logits_NL.astype(np.float64), -_FAR, _FAR)
    return logit(table.probabilities)


def known_cells(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and 0/1 targets of the known cells, sorted by both.

    Sums over them then do not depend on the order of the messages, not even in the last digit.
    """
    known = ~np.isnan(targets)
    z, y = logits[known].astype(np.float64), targets[known].astype(np.float64)
    order = np.lexsort((y, z))
    return z[order], y[order]


def weight(seen: int, shrinkage: float) -> float:
    """Return how much an own fit counts against the one it is drawn towards: n / (n + k), 0 for n = 0."""
    return seen / (seen + shrinkage) if seen else 0.0


def learning_rows(table: ScoresTable, column: str | None) -> list[tuple[str, np.ndarray]]:
    """Return what `group_rows` yields, to learn from.

    Raises:
        DataError: The table has no such column, or no message has a known value in it: whoever asks for fits of their
            own would get none, and not notice.
    """
    found = list(group_rows(table, column))
    if column is not None and not found:
        raise DataError(
            f"by is {column!r}, and none of {len(table):,} messages has a known value in that column, so there is "
            f"nothing to fit by. Wanted: a column {column!r} with values, or another one. Give scores that have it, or "
            "leave by out."
        )
    return found


def check_shrinkage(owner: str, shrinkage: float) -> None:
    """Raise ConfigError for a shrinkage that is no number from 0 up."""
    if not 0.0 <= shrinkage < float("inf"):
        raise ConfigError(
            f"{owner}: shrinkage is {shrinkage}; wanted a number from 0 up: so many positives count as much as the fit "
            "over all labels."
        )


def group_rows(table: ScoresTable, column: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each value of a column as text, in order, with the row numbers of its messages; unknown ones not.

    Raises:
        DataError: The table has no such column.
    """
    if column is None:
        return
    values = table.column(column).tolist()
    rows: dict[str, list[int]] = {}
    for number, value in enumerate(values):
        if value is not None and value == value:
            rows.setdefault(str(value), []).append(number)
    for name in sorted(rows):
        yield name, np.array(rows[name], dtype=np.int64)
