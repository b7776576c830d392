"""Fits over members' scores: pure functions. n known cells with targets y of 0 and 1, M members.

Both want targets of both kinds; what to do without is the caller's to say.
"""

from __future__ import annotations

import numpy as np

from tocsin_ensemble.members import sigmoid

__all__ = ["fit_logistic", "fit_weights"]

_EVEN = 1e-6
"""Pull of the weights towards equal ones, per cell: members that are alike share, and the best weights are unique."""
_TINY = 1e-12


def fit_weights(scores_nM: np.ndarray, y_n: np.ndarray, *, logits: bool) -> np.ndarray:
    """Return (M,) weights, none below 0, of sum 1, for which the weighted mean has the least log loss.

    The loss is convex in the weights, of logits as of probabilities; so what is found is the best there is.

    Args:
        scores_nM: Logits, or probabilities inside (0, 1).
        y_n: Targets.
        logits: Which of the two the scores are.
    """
    from scipy.optimize import minimize

    members = scores_nM.shape[1]
    even = np.full(members, 1.0 / members)
    if members == 1:
        return even
    # of probabilities, what the model gave to what happened
    given_nM = scores_nM if logits else np.where(y_n[:, None] == 1, scores_nM, 1.0 - scores_nM)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        u_n = given_nM @ w
        off = w - even
        pull, pull_slope = _EVEN * float(off @ off), 2.0 * _EVEN * off
        if logits:
            value = float((np.logaddexp(0.0, u_n) - y_n * u_n).mean())
            slope = given_nM.T @ (sigmoid(u_n) - y_n) / len(y_n)
        else:
            u_n = np.maximum(u_n, _TINY)
            value, slope = -float(np.log(u_n).mean()), -(given_nM.T @ (1.0 / u_n)) / len(y_n)
        return value + pull, slope + pull_slope

    found = minimize(
        loss,
        even,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"maxiter": 500, "ftol": 1e-13},
    )
    candidates = [even, *np.eye(members)]
    if np.isfinite(found.x).all():
        inside = np.clip(found.x, 0.0, None)
        candidates.insert(0, inside / inside.sum())
    return min(candidates, key=lambda w: loss(w)[0])


def fit_logistic(z_nM: np.ndarray, y_n: np.ndarray, l2: float, steps: int = 100) -> np.ndarray:
    """Return (M + 1,) slopes and intercept of the logistic regression that makes the targets likeliest.

    Minimised is the sum of log losses plus l2 / 2 times the sum of squared slopes; the intercept is free. It is
    scikit-learn's LogisticRegression with C = 1 / l2, by Newton's method.
    """
    x = np.column_stack([z_nM, np.ones(len(y_n))])
    penalty = np.append(np.full(z_nM.shape[1], l2), 0.0)
    share = y_n.mean()
    a = np.append(np.zeros(z_nM.shape[1]), np.log(share / (1.0 - share)))

    def loss(a: np.ndarray) -> float:
        u = x @ a
        return float((np.logaddexp(0.0, u) - y_n * u).sum() + 0.5 * (penalty * a**2).sum())

    best = loss(a)
    for _ in range(steps):
        p = sigmoid(x @ a)
        gradient = x.T @ (p - y_n) + penalty * a
        if np.abs(gradient).max() < 1e-10 * len(y_n):
            break
        hessian = (x * (p * (1.0 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian + _TINY * np.eye(len(a)), gradient)
        length = 1.0
        while length > _TINY and not loss(a - length * step) < best:
            length /= 2.0
        if length <= _TINY:
            break  # rounding alone is left
        a = a - length * step
        best = loss(a)
    return a
