"""Rank correlation, squared errors and class separation against scipy, scikit-learn and sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats  # scikit-learn brings it
from sklearn.metrics import silhouette_score

from tocsin.errors import DataError
from tocsin.vectors import (
    class_separation,
    cosines,
    rank_correlation,
    similarity_differences,
    similarity_report,
    spearman,
    squared_errors,
    vector_error,
)
from tocsin.vectors.reports import MACRO
from tocsin.vectors.similarity import average_ranks, centred, draw_correlations


def test_ranks_by_hand() -> None:
    assert average_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


@given(values=st.lists(st.tuples(st.integers(-3, 3), st.floats(-5, 5, width=16)), min_size=2, max_size=60))
def test_ranks_and_correlation_are_scipy_s(values: list[tuple[int, float]]) -> None:
    first, second = np.array(values, np.float64).T
    np.testing.assert_allclose(average_ranks(second), stats.rankdata(second))
    assume(len(set(first)) > 1 and len(set(second)) > 1)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


@given(n=st.integers(4, 40), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=20)
def test_a_draw_is_the_correlation_of_the_rows_drawn(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, 6, n).astype(float), generator.standard_normal(n)
    assume(len(set(first)) > 1)
    found = draw_correlations([first, -first], second, 50, np.random.default_rng(seed))
    rows_KN = np.random.default_rng(seed).integers(0, n, size=(50, n))
    for rows, value, opposite in zip(rows_KN, *found, strict=True):
        if len(set(first[rows])) < 2 or len(set(second[rows])) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(spearman(first[rows], second[rows]), abs=1e-12)
            assert opposite == pytest.approx(-value, abs=1e-12)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    generator = np.random.default_rng(1)
    score_N = generator.integers(0, 6, 300).astype(float)
    cosine_N = score_N + 2 * generator.standard_normal(300)
    found = rank_correlation(cosine_N, score_N, 2000)
    drawn = []
    for _ in range(1000):
        rows = generator.integers(0, 300, 300)
        drawn.append(spearman(cosine_N[rows], score_N[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.point == spearman(cosine_N, score_N)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.015)
    np.testing.assert_allclose(centred(np.array([0.5, np.nan, 0.7]), 0.9), [0.8, 1.0])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0], [2.0], "one pair alone"),
        ([1.0, 2.0], [2.0, 2.0], "All 2 scores are equal"),
        ([1.0, 1.0], [2.0, 3.0], "All 2 cosines are equal"),
        ([1.0, 2.0], [2.0, 3.0, 4.0], "2 cosines and 3 scores"),
        ([1.0, np.nan], [2.0, 3.0], "row 2 is not"),
        ([], [], "finite numbers"),
    ],
)
def test_what_cannot_be_ranked(first: list[float], second: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        spearman(np.array(first), np.array(second))


def test_cosines_by_hand() -> None:
    found = cosines(
        np.array([[1, 0], [3, 4], [1, 1]], np.float32), np.array([[0, 2], [3, 4], [-2, -2]], np.float32)
    )
    np.testing.assert_allclose(found, [0, 1, -1], atol=1e-12)
    vectors = np.random.default_rng(0).standard_normal((500, 33)).astype(np.float32)
    assert set(cosines(vectors, vectors).tolist()) == {1.0}  # equal texts tie
    with pytest.raises(DataError, match="equal shapes"):
        cosines(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(DataError, match="second vectors have no direction"):
        cosines(np.ones((2, 3)), np.zeros((2, 3)))


def test_squared_errors_in_both_scalings_by_hand() -> None:
    student, teacher = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [3.0, 0.0]])
    assert squared_errors(student, teacher).tolist() == [5.0, 9.0]
    found = vector_error(student, teacher)
    assert (found.pairs, found.summed.point, found.averaged.point) == (2, 7.0, 3.5)
    assert (found.summed.low, found.summed.high) == (5.0, 9.0)
    assert (found.averaged.low, found.averaged.high) == (2.5, 4.5)
    with pytest.raises(DataError, match="equal shapes"):
        squared_errors(student, np.ones((2, 3)))
    with pytest.raises(DataError, match="the first in row 2"):
        squared_errors(student, np.array([[0.0, 0.0], [np.inf, 0.0]]))


def test_many_squared_errors_are_those_of_torch_s_loss() -> None:
    generator = np.random.default_rng(0)
    student, teacher = (generator.standard_normal((5000, 300)).astype(np.float32) for _ in range(2))
    averaged = torch.nn.functional.mse_loss(torch.from_numpy(student), torch.from_numpy(teacher)).item()
    found = vector_error(student, teacher, 50)
    assert found.averaged.point == pytest.approx(averaged, rel=1e-5)
    assert found.summed.point == pytest.approx(averaged * 300, rel=1e-5)


def test_a_similarity_report() -> None:
    generator = np.random.default_rng(0)
    scores = {"aaa": generator.random(150), "bbb": generator.random(60)}
    near = {lang: values + 0.2 * generator.standard_normal(len(values)) for lang, values in scores.items()}
    far = {lang: values + generator.standard_normal(len(values)) for lang, values in scores.items()}
    report = similarity_report(near, scores)
    assert report.languages["aaa"].point == spearman(near["aaa"], scores["aaa"])
    assert report.macro.point == pytest.approx(np.mean([one.point for one in report.languages.values()]))
    assert report.macro.low < report.macro.point < report.macro.high
    assert report.few == ["bbb"]
    assert report.to_dict()["languages"]["bbb"]["pairs"] == 60
    apart = similarity_differences(near, far, scores)
    assert apart["aaa"].point == pytest.approx(
        report.languages["aaa"].point - similarity_report(far, scores).languages["aaa"].point
    )
    assert apart[MACRO].beyond_chance
    none = similarity_differences(near, near, scores)[MACRO]
    assert (none.point, none.low, none.high) == (0.0, 0.0, 0.0)
    with pytest.raises(DataError, match="bbb: All 60 scores are equal"):
        similarity_report(near, {**scores, "bbb": np.ones(60)})
    with pytest.raises(DataError, match="differ in bbb"):
        similarity_report(near, {"aaa": scores["aaa"]})


def test_parallel_languages_share_their_draws() -> None:
    generator = np.random.default_rng(0)
    score_N = generator.random(200)
    cosine_N = score_N + 0.5 * generator.standard_normal(200)
    many, scores = {f"l{i}": cosine_N for i in range(4)}, {f"l{i}": score_N for i in range(4)}
    alone = rank_correlation(cosine_N, score_N)
    together = similarity_report(many, scores, parallel=True).macro
    apart = similarity_report(many, scores).macro
    assert together.high - together.low == pytest.approx(alone.high - alone.low, abs=0.02)
    assert apart.high - apart.low == pytest.approx((alone.high - alone.low) / 2, abs=0.02)


def test_class_separation_by_hand() -> None:
    # Class a: 0 and 60 degrees (cosine 1/2); class b: 90 and 180 (0), and 90 once more (1, 0).
    angles = np.radians([0, 60, 90, 180, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1], [2], [3], [4], [5]])
    found = class_separation(vectors, ["a", "a", "b", "b", "b"])
    weight_a, weight_b = (1 / 2) / (1 / 2 + 1 / 3), (1 / 3) / (1 / 2 + 1 / 3)
    assert found.within == pytest.approx(weight_a * 1 / 2 + weight_b * 1 / 3)
    assert found.within_with_self == pytest.approx(weight_a * 3 / 4 + weight_b * 5 / 9)
    cross = [np.cos(one - other) for one in angles[:2] for other in angles[2:]]
    assert found.between == pytest.approx(np.mean(cross))
    assert found.classes == {"b": 3, "a": 2}
    assert found.items == 5


@given(items=st.integers(5, 40), classes=st.integers(2, 4), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=25)
def test_class_separation_is_that_of_all_pairs(items: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    vectors, labels = generator.standard_normal((items, 6)) + 1, generator.integers(0, classes, items)
    labels[:2] = (0, 1)
    found = class_separation(vectors, labels.astype(str).tolist())
    for centre, wanted in ((np.zeros(6), found.within), (None, found.within_centred)):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = unit - (unit.mean(axis=0) if centre is None else centre)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosine, own = unit @ unit.T, ~np.eye(items, dtype=bool)
        means, sizes = [], []
        for label in np.unique(labels):
            inside = np.ix_(labels == label, labels == label)
            if (labels == label).sum() > 1:
                means.append(cosine[inside][own[inside]].mean())
                sizes.append((labels == label).sum())
        weights = 1 / np.array(sizes, float)
        assert wanted == pytest.approx(weights @ means / weights.sum(), abs=1e-9)
    assert found.silhouette == pytest.approx(silhouette_score(vectors, labels, metric="cosine"), abs=1e-9)


def test_one_vector_for_all_scores_1_and_separates_nothing() -> None:
    found = class_separation(np.ones((6, 3)), ["a", "a", "b", "b", "b", "c"])
    assert found.within == pytest.approx(1.0)
    assert found.between == pytest.approx(1.0)
    assert found.silhouette == 0.0
    assert np.isnan(found.within_centred)


def test_classes_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="at least two classes"):
        class_separation(np.eye(3), ["a"] * 3)
    with pytest.raises(DataError, match="3 vectors and 2 classes"):
        class_separation(np.eye(3), ["a", "b"])
    assert np.isnan(class_separation(np.eye(2), ["a", "b"]).within)
