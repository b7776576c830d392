"""Matching accuracy by hand, its rule for ties and equal texts, and its intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # scikit-learn brings it

from tocsin.errors import ConfigError, DataError
from tocsin.vectors import Matching, accuracy, match, matching_differences, matching_report
from tocsin.vectors.intervals import bootstrap_means, wilson
from tocsin.vectors.reports import MACRO


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def made_of(forward: list[int], backward: list[int]) -> Matching:
    rows = np.arange(len(forward))
    return Matching(rows, rows, np.array(forward, bool), np.array(backward, bool))


def test_by_hand() -> None:
    # Sources at 0, 41, 90 degrees; targets at 5, 20, 50: the source at 41 is nearest to 50, the target at 20 to 0.
    found = match(on_circle(0, 41, 90), on_circle(5, 20, 50))
    assert found.target_N.tolist() == [0, 2, 2]
    assert found.source_N.tolist() == [0, 0, 1]
    assert found.forward_N.tolist() == [True, False, True]
    assert found.backward_N.tolist() == [True, False, False]
    assert (found.forward, found.backward, found.mean) == pytest.approx((2 / 3, 1 / 3, 1 / 2))
    assert found.score_N.tolist() == [1.0, 0.0, 0.5]
    assert len(found) == 3


@given(
    pairs=st.integers(1, 60),
    noise=st.floats(0, 3),
    repeats=st.integers(0, 10),
    block=st.integers(1, 70),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=40)
def test_it_is_numpy_s_arg_max_of_the_whole_matrix(
    pairs: int, noise: float, repeats: int, block: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    # Small whole numbers: sums are exact in any order, so that even ties are the same everywhere. Unit length is not
    # needed for that: all have the same length, 2.
    signs = generator.choice([-1.0, 1.0], (pairs, 4))
    changed = np.where(generator.random((pairs, 4)) < noise / 6, -signs, signs)
    for _ in range(repeats):
        signs[generator.integers(pairs)] = signs[generator.integers(pairs)]
    cosine_NN = signs @ changed.T
    found = match(signs, changed, block=block)
    assert found.target_N.tolist() == cosine_NN.argmax(axis=1).tolist()
    assert found.source_N.tolist() == cosine_NN.argmax(axis=0).tolist()


def test_one_vector_for_all_finds_one_pair() -> None:
    assert match(np.ones((50, 4)), np.ones((50, 4))).mean == 1 / 50


def test_what_counts_as_found() -> None:
    # Pairs 0 and 2 have one English sentence and two translations; pairs 1 and 3 the other way round.
    source, target = on_circle(0, 90, 0, 120), on_circle(10, 100, -10.5, 100)
    texts = {"source_texts": ["go", "stop", "go", "halt"], "target_texts": ["va", "alto", "ve", "alto"]}
    row = match(source, target)
    assert row.target_N.tolist() == [0, 1, 0, 1]
    assert row.source_N.tolist() == [0, 1, 0, 1]
    assert row.forward_N.tolist() == row.backward_N.tolist() == [True, True, False, False]
    text = match(source, target, hit="text", **texts)  # type: ignore[arg-type]
    assert text.forward_N.tolist() == [True, True, False, True]  # "alto" again
    assert text.backward_N.tolist() == [True, True, True, False]  # "go" again
    pair = match(source, target, hit="pair", **texts)  # type: ignore[arg-type]
    assert pair.forward_N.all()
    assert pair.backward_N.all()
    assert pair.target_N.tolist() == row.target_N.tolist()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hit": "text", "source_texts": ["a", "b"]}, DataError, "No target texts for 2 pairs"),
        (
            {"hit": "pair", "source_texts": ["a", "b"], "target_texts": ["a"]},
            DataError,
            "1 target texts for 2 pairs",
        ),
        ({"hit": "rows"}, ConfigError, "Did you mean 'row'"),
    ],
)
def test_texts_that_do_not_fit(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        match(np.eye(2), np.eye(2), **options)


def test_sides_of_other_lengths() -> None:
    with pytest.raises(DataError, match="2 source vectors and 3 target"):
        match(np.eye(3)[:2], np.eye(3))


def test_wilson_by_hand() -> None:
    # Agresti and Coull 1998's arithmetic for 8 of 10, z = 1.959964: (.8 + .19207) / 1.38415 -+ ...
    found = wilson(8, 10)
    assert (found.point, found.low, found.high) == pytest.approx((0.8, 0.490162, 0.943318), abs=1e-6)
    assert (wilson(10, 10).low, wilson(10, 10).high) == pytest.approx((0.722467, 1.0), abs=1e-6)
    assert wilson(0, 10).low == 0.0
    assert wilson(0, 10).high == pytest.approx(1 - 0.722467, abs=1e-6)


@given(hits=st.integers(0, 40), n=st.integers(1, 40), level=st.floats(0.5, 0.999))
@settings(deadline=None)
def test_wilson_solves_its_equation(hits: int, n: int, level: float) -> None:
    hits = min(hits, n)
    found = wilson(hits, n, level)
    reference = stats.binomtest(hits, n).proportion_ci(level, "wilson")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(hits: int, n: int) -> None:
    with pytest.raises(DataError, match="at least one pair"):
        wilson(hits, n)


@pytest.mark.parametrize("values", [np.repeat([0.0, 0.5, 1.0], [20, 30, 50]), np.arange(100.0) ** 2])
def test_draws_have_the_bootstrap_s_mean_and_spread(values: np.ndarray) -> None:
    drawn = bootstrap_means(values, 20_000, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(values.mean(), rel=0.01)
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(len(values)), rel=0.03)
    again = bootstrap_means(values, 20_000, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, again)


def test_few_and_many_values_are_drawn_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.repeat([0.0, 0.5, 1.0], [5, 20, 75])
    counted = bootstrap_means(values, 20_000)
    monkeypatch.setattr("tocsin.vectors.intervals._FEW_VALUES", 0)
    one_by_one = bootstrap_means(values, 20_000)
    quantiles = [0.025, 0.25, 0.5, 0.75, 0.975]
    np.testing.assert_allclose(
        np.quantile(counted, quantiles), np.quantile(one_by_one, quantiles), atol=0.006
    )


@pytest.mark.parametrize("values", [np.array([]), np.array([1.0, np.nan]), np.ones((2, 2))])
def test_draws_need_finite_numbers(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite numbers"):
        bootstrap_means(values)


def test_the_interval_of_the_mean_knows_that_directions_share_their_pairs() -> None:
    # Always hit or missed together: no more information than one direction has. Never together: the mean is .5 exactly.
    half = [1] * 50 + [0] * 50
    together = accuracy(made_of(half, half))
    apart = accuracy(made_of(half, half[::-1]))
    assert together.mean.high - together.mean.low == pytest.approx(
        together.forward.high - together.forward.low, abs=0.02
    )
    assert (apart.mean.low, apart.mean.high) == (0.5, 0.5)
    assert together.forward == together.backward == wilson(50, 100)


@pytest.mark.parametrize("hit", [0, 1])
def test_all_alike_is_no_certainty(hit: int) -> None:
    found = accuracy(made_of([hit] * 30, [hit] * 30))
    assert found.mean == wilson(30 * hit, 30)


def test_coverage_of_the_interval() -> None:
    # 300 samples of 200 pairs from a known accuracy of .8 / .7: about 95% of the intervals hold .75.
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        common = generator.random(200)
        forward, backward = (common < 0.8).astype(int), (common + generator.random(200) < 1.2).astype(int)
        # P(u + v < 1.2) = 1 - .8²/2 = .68
        found = accuracy(made_of(forward.tolist(), backward.tolist()), 400, generator)
        held += found.mean.low <= (0.8 + 0.68) / 2 <= found.mean.high
    assert 0.91 <= held / 300 <= 0.98


def test_a_report_by_hand() -> None:
    report = matching_report(
        {
            "aaa": made_of([1] * 100, [1] * 100),
            "bbb": made_of([1] * 80 + [0] * 40, [1] * 60 + [0] * 60),
            "ccc": made_of([1] * 9 + [0], [1] * 10),
        }
    )
    assert list(report.languages) == ["aaa", "bbb", "ccc"]
    assert report.macro_forward.point == pytest.approx((1 + 2 / 3 + 0.9) / 3)
    assert report.macro_backward.point == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert report.macro.point == pytest.approx((1 + 7 / 12 + 0.95) / 3)
    assert report.macro.low < report.macro.point < report.macro.high
    assert report.below == ["bbb"]  # ccc is at .95, not under it
    assert report.surely_below == ["bbb"]
    assert report.few == ["ccc"]
    plain = report.to_dict()
    assert plain["macro"]["pairs"] == 230
    assert plain["languages"]["bbb"]["forward"]["point"] == pytest.approx(2 / 3)
    alone = matching_report({"bbb": made_of([1] * 80 + [0] * 40, [1] * 60 + [0] * 60)})
    assert alone.languages["bbb"] == report.languages["bbb"]  # no other language moves it


def test_differences_are_paired() -> None:
    generator = np.random.default_rng(0)
    common = generator.random(400)
    better, worse = (made_of(*[(common < share).astype(int).tolist()] * 2) for share in (0.62, 0.6))
    found = matching_differences({"aaa": better, "bbb": better}, {"aaa": worse, "bbb": worse})
    assert found["aaa"].point == pytest.approx(better.mean - worse.mean)
    # Unpaired, either alone is uncertain by +-.05.
    assert found["aaa"].high - found["aaa"].low < 0.04
    assert found["aaa"].beyond_chance
    assert found[MACRO].point == pytest.approx(found["aaa"].point)
    none = matching_differences({"aaa": better}, {"aaa": better})["aaa"]
    assert (none.point, none.low, none.high, none.beyond_chance) == (0.0, 0.0, 0.0, False)


def test_parallel_languages_share_their_draws() -> None:
    # One and the same result in nine languages says no more than in one.
    one = made_of([1] * 60 + [0] * 40, [1] * 60 + [0] * 40)
    many = {f"l{i}": one for i in range(9)}
    apart, together = matching_report(many).macro, matching_report(many, parallel=True).macro
    width = wilson(60, 100).high - wilson(60, 100).low
    assert together.high - together.low == pytest.approx(width, abs=0.02)
    assert apart.high - apart.low == pytest.approx(width / 3, abs=0.02)
    with pytest.raises(DataError, match="other numbers of pairs"):
        matching_report({"a": one, "b": made_of([1], [1])}, parallel=True)


def test_reports_refuse_what_they_cannot_compare() -> None:
    one, other = made_of([1, 0], [1, 0]), made_of([1], [1])
    with pytest.raises(DataError, match="no language"):
        matching_report({})
    with pytest.raises(DataError, match="differ in bbb"):
        matching_differences({"aaa": one, "bbb": one}, {"aaa": one, "bbb": other})
    with pytest.raises(DataError, match="differ in bbb"):
        matching_differences({"aaa": one, "bbb": one}, {"aaa": one})
    with pytest.raises(ConfigError, match="draws is 0"):
        matching_report({"aaa": one}, draws=0)
    with pytest.raises(ConfigError, match=r"level is 1\.5"):
        accuracy(one, level=1.5)
