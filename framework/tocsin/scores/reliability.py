"""Whether probabilities mean what they say: Brier score, log loss, calibration error, and the curve behind them.

N messages, L labels, B bins. A null (NaN) target is unknown and left out; a soft target counts as 1 from 0.5 up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tocsin.labels.targets import POSITIVE_FROM
from tocsin.logits import PROBABILITY_LIMIT
from tocsin.scores.metrics import ratio

__all__ = [
    "Reliability",
    "brier",
    "brier_cells",
    "calibration_error",
    "log_loss",
    "log_loss_cells",
    "reliability",
]


def brier_cells(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared error of each cell, any shape; NaN where the target is unknown."""
    return (np.asarray(probabilities, dtype=np.float64) - _hard(targets)) ** 2


def log_loss_cells(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Negative log likelihood in nats of each cell, any shape, of probabilities clipped to [1e-7, 1 - 1e-7]."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), PROBABILITY_LIMIT, 1.0 - PROBABILITY_LIMIT)
    hard = _hard(targets)
    return -(hard * np.log(p) + (1.0 - hard) * np.log1p(-p))


def brier(targets_N: np.ndarray, probabilities_N: np.ndarray) -> float:
    """Mean squared error of the known cells; NaN where none is known."""
    return _mean(brier_cells(targets_N, probabilities_N))


def log_loss(targets_N: np.ndarray, probabilities_N: np.ndarray) -> float:
    """Mean negative log likelihood, in nats, of the known cells; NaN where none is known."""
    return _mean(log_loss_cells(targets_N, probabilities_N))


@dataclass(frozen=True, eq=False)
class Reliability:
    """What was said and what came true, bin by bin.

    Args:
        predicted_B: Mean probability of each bin, ascending.
        observed_B: Share of positives in it.
        counts_B: Cells in it.
    """

    predicted_B: np.ndarray
    observed_B: np.ndarray
    counts_B: np.ndarray


def reliability(targets_N: np.ndarray, probabilities_N: np.ndarray, bins: int = 15) -> Reliability:
    """Return the reliability curve in bins of about equal numbers of cells; equal probabilities share a bin.

    Args:
        targets_N: (N,) of 0, 1 and NaN.
        probabilities_N: (N,).
        bins: At most so many; empty where no target is known.
    """
    hard = _hard(targets_N)
    known = ~np.isnan(hard)
    p, y = np.asarray(probabilities_N, dtype=np.float64)[known], hard[known]
    if not len(p):
        return Reliability(np.empty(0), np.empty(0), np.empty(0, np.int64))
    edges = np.unique(np.quantile(p, np.linspace(0.0, 1.0, bins + 1)[1:-1], method="lower"))
    place = np.searchsorted(edges, p, side="left")
    counts = np.bincount(place, minlength=len(edges) + 1)
    filled = counts > 0
    predicted = ratio(np.bincount(place, weights=p, minlength=len(counts)), counts)
    observed = ratio(np.bincount(place, weights=y, minlength=len(counts)), counts)
    return Reliability(predicted[filled], observed[filled], counts[filled])


def calibration_error(targets_N: np.ndarray, probabilities_N: np.ndarray, bins: int = 15) -> float:
    """Root mean square difference between what was said and what came true, debiased.

    From each bin's squared difference the variance of its share of positives is taken off, which few cells alone
    would show as an error; what is left below 0 counts as 0. Source: Kumar, Liang and Ma 2019, Verified Uncertainty
    Calibration, arXiv 1909.10155. NaN where no bin has two cells.

    Args:
        targets_N: (N,) of 0, 1 and NaN.
        probabilities_N: (N,).
        bins: As in `reliability`.
    """
    curve = reliability(targets_N, probabilities_N, bins)
    usable = curve.counts_B > 1
    if not usable.any():
        return np.nan
    predicted, observed, counts = (
        values[usable] for values in (curve.predicted_B, curve.observed_B, curve.counts_B)
    )
    squared = (predicted - observed) ** 2 - observed * (1.0 - observed) / (counts - 1)
    return float(np.sqrt(max(0.0, float(counts @ squared / counts.sum()))))


def _hard(targets: np.ndarray) -> np.ndarray:
    targets = np.asarray(targets, dtype=np.float64)
    return np.where(np.isnan(targets), np.nan, (targets >= POSITIVE_FROM).astype(np.float64))


def _mean(cells: np.ndarray) -> float:
    known = cells[~np.isnan(cells)]
    return float(known.mean()) if len(known) else np.nan
