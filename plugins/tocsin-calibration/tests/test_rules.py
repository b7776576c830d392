"""Decision rules: pooling, languages, and what they do where there is little or nothing to learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from calibration_cases import several, sigmoid, table
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.plugins import ConfigError, DataError, DecisionRule, LabelError, ScoresTable
from tocsin_calibration.columns import known_cells
from tocsin_calibration.conformal import ConformalSets
from tocsin_calibration.given_rules import FixedThreshold, TopK
from tocsin_calibration.rules import (
    BestF1,
    BestFbeta,
    LeastCost,
    PrecisionFloor,
    RecallFloor,
)
from tocsin_calibration.thresholds import best_fbeta, best_shared_fbeta, cuts_of

LEARNING = [BestF1, BestFbeta, PrecisionFloor, RecallFloor, LeastCost]


def decided(rule: DecisionRule, scores: ScoresTable) -> np.ndarray:
    decisions_NL = rule.apply(scores).decisions_NL
    assert decisions_NL is not None
    return decisions_NL


def limits(rule: DecisionRule, lang: str | None = None) -> np.ndarray:
    found = rule.thresholds(lang)
    assert found is not None
    return found


def logit(p: Any) -> np.ndarray:
    return np.log(p) - np.log1p(-np.asarray(p))


def test_a_threshold_is_drawn_towards_all_labels_by_its_positives() -> None:
    scores = several()
    cuts = [cuts_of(*known_cells(scores.logits_NL[:, i], scores.targets_NL[:, i])) for i in range(3)]
    shared = best_shared_fbeta(cuts)
    found = limits(BestF1(shrinkage=20.0).fit(scores))
    for i in range(3):
        own = best_fbeta(cuts[i])
        share = cuts[i].positives / (cuts[i].positives + 20.0)
        assert found[i] == pytest.approx(sigmoid(share * logit(own) + (1 - share) * logit(shared)), abs=1e-6)


def test_languages_get_thresholds_and_strange_ones_the_labels() -> None:
    scores = several(rows=900)
    rule = BestF1(by="lang").fit(scores)
    assert rule.columns == ("lang",)
    assert set(rule.groups) == {"en", "fr", "ht"}
    alone = BestF1().fit(scores)
    np.testing.assert_array_equal(limits(rule), limits(alone))
    assert not np.array_equal(limits(rule, "fr"), limits(alone))
    np.testing.assert_array_equal(limits(rule, "de"), limits(alone))
    for strange in ("de", None):
        other = replace(scores, langs=np.full(900, strange, dtype=object))
        np.testing.assert_array_equal(decided(rule, other), decided(alone, scores))
    # what a language gets lies between its own best and its label's
    rows = scores.langs == "fr"
    own = limits(BestF1(shrinkage=0.0).fit(scores.select(rows)))
    assert ((limits(rule, "fr") - own) * (limits(rule, "fr") - limits(alone)) <= 1e-12).all()


def test_rules_by_hand() -> None:
    z = logit(np.array([0.9, 0.8, 0.7, 0.4, 0.2, 0.1]))[:, None]
    targets = np.array([[1], [0], [1], [1], [0], [0]], dtype=float)
    scores = table(z, targets)

    def on(rule: DecisionRule) -> int:
        return int(decided(rule.fit(scores), scores).sum())

    assert on(BestF1(shrinkage=0.0)) == 4  # 3 hits, 1 alarm: 6 / 7
    assert on(PrecisionFloor(0.75)) == 4
    assert on(PrecisionFloor(0.8)) == 1
    assert on(RecallFloor(0.6)) == 3  # two of three
    assert on(RecallFloor(0.3)) == 1
    assert on(LeastCost(miss=1.0, alarm=10.0, shrinkage=0.0)) == 1
    assert on(LeastCost(miss=10.0, alarm=1.0, shrinkage=0.0)) == 4
    assert on(FixedThreshold(0.15)) == 5
    assert on(FixedThreshold({"label 0": 0.75})) == 2


def test_prices_alone_decide_where_there_is_nothing_else() -> None:
    scores = several()
    unknown = replace(scores, targets_NL=np.full_like(scores.targets_NL, np.nan))
    np.testing.assert_allclose(limits(LeastCost(miss=4.0, alarm=1.0).fit(unknown)), 0.2)


def test_never_is_never_where_nothing_is_drawn() -> None:
    """The two surest messages are false alarms: being off is cheapest, and they stay off however sure they are."""
    z = np.array([20.0, 20.0, -2.0, *[-1.0] * 50])[:, None]
    targets = np.array([0.0, 0.0, 1.0, *[0.0] * 50])[:, None]
    scores = table(z, targets)
    rule = LeastCost(miss=1.0, alarm=1.0, shrinkage=0.0).fit(scores)
    assert limits(rule) == [1.0]
    assert not decided(rule, scores).any()
    drawn = LeastCost(miss=1.0, alarm=1.0, shrinkage=20.0).fit(scores)
    assert 0.5 < limits(drawn)[0] < 1.0  # from one positive, "never" is little known


@pytest.mark.parametrize("kind", LEARNING)
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_one_kind_of_target(kind: Any, value: float) -> None:
    """All negative, all positive, or none known: a threshold all the same, and never a worth of 0 for it."""
    scores = several()
    alike = replace(scores, targets_NL=np.full_like(scores.targets_NL, value))
    rule = kind().fit(alike)
    found = limits(rule)
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    on = decided(rule, scores)
    if value == 1.0 and kind is not LeastCost:
        assert on.mean() >= 0.8  # everything is true
    if kind is PrecisionFloor and value != 1.0:
        assert not on.any()  # nothing shows that the floor would be kept
    one_label = scores.targets_NL.copy()
    one_label[:, 2] = value
    assert np.isfinite(limits(kind().fit(replace(scores, targets_NL=one_label)))).all()


def test_what_is_worth_nothing_known_is_undefined() -> None:
    none = np.zeros(1)
    for kind in (BestF1, BestFbeta, RecallFloor, ConformalSets):
        assert np.isnan(kind().worth(none, np.array([3.0]), none, np.array([5.0]))).all()
    assert np.isnan(PrecisionFloor().worth(none, none, np.array([3.0]), np.array([5.0]))).all()
    assert np.isnan(LeastCost().worth(none, none, none, none)).all()
    assert LeastCost(miss=5.0).worth(*np.array([[1.0], [2.0], [3.0], [4.0]])) == pytest.approx(17 / 10)


def test_top_k_by_hand() -> None:
    p_NL = np.array([[0.9, 0.8, 0.8], [0.1, 0.05, 0.3]])
    scores = table(logit(p_NL), None)
    learned = table(logit(p_NL), np.zeros((2, 3)))
    np.testing.assert_array_equal(
        decided(TopK(2).fit(learned), scores), [[True, True, False], [True, False, True]]
    )
    np.testing.assert_array_equal(
        decided(TopK(2, least=0.2).fit(learned), scores), [[True, True, False], [False, False, True]]
    )
    assert TopK(2).thresholds() is None
    assert decided(TopK(9).fit(learned), scores).all()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([*LEARNING, ConformalSets]), st.sampled_from([None, "lang"]))
def test_the_order_of_messages_is_nothing(seed: int, kind: Any, by: str | None) -> None:
    scores = several(seed % 7, rows=150)
    order = np.random.default_rng(seed).permutation(150)
    one, other = kind(by=by).fit(scores), kind(by=by).fit(scores.select(order))
    assert json.dumps(one.state()) == json.dumps(other.state())


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([*LEARNING, ConformalSets]))
def test_what_is_applied_to_is_never_learned_from(seed: int, kind: Any) -> None:
    scores, generator = several(3, rows=150), np.random.default_rng(seed)
    rule = kind(by="lang").fit(scores)
    before, first = json.dumps(rule.state()), decided(rule, scores)
    rule.apply(table(generator.normal(0, 20, (60, 3)), np.ones((60, 3)), metadata={"split": "test"}))
    assert json.dumps(rule.state()) == before
    np.testing.assert_array_equal(decided(rule, scores), first)


@pytest.mark.parametrize("kind", [*LEARNING, FixedThreshold, TopK, ConformalSets])
def test_the_test_split_is_refused(kind: Any) -> None:
    with pytest.raises(DataError, match="of the test split"):
        kind().fit(replace(several(), metadata={"split": "test"}))


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        (BestFbeta, {"beta": 0.0}, "beta is 0"),
        (PrecisionFloor, {"floor": 1.0}, "floor is 1"),
        (RecallFloor, {"floor": 0.0}, "floor is 0"),
        (LeastCost, {"miss": 0.0}, "two prices above 0"),
        (FixedThreshold, {"threshold": 0.0}, "above 0"),
        (TopK, {"k": 0}, "k is 0"),
        (TopK, {"least": 1.0}, "least is 1"),
        (ConformalSets, {"alpha": 0.0}, "alpha is 0"),
        (ConformalSets, {"least_units": 0}, "least_units is 0"),
    ],
)
def test_arguments_out_of_range_are_named(kind: Any, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        kind(**arguments)


def test_a_fixed_threshold_of_a_strange_label_is_named() -> None:
    with pytest.raises(LabelError, match="'lable 1'"):
        FixedThreshold({"lable 1": 0.3}).fit(several())
