from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from tests.scores.cases import make_table
from tocsin.scores.intervals import (
    degrees_of_freedom,
    effective_counts,
    interval,
    joined_degrees,
    widening,
)
from tocsin.scores.statistics import bootstrap


def test_an_interval_by_hand() -> None:
    drawn = np.linspace(0.4, 0.8, 401)  # mean .6
    # the draws lie .1 above the figure, so the figure lies .1 above the truth: .5 -> .4
    low, high, draws = interval(drawn, 0.5)
    assert (low, high, draws) == (pytest.approx(0.4 - 0.19), pytest.approx(0.4 + 0.19), 401)
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    low, _, _ = interval(drawn, 0.5, scale="logit")
    assert logit(low) == pytest.approx(logit(0.4) + logit(0.41) - logit(0.6))
    low, _, _ = interval(drawn, 0.5, scale="log")
    assert np.log(low) == pytest.approx(np.log(0.4) + np.log(0.41) - np.log(0.6))


def test_widening_is_that_of_a_t_and_of_a_small_sample() -> None:
    for degrees in (1.0, 4.0, 29.5, 400.0):
        expected = np.sqrt((degrees + 1) / degrees) * t.ppf(0.975, degrees) / norm.ppf(0.975)
        assert widening(degrees) == pytest.approx(expected)
    assert widening(np.inf) == 1.0


def test_the_mean_of_few_normals_is_held_as_often_as_said() -> None:
    """20 values, whose bootstrap draws spread sqrt(19/20) too little: with the widening, 95% hold the mean."""
    hits = []
    for seed in range(500):
        generator = np.random.default_rng(seed)
        values = generator.normal(size=20)
        drawn = values[generator.integers(0, 20, (400, 20))].mean(axis=1)
        low, high, _ = interval(drawn, values.mean(), degrees=19)
        hits.append(low <= 0 <= high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_effective_counts_of_groups() -> None:
    cells = np.array([[1, 1], [1, 0], [1, 0], [1, 0], [0, 1]], dtype=bool)
    assert effective_counts(cells).tolist() == [4, 2]
    # label 0: 3 and 1 in two groups -> 16 / 10; label 1: 1 and 1 -> 4 / 2
    assert effective_counts(cells, np.array([0, 0, 0, 1, 1])).tolist() == [1.6, 2.0]
    assert effective_counts(cells & False).tolist() == [0, 0]


def test_degrees_count_the_rarer_side() -> None:
    targets = np.array([[1, 1, 1], [1, 1, 0], [1, 0, np.nan], [0, 0, np.nan], [0, 0, np.nan]])
    assert degrees_of_freedom(targets).tolist() == [1, 1, 1]  # 3 and 2; 2 and 3; 1 and 1, taken as 2
    assert degrees_of_freedom(np.repeat(targets[:, :1], 10, axis=0)).tolist() == [19]
    pooled = degrees_of_freedom(targets, pooled=True)
    positives = np.array([3, 2, 1, 0, 0])
    negatives = np.array([0, 1, 1, 2, 2])
    few = min(positives.sum() ** 2 / (positives**2).sum(), negatives.sum() ** 2 / (negatives**2).sum())
    assert pooled.tolist() == pytest.approx([few - 1])


def test_labels_join_by_their_spread() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(4000, 2)) * [1.0, 1.0]
    assert joined_degrees(drawn, np.array([10.0, 10.0])) == pytest.approx(20, rel=0.05)
    assert joined_degrees(drawn * [1.0, 0.01], np.array([10.0, 100.0])) == pytest.approx(10, rel=0.05)
    assert joined_degrees(drawn, np.array([10.0, 100.0]), [1.0, 0.0]) == pytest.approx(10, rel=0.05)
    drawn[:, 1] = np.nan
    assert joined_degrees(drawn, np.array([10.0, 100.0])) == pytest.approx(10)
    assert joined_degrees(drawn * 0, np.array([10.0, 100.0])) == np.inf


def test_few_positives_make_wide_intervals() -> None:
    targets = np.zeros((400, 1))
    targets[:4] = 1
    found = bootstrap(make_table(400, 1, targets_NL=targets), ["macro_roc_auc"], 200)["macro_roc_auc"]
    assert found.degrees == pytest.approx(3)
    assert 0 < found.low < found.high < 1
