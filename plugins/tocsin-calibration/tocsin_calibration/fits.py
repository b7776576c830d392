"""Fits of one column of scores: pure functions. Cells are known: logits z and targets y of 0 and 1, n of them.

All three need both kinds of targets; what to do without is the caller's to say.
"""

from __future__ import annotations

import numpy as np

from tocsin_calibration.columns import sigmoid

__all__ = ["fit_isotonic", "fit_platt", "fit_temperature"]


def fit_temperature(z: np.ndarray, y: np.ndarray, largest: float = 20.0) -> float:
    """Return the temperature T for which sigmoid(z / T) makes the targets likeliest, in [1 / largest, largest].

    The loss is convex in 1 / T: its slope has one root, or the best T is one of the ends.
    Source: Guo et al. 2017, arXiv 1706.04599, there for classes that exclude one another.
    """
    from scipy.optimize import brentq

    def slope(inverse: float) -> float:
        return float(z @ (sigmoid(inverse * z) - y))

    low, high = 1.0 / largest, largest
    if slope(low) >= 0:
        return largest
    if slope(high) <= 0:
        return 1.0 / largest
    return 1.0 / float(brentq(slope, low, high, xtol=1e-12, rtol=1e-12))


def fit_platt(z: np.ndarray, y: np.ndarray, steps: int = 100) -> tuple[float, float]:
    """Return slope a >= 0 and intercept b for which sigmoid(a z + b) makes Platt's targets likeliest.

    The targets are (n1 + 1) / (n1 + 2) for n1 positives and 1 / (n0 + 2) for n0 negatives, which keeps a and b finite
    where scores separate the two. A score that falls with the truth gets the slope 0, not a turned order.
    Sources: Platt 1999, Probabilistic Outputs for Support Vector Machines; Lin, Lin and Weng 2007 for the method.
    """
    positives = float(y.sum())
    t = np.where(y == 1, (positives + 1.0) / (positives + 2.0), 1.0 / (len(y) - positives + 2.0))
    mean_t = float(t.mean())
    flat = (0.0, float(np.log(mean_t / (1.0 - mean_t))))
    centre, spread = float(z.mean()), float(z.std())
    if spread < 1e-9:
        return flat
    x = (z - centre) / spread  # so that the two directions are alike

    def loss(a: float, b: float) -> float:
        u = a * x + b
        return float((np.logaddexp(0.0, u) - t * u).sum())

    a, b = 0.0, flat[1]
    best = loss(a, b)
    for _ in range(steps):
        p = sigmoid(a * x + b)
        error, curvature = p - t, p * (1.0 - p)
        gradient = np.array([float(x @ error), float(error.sum())])
        if np.abs(gradient).max() < 1e-9 * len(z):
            break
        mixed = float(x @ curvature)
        hessian = np.array([[float(x @ (curvature * x)), mixed], [mixed, float(curvature.sum())]])
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        length = 1.0
        while length > 1e-10 and not loss(a - length * step[0], b - length * step[1]) < best:
            length /= 2.0
        if length <= 1e-10:
            break  # rounding alone is left
        a, b = a - length * float(step[0]), b - length * float(step[1])
        best = loss(a, b)
    if a < 0.0:
        return flat
    return a / spread, b - a * centre / spread


def fit_isotonic(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knots (x, p), both ascending, of the rising function that comes nearest to the targets by squares.

    Between knots it is linear, beyond them constant. Probabilities stay in [1 / (n + 2), (n + 1) / (n + 2)]: from n
    cells nobody can tell more. Source: Zadrozny and Elkan 2002, Transforming Classifier Scores into Accurate
    Multiclass Probability Estimates; the fit is scikit-learn's.
    """
    from sklearn.isotonic import IsotonicRegression

    least = 1.0 / (len(y) + 2.0)
    fitted = IsotonicRegression(y_min=least, y_max=1.0 - least, out_of_bounds="clip").fit(z, y)
    return np.asarray(fitted.X_thresholds_, dtype=np.float64), np.asarray(
        fitted.y_thresholds_, dtype=np.float64
    )
