"""Thresholds against a search through all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import fbeta_score, precision_score, recall_score

from tocsin_calibration.columns import known_cells, sigmoid
from tocsin_calibration.thresholds import (
    NEVER,
    Cuts,
    best_fbeta,
    best_shared_fbeta,
    cuts_of,
    least_cost,
    precision_floor,
    recall_floor,
)

COLUMNS = st.lists(
    st.tuples(st.sampled_from([-3.0, -1.5, -0.25, 0.0, 0.5, 1.0, 2.75]), st.sampled_from([0.0, 1.0])),
    min_size=1,
    max_size=25,
)


def cuts(cells: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray, Cuts]:
    z, y = (np.array(part) for part in zip(*cells, strict=True))
    return z, y, cuts_of(*known_cells(z, y))


def candidates(z: np.ndarray) -> list[float]:
    """A threshold below all scores, between any two, and above all."""
    distinct = np.unique(z)
    return [-99.0, *((distinct[1:] + distinct[:-1]) / 2), 99.0]


def decided(z: np.ndarray, threshold: float) -> np.ndarray:
    return sigmoid(z) >= threshold


@settings(max_examples=40, deadline=None)
@given(COLUMNS, st.sampled_from([0.5, 1.0, 2.0]))
def test_no_threshold_has_a_better_f_beta(cells: list[tuple[float, float]], beta: float) -> None:
    z, y, found = cuts(cells)
    threshold = best_fbeta(found, beta)
    if not y.sum():
        assert threshold is None
        return
    values = [fbeta_score(y, z >= limit, beta=beta, zero_division=0.0) for limit in candidates(z)]
    assert threshold is not None
    assert fbeta_score(y, decided(z, threshold), beta=beta, zero_division=0.0) == pytest.approx(max(values))


@settings(max_examples=40, deadline=None)
@given(COLUMNS, st.sampled_from([0.3, 0.5, 0.75]))
def test_floors_are_kept_at_the_least_price(cells: list[tuple[float, float]], floor: float) -> None:
    z, y, found = cuts(cells)
    scored = [
        (
            precision_score(y, z >= limit, zero_division=0.0),
            recall_score(y, z >= limit, zero_division=0.0),
            limit,
        )
        for limit in candidates(z)
    ]
    threshold = precision_floor(found, floor)
    kept = [
        recall for precision, recall, limit in scored if precision >= floor and (z >= limit).any() and y.sum()
    ]
    if not kept:
        assert threshold == NEVER
        assert not decided(z, threshold).any()
    else:
        assert precision_score(y, decided(z, threshold)) >= floor
        assert recall_score(y, decided(z, threshold)) == pytest.approx(max(kept))
    limit = recall_floor(found, floor)
    if not y.sum():
        assert limit is None
        return
    assert limit is not None
    assert recall_score(y, decided(z, limit)) >= floor
    fewest = min((z >= cut).sum() for _, recall, cut in scored if recall >= floor)
    assert decided(z, limit).sum() == fewest


@settings(max_examples=40, deadline=None)
@given(COLUMNS, st.sampled_from([(1.0, 1.0), (5.0, 1.0), (1.0, 3.0)]))
def test_no_threshold_costs_less(cells: list[tuple[float, float]], prices: tuple[float, float]) -> None:
    z, y, found = cuts(cells)
    miss, alarm = prices

    def cost(on: np.ndarray) -> float:
        return float(miss * (y * ~on).sum() + alarm * ((1 - y) * on).sum())

    threshold = least_cost(found, miss, alarm)
    assert threshold is not None
    assert cost(decided(z, threshold)) == min(cost(z >= limit) for limit in candidates(z))


@settings(max_examples=20, deadline=None)
@given(st.lists(COLUMNS, min_size=1, max_size=3))
def test_one_threshold_for_all_labels_is_best_on_average(columns: list[list[tuple[float, float]]]) -> None:
    read = [cuts(cells) for cells in columns]
    threshold = best_shared_fbeta([found for _, _, found in read])
    with_positives = [(z, y) for z, y, _ in read if y.sum()]
    if not with_positives:
        assert threshold is None
        return
    assert threshold is not None

    def mean(limit: float) -> float:
        return float(
            np.mean([fbeta_score(y, decided(z, limit), beta=1, zero_division=0.0) for z, y in with_positives])
        )

    every = sigmoid(np.array(candidates(np.concatenate([z for z, _, _ in read]))))
    assert mean(threshold) >= max(mean(limit) for limit in every) - 1e-12


def test_thresholds_lie_between_scores() -> None:
    found = cuts([(-2.0, 0.0), (0.0, 1.0), (0.0, 0.0), (4.0, 1.0)])[2]
    np.testing.assert_allclose(found.thresholds_C, [1.0, sigmoid(2.0), sigmoid(-1.0), sigmoid(-2.5)])
    np.testing.assert_array_equal(found.hits_C, [0, 1, 2, 2])
    np.testing.assert_array_equal(found.alarms_C, [0, 0, 1, 2])
