"""From bootstrap draws to an interval: a percentile interval freed of bias, on a scale of its own, widened for few
positives.

The plain percentile interval covers too little where positives are few, and lies too high for average precision: a
positive that is drawn twice ties with itself, which lifts it in every draw, as few positives lift it in the sample.
So, for a figure t with draws t*:

1. **Bias.** The draws say how far a sample lies from what it was drawn from: mean(t*) - t on average. The interval is
   placed around t - (mean(t*) - t) (Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 10).
2. **Scale.** Deviations are taken after a logit for shares (a logarithm for log loss), where the spread depends little
   on the level and no end leaves the range. Differences stay as they are.
3. **Few positives.** A bootstrap of m values spreads sqrt((m - 1) / m) too little and knows its spread as badly as a
   t with m - 1 degrees of freedom (Hesterberg 2015, "What teachers should know about the bootstrap", The American
   Statistician 69, section 4). Deviations are widened by sqrt(m / (m - 1)) * t(m - 1) / z. Here m counts the positives
   of a label (or its negatives, where they are fewer), in effective groups where groups are drawn:
   (sum of n_g)² / sum of n_g², for n_g positives in group g. Labels of a mean are joined by their spreads
   (Satterthwaite 1946).

How often such intervals hold the truth is measured by tests/scores/test_coverage.py and told in docs/scores-report.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["degrees_of_freedom", "effective_counts", "interval", "joined_degrees", "widening"]


def interval(
    drawn_D: np.ndarray,
    point: float,
    level: float = 0.95,
    *,
    degrees: float = np.inf,
    scale: str = "plain",
) -> tuple[float, float, int]:
    """Return the interval's ends, and the draws in which the figure was defined.

    Args:
        drawn_D: (D,) the figure in each draw; NaN where it was undefined, and left out.
        point: The figure itself; NaN makes an undefined interval.
        level: Share of the distribution inside.
        degrees: Degrees of freedom of the spread; inf widens nothing.
        scale: "plain", "logit" for figures in [0, 1], "log" for figures of at least 0.
    """
    drawn = drawn_D[np.isfinite(drawn_D)]
    if not len(drawn) or not np.isfinite(point):
        return np.nan, np.nan, 0
    if drawn.min() == drawn.max():  # nothing varies: a perfect figure, or a model beside itself
        return point, point, len(drawn)
    mean = float(drawn.mean())
    to, back = _SCALES[scale]
    centre = to(np.array(_inside(2.0 * point - mean, scale)))
    low, high = np.quantile(to(drawn) - to(np.array(mean)), [(1 - level) / 2, (1 + level) / 2])
    ends = back(centre + widening(degrees, level) * np.array([low, high]))
    return float(ends[0]), float(ends[1]), len(drawn)


def widening(degrees: float, level: float = 0.95) -> float:
    """Return by how much the deviations of a bootstrap are widened; `degrees` is at least 1."""
    if degrees == np.inf:
        return 1.0
    from scipy.special import ndtri, stdtrit  # .2 s to import

    at = (1 + level) / 2
    return float(np.sqrt((degrees + 1) / degrees) * stdtrit(degrees, at) / ndtri(at))


def effective_counts(counts_NL: np.ndarray, group_N: np.ndarray | None = None) -> np.ndarray:
    """Return (L,) how many independent values counts amount to: (sum of n_g)² / sum of n_g² over groups g.

    Args:
        counts_NL: (N, L) bool, or numbers of at least 0.
        group_N: (N,) group numbers; None where every message is a group.
    """
    totals_L, squares_L = np.zeros((2, counts_NL.shape[1]))
    for i, counts_N in enumerate(counts_NL.T):
        counts_G = counts_N if group_N is None else np.bincount(group_N, weights=counts_N)
        counts_G = counts_G.astype(np.float64)
        totals_L[i], squares_L[i] = counts_G.sum(), (counts_G**2).sum()
    return np.divide(totals_L**2, squares_L, out=np.zeros_like(totals_L), where=squares_L > 0)


def degrees_of_freedom(
    targets_NL: np.ndarray, group_N: np.ndarray | None = None, *, pooled: bool = False
) -> np.ndarray:
    """Return (L,) effective positives or negatives, whichever are fewer, less 1; at least 1.

    One positive tells nothing of its spread; it is treated as two, whose intervals are 9 times as wide as the draws.

    `pooled` counts those of all labels together and returns (1,).
    """
    kinds = [targets_NL == 1, targets_NL == 0]
    if pooled:
        kinds = [cells_NL.sum(axis=1, keepdims=True) for cells_NL in kinds]
    few_L = np.minimum(*(effective_counts(cells_NL, group_N) for cells_NL in kinds))
    return np.maximum(few_L - 1.0, 1.0)


def joined_degrees(
    drawn_DL: np.ndarray, degrees_L: np.ndarray, weights_L: Sequence[float] | np.ndarray | None = None
) -> float:
    """Return the degrees of freedom of a mean over labels, by the spread of each (Satterthwaite).

    A label that was undefined in the sample, or does not vary, takes no part; inf where none does.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.isfinite(drawn_DL)
        counts_L = seen.sum(axis=0)
        means_L = np.where(seen, drawn_DL, 0.0).sum(axis=0) / counts_L
        spread_L = (np.where(seen, drawn_DL - means_L, 0.0) ** 2).sum(axis=0) / counts_L
    if weights_L is not None:
        spread_L = spread_L * np.asarray(weights_L, dtype=np.float64) ** 2
    part = np.isfinite(spread_L) & (spread_L > 0)
    if not part.any():
        return np.inf
    return float(spread_L[part].sum() ** 2 / (spread_L[part] ** 2 / degrees_L[part]).sum())


def _logit(shares: np.ndarray) -> np.ndarray:
    inside = np.clip(shares, _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(inside / (1.0 - inside)))


_EDGE = 1e-6
_Change = Callable[[np.ndarray], np.ndarray]
_SCALES: dict[str, tuple[_Change, _Change]] = {
    "plain": (lambda values: values, lambda values: values),
    "logit": (_logit, lambda values: 1.0 / (1.0 + np.exp(-np.clip(values, -700, 700)))),
    "log": (lambda values: np.log(np.maximum(values, _EDGE)), lambda values: np.exp(np.minimum(values, 700))),
}


def _inside(value: float, scale: str) -> float:
    """A figure freed of bias, kept in its range."""
    return (
        value
        if scale == "plain"
        else max(value, _EDGE)
        if scale == "log"
        else min(max(value, _EDGE), 1 - _EDGE)
    )
