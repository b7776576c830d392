"""Brier score, log loss and calibration error against scikit-learn, the truth, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from tests.scores.cases import CASES
from tocsin.scores.reliability import brier, calibration_error, log_loss, reliability

PROBABILITIES = [
    name
    for name, (targets, p) in CASES.items()
    if (~np.isnan(targets)).any() and (p >= 0).all() and (p <= 1).all()  # scikit-learn takes no others
]


def test_nothing_known_is_undefined() -> None:
    for targets in (np.array([np.nan, np.nan]), np.empty(0)):
        assert np.isnan(brier(targets, np.full(len(targets), 0.5)))
        assert np.isnan(log_loss(targets, np.full(len(targets), 0.5)))


@pytest.mark.parametrize("name", PROBABILITIES)
def test_brier_and_log_loss_are_those_of_scikit_learn(name: str) -> None:
    targets, p = CASES[name]
    known = ~np.isnan(targets)
    assert brier(targets, p) == pytest.approx(
        brier_score_loss(targets[known], p[known], pos_label=1, labels=[0, 1])
    )
    assert log_loss(targets, p) == pytest.approx(sklearn_log_loss(targets[known], p[known], labels=[0, 1]))


def test_bins_hold_equal_numbers_and_never_cut_a_tie() -> None:
    p = np.array([0.1] * 6 + [0.2, 0.3, 0.4, 0.5])
    curve = reliability(np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 1.0]), p, bins=5)
    assert curve.counts_B.sum() == 10
    assert curve.counts_B[0] == 6
    assert curve.predicted_B[0] == pytest.approx(0.1)
    assert curve.observed_B[0] == pytest.approx(1 / 6)
    assert len(reliability(np.array([np.nan]), np.array([0.5])).counts_B) == 0


def test_the_error_by_hand() -> None:
    # one bin: said .5, true 3 of 4: .0625 less the variance .75 * .25 / 3 is 0
    assert calibration_error(np.array([1, 1, 1, 0.0]), np.full(4, 0.5)) == 0.0
    # said .1, true 3 of 4
    wanted = np.sqrt(0.65**2 - 0.75 * 0.25 / 3)
    assert calibration_error(np.array([1, 1, 1, 0.0]), np.full(4, 0.1)) == pytest.approx(wanted)
    assert np.isnan(calibration_error(np.array([np.nan]), np.array([0.5])))


def test_few_messages_do_not_show_as_an_error() -> None:
    """Exact probabilities: the debiased square is about 0 on average over small sets, and the plain one is not."""
    generator = np.random.default_rng(0)
    debiased, plain = [], []
    for _ in range(300):
        p = generator.random(60)
        y = (generator.random(60) < p).astype(float)
        curve = reliability(y, p, 10)
        gap = (curve.predicted_B - curve.observed_B) ** 2
        debiased.append(calibration_error(y, p, 10) ** 2)
        plain.append(np.average(gap, weights=curve.counts_B))
    assert np.mean(debiased) < 0.5 * np.mean(plain)  # squares below 0 are cut off, so a little is left
