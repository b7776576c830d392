"""Where to cut a ranking: pure functions. Cells are known; C cuts of one label, from "never on" to "always on".

A cut lies in the middle (of logits) between the lowest score that it lets in and the highest that it keeps out, so
that a score's last digit decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tocsin_calibration.columns import sigmoid

__all__ = [
    "ALWAYS",
    "NEVER",
    "Cuts",
    "best_fbeta",
    "best_shared_fbeta",
    "cuts_of",
    "f_beta",
    "least_cost",
    "precision_floor",
    "recall_floor",
]

NEVER = 1.0
"""A threshold that no probability reaches, since a scores table keeps them below 1."""
ALWAYS = 0.0

_GRID = np.linspace(-9.0, 9.0, 721)  # logits that a threshold for all labels is chosen from


@dataclass(frozen=True, eq=False)
class Cuts:
    """Every way to cut one label's ranking, the highest threshold first.

    Args:
        thresholds_C: Probability from which the label is on; the first is NEVER.
        lowest_C: The lowest probability that it lets in; the first is above 1.
        hits_C: Positives at or above it.
        alarms_C: Negatives at or above it.
        positives: Known positives.
        negatives: Known negatives.
    """

    thresholds_C: np.ndarray
    lowest_C: np.ndarray
    hits_C: np.ndarray
    alarms_C: np.ndarray
    positives: int
    negatives: int

    def at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return hits and false alarms at any thresholds."""
        place = np.searchsorted(-self.lowest_C, -np.asarray(thresholds), side="right") - 1
        return self.hits_C[place], self.alarms_C[place]


def cuts_of(z: np.ndarray, y: np.ndarray) -> Cuts:
    """Return the cuts of n cells with logits z and targets y, sorted ascending by z."""
    z, y = z[::-1], y[::-1]
    ends = np.flatnonzero(np.append(z[1:] != z[:-1], True)) if len(z) else np.empty(0, np.intp)
    hits = np.append(0, np.cumsum(y)[ends]).astype(np.int64)
    alarms = np.append(0, np.cumsum(1.0 - y)[ends]).astype(np.int64)
    lowest_in = z[ends]
    highest_out = np.append(lowest_in[1:], lowest_in[-1:] - 1.0)
    middle = sigmoid((lowest_in + highest_out) / 2.0)
    return Cuts(
        np.append(NEVER, middle),
        np.append(2.0, sigmoid(lowest_in)),
        hits,
        alarms,
        int(y.sum()),
        int(len(y) - y.sum()),
    )


def f_beta(hits: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Return F-beta from counts of any shape; NaN without a positive. Above 1, beta weighs recall higher."""
    hits, false_alarms, missed = (
        np.asarray(counts, dtype=np.float64) for counts in (hits, false_alarms, missed)
    )
    above = (1.0 + beta**2) * hits
    below = above + beta**2 * missed + false_alarms
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=hits + missed > 0)


def best_fbeta(cuts: Cuts, beta: float = 1.0) -> float | None:
    """Return the threshold with the highest F-beta, the highest of several; None without a positive."""
    if not cuts.positives:
        return None
    values = f_beta(cuts.hits_C, cuts.alarms_C, cuts.positives - cuts.hits_C, beta)
    return float(cuts.thresholds_C[int(np.argmax(values))])


def best_shared_fbeta(labels: Sequence[Cuts], beta: float = 1.0) -> float | None:
    """Return the one threshold (of 721) with the highest mean F-beta over labels; None where none has a positive."""
    thresholds = sigmoid(_GRID)[::-1]
    values = []
    for cuts in labels:
        if cuts.positives:
            hits, alarms = cuts.at(thresholds)
            values.append(f_beta(hits, alarms, cuts.positives - hits, beta))
    return float(thresholds[int(np.argmax(np.mean(values, axis=0)))]) if values else None


def precision_floor(cuts: Cuts, floor: float) -> float:
    """Return the lowest threshold at which precision is at least `floor`, NEVER where none is."""
    on = cuts.hits_C + cuts.alarms_C
    kept = np.flatnonzero((on > 0) & (cuts.hits_C >= floor * on) & (cuts.hits_C > 0))
    if not len(kept):
        return NEVER
    most = kept[cuts.hits_C[kept] == cuts.hits_C[kept].max()]
    return float(cuts.thresholds_C[most[0]])  # equal recall: the fewest alarms


def recall_floor(cuts: Cuts, floor: float) -> float | None:
    """Return the highest threshold at which recall is at least `floor`; None without a positive."""
    if not cuts.positives:
        return None
    return float(cuts.thresholds_C[int(np.argmax(cuts.hits_C >= floor * cuts.positives))])


def least_cost(cuts: Cuts, miss: float, alarm: float) -> float | None:
    """Return the threshold of the least cost, the highest of several; None where no target is known."""
    if not cuts.positives + cuts.negatives:
        return None
    costs = miss * (cuts.positives - cuts.hits_C) + alarm * cuts.alarms_C
    return float(cuts.thresholds_C[int(np.argmin(costs))])
