"""The fits of one column against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_cases import column, sigmoid
from scipy.optimize import isotonic_regression, minimize_scalar
from sklearn.calibration import CalibratedClassifierCV
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tocsin_calibration.columns import known_cells
from tocsin_calibration.fits import fit_isotonic, fit_platt, fit_temperature

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_is_what_scipy_finds(seed: int, scale: float) -> None:
    z, y = column(seed, scale=scale, shift=0.0)

    def loss(log_temperature: float) -> float:
        u = z / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, u) - y * u))

    wanted = np.exp(minimize_scalar(loss, bounds=(-2.9, 2.9), method="bounded", options={"xatol": 1e-10}).x)
    assert fit_temperature(z, y) == pytest.approx(wanted, rel=1e-4)


def test_temperature_by_hand() -> None:
    # Of four messages with a logit of 4, three are on: 4 / T is the log odds of 3.
    assert fit_temperature(np.full(4, 4.0), np.array([1, 1, 1, 0.0])) == pytest.approx(4.0 / np.log(3.0))


def test_temperature_stays_in_its_bounds() -> None:
    z = np.array([-2.0, -1.0, 1.0, 2.0])
    assert fit_temperature(z, np.array([0, 0, 1, 1.0])) == 1 / 20  # separated: as sharp as allowed
    assert fit_temperature(z, np.array([1, 1, 0, 0.0])) == 20.0  # turned round: as flat as allowed


@pytest.mark.parametrize("seed", SEEDS)
def test_platt_is_the_sigmoid_of_scikit_learn(seed: int) -> None:
    """The fit inside its calibrated classifier."""
    from sklearn.calibration import _SigmoidCalibration

    z, y = column(seed)
    wanted = _SigmoidCalibration().fit(z, y)
    slope, intercept = fit_platt(z, y)
    # scikit-learn writes 1 / (1 + exp(a z + b)) and stops at a looser tolerance
    assert slope == pytest.approx(-wanted.a_, rel=1e-3)
    assert intercept == pytest.approx(-wanted.b_, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_platt_is_a_logistic_regression_on_his_targets(seed: int) -> None:
    """Every message stands twice, as on and as off, with the weights of its drawn-in target."""
    z, y = column(seed)
    positives = y.sum()
    t = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))
    regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.r_[z, z][:, None], np.r_[np.ones(len(z)), np.zeros(len(z))], sample_weight=np.r_[t, 1 - t]
    )
    slope, intercept = fit_platt(z, y)
    assert slope == pytest.approx(regression.coef_[0, 0], rel=1e-5)
    assert intercept == pytest.approx(regression.intercept_[0], rel=1e-5, abs=1e-6)


def test_platt_agrees_with_a_calibrated_classifier() -> None:
    """The whole of scikit-learn's way: prefit scores, sigmoid method, probabilities of new ones."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.frozen import FrozenEstimator

    class Identity(ClassifierMixin, BaseEstimator):
        def fit(self, X: np.ndarray, y: np.ndarray) -> Identity:
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, X: np.ndarray) -> np.ndarray:
            return X[:, 0]

        def predict(
            self, X: np.ndarray
        ) -> np.ndarray:  # wanted of a classifier, though the sigmoid reads scores
            return (X[:, 0] >= 0).astype(float)

    z, y = column(11)
    calibrated = CalibratedClassifierCV(FrozenEstimator(Identity().fit(z[:, None], y)), method="sigmoid").fit(
        z[:, None], y
    )
    new = np.linspace(-8, 8, 33)
    slope, intercept = fit_platt(z, y)
    np.testing.assert_allclose(
        sigmoid(slope * new + intercept), calibrated.predict_proba(new[:, None])[:, 1], atol=2e-3
    )


def test_platt_stays_finite_and_never_turns_the_order() -> None:
    z = np.array([-3.0, -2.0, 2.0, 3.0])
    slope, intercept = fit_platt(z, np.array([0, 0, 1, 1.0]))
    assert 0 < slope < 10
    assert abs(intercept) < 1
    assert fit_platt(z, np.array([1, 1, 0, 0.0])) == (0.0, 0.0)
    # one score for all: the drawn-in share of positives, (0.8 + 2 / 5 * 3) / 4 by hand
    slope, intercept = fit_platt(np.full(4, 7.0), np.array([1, 0, 0, 0.0]))
    share = (2 / 3 + 3 * 1 / 5) / 4
    assert slope == 0.0
    assert sigmoid(intercept) == pytest.approx(share)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("decimals", [None, 0])
def test_isotonic_is_what_pool_adjacent_violators_gives(seed: int, decimals: int | None) -> None:
    """scipy's fit of the mean target of each distinct score, weighted by how often it stands, then kept in bounds."""
    z, y = column(seed)
    z = z if decimals is None else np.round(z, decimals)
    x, p = fit_isotonic(*known_cells(z, y))
    distinct, place, counts = np.unique(z, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=y) / counts
    least = 1 / (len(y) + 2)
    wanted = np.clip(isotonic_regression(means, weights=counts).x, least, 1 - least)
    np.testing.assert_allclose(np.interp(distinct, x, p), wanted, atol=1e-12)
    reference = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(z, y)
    new = np.linspace(-20, 20, 101)
    np.testing.assert_allclose(np.interp(new, x, p), reference.predict(new), atol=1e-12)


def test_fits_do_not_depend_on_the_order_of_messages_at_all() -> None:
    z, y = column(3)
    z = np.round(z, 1)
    order = np.random.default_rng(0).permutation(len(z))
    one, other = known_cells(z, y), known_cells(z[order], y[order])
    assert fit_temperature(*one) == fit_temperature(*other)
    assert fit_platt(*one) == fit_platt(*other)
    for a, b in zip(fit_isotonic(*one), fit_isotonic(*other), strict=True):
        np.testing.assert_array_equal(a, b)
