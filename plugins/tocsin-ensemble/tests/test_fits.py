"""Fits against independent references: a grid, scipy's other methods, scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from ensemble_cases import sigmoid
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_ensemble.fits import fit_logistic, fit_weights


def cells(seed: int, n: int = 300, members: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.normal(-0.5, 1.5, n)
    z = truth[:, None] + generator.normal(size=(n, members)) * generator.uniform(0.3, 2.5, members)
    return z, (generator.random(n) < sigmoid(truth)).astype(np.float64)


def log_losses(weights_GM: np.ndarray, scores: np.ndarray, y: np.ndarray, logits: bool) -> np.ndarray:
    """Of G sets of weights, as the definition has it."""
    joint_nG = scores @ weights_GM.T
    p_nG = sigmoid(joint_nG) if logits else joint_nG
    return -np.log(np.where(y[:, None] == 1, p_nG, 1 - p_nG)).mean(axis=0)


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_best_of_a_grid(seed: int, logits: bool) -> None:
    from sklearn.metrics import log_loss

    z, y = cells(seed)
    scores = z if logits else sigmoid(z)
    found = fit_weights(scores, y, logits=logits)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    steps = np.linspace(0, 1, 51)
    grid = np.array([[a, b, max(1 - a - b, 0)] for a in steps for b in steps if a + b <= 1 + 1e-9])
    losses = log_losses(grid, scores, y, logits)
    least = float(log_losses(found[None], scores, y, logits)[0])
    assert least <= losses.min() + 1e-7
    assert np.abs(found - grid[losses.argmin()]).max() < 0.05
    assert least == pytest.approx(
        log_loss(y, sigmoid(scores @ found) if logits else scores @ found), abs=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
def test_no_weight_can_be_moved_to_advantage(seed: int, members: int, logits: bool) -> None:
    """The conditions of Karush, Kuhn and Tucker: slopes are equal where weights are, and not below that elsewhere."""
    z, y = cells(seed, n=120, members=members)
    scores = z if logits else sigmoid(z)
    w = fit_weights(scores, y, logits=logits)
    u = scores @ w
    error = sigmoid(u) - y if logits else (1 - y) / (1 - u) - y / u
    slope = scores.T @ error / len(y)
    level = float(w @ slope)
    assert (slope >= level - 2e-4).all()
    assert np.abs(slope[w > 1e-3] - level).max() < 2e-4


def test_members_that_are_alike_share() -> None:
    z, y = cells(1, members=2)
    doubled = fit_weights(z[:, [0, 0, 1]], y, logits=True)
    single = fit_weights(z, y, logits=True)
    assert doubled[0] == pytest.approx(doubled[1], abs=1e-3)
    assert doubled[2] == pytest.approx(single[1], abs=1e-3)


def test_a_useless_member_gets_nothing_and_a_single_one_all() -> None:
    z, y = cells(2, members=2)
    timid = z[:, :1] / 5  # it would gain by larger logits, and the other by none
    assert fit_weights(np.hstack([timid, -timid]), y, logits=True)[1] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_array_equal(fit_weights(z[:, :1], y, logits=True), [1.0])


@pytest.mark.parametrize("l2", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_regression_is_scikit_learns(seed: int, l2: float) -> None:
    from sklearn.linear_model import LogisticRegression

    z, y = cells(seed)
    found = fit_logistic(z, y, l2)
    peer = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(z, y)
    np.testing.assert_allclose(found[:-1], peer.coef_[0], atol=1e-6)
    np.testing.assert_allclose(found[-1], peer.intercept_[0], atol=1e-6)


def test_cells_that_the_members_separate_give_finite_slopes() -> None:
    z = np.array([[-1.0, -2.0], [-0.5, -1.0], [0.5, 1.0], [1.0, 2.0]])
    found = fit_logistic(z, np.array([0.0, 0.0, 1.0, 1.0]), 1.0)
    assert np.isfinite(found).all()
    assert (found[:-1] > 0).all()
    extreme = fit_logistic(40.0 * np.sign(z), np.array([0.0, 0.0, 1.0, 1.0]), 1e-3)
    assert np.isfinite(extreme).all()
