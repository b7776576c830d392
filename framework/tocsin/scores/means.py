"""Means and ratios that know what is undefined: NaN is left out, and 0 / 0 is NaN, never 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["mean_defined", "ratio"]


def mean_defined(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over the last axis of what is not NaN, by weights of the same shape; NaN where nothing remains."""
    defined = np.isfinite(values)
    shares = defined.astype(np.float64) if weights is None else np.where(defined, weights, 0.0)
    total = shares.sum(axis=-1)
    return ratio((np.where(defined, values, 0.0) * shares).sum(axis=-1), total)


def ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> np.ndarray:
    """above / below, NaN where below is 0, without a warning."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below != 0)
