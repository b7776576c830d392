"""Calibrators: pooling, languages, pos_weight, and what they do where there is little or nothing to learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from calibration_cases import several, sigmoid, table
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.plugins import Calibrator, ConfigError, DataError, LabelError, ScoresTable
from tocsin_calibration.calibrators import Isotonic, Platt, PosWeight, Temperature
from tocsin_calibration.columns import known_cells
from tocsin_calibration.fits import fit_platt, fit_temperature

KINDS = [Temperature, Platt, Isotonic]


def applied(calibrator: Calibrator, scores: ScoresTable) -> np.ndarray:
    return calibrator.apply(scores).probabilities


def test_a_label_is_drawn_towards_all_by_its_rarer_outcome() -> None:
    scores = several()
    calibrator = Platt(shrinkage=20.0).fit(scores)
    z_NL, targets_NL = scores.logits_NL.astype(np.float64), scores.targets_NL
    overall = fit_platt(*known_cells(z_NL, targets_NL))
    for i in range(3):
        z, y = known_cells(z_NL[:, i], targets_NL[:, i])
        own, seen = fit_platt(z, y), min(y.sum(), (1 - y).sum())
        share = seen / (seen + 20.0)
        slope, intercept = (share * a + (1 - share) * b for a, b in zip(own, overall, strict=True))
        assert calibrator.weights[i] == share
        np.testing.assert_allclose(
            applied(calibrator, scores)[:, i], sigmoid(slope * z_NL[:, i] + intercept), atol=1e-6
        )
    assert calibrator.weights == sorted(calibrator.weights, reverse=True)  # labels stand by prevalence


def test_without_shrinkage_a_label_stands_alone() -> None:
    scores = several()
    whole = applied(Temperature(shrinkage=0.0).fit(scores), scores)
    for i in range(3):
        z, y = known_cells(scores.logits_NL[:, i], scores.targets_NL[:, i])
        np.testing.assert_allclose(
            whole[:, i], sigmoid(scores.logits_NL[:, i] / fit_temperature(z, y)), atol=1e-6
        )


@pytest.mark.parametrize("kind", KINDS)
def test_it_undoes_what_was_done_to_the_scores(kind: Any) -> None:
    """The scores are twice the true log odds plus .7; the truth is known, so that the error can be measured."""
    fitted, new = several(1, rows=4000, shares=(0.4, 0.2)), several(2, rows=2000, shares=(0.4, 0.2))
    truth_NL = sigmoid((new.logits_NL - 0.7) / 2.0)
    before = np.mean((new.probabilities - truth_NL) ** 2)
    after = np.mean((applied(kind().fit(fitted), new) - truth_NL) ** 2)
    assert after < {Temperature: 0.3, Platt: 0.02, Isotonic: 0.1}[kind] * before


def test_languages_get_their_own_and_strange_ones_the_labels() -> None:
    generator = np.random.default_rng(5)
    langs = np.array(["en"] * 400 + ["fr"] * 400 + ["ht"] * 4, dtype=object)
    z_NL = generator.normal(size=(804, 1)) * 2
    shift_N = np.where(langs == "fr", 2.0, -1.0)
    targets_NL = (generator.random((804, 1)) < sigmoid(z_NL + shift_N[:, None])).astype(float)
    scores = table(z_NL, targets_NL, langs=langs)
    calibrator = Platt(by="lang").fit(scores)
    assert calibrator.columns == ("lang",)
    plain = applied(Platt().fit(scores), scores)[:, 0]
    found = applied(calibrator, scores)[:, 0]
    truth = sigmoid(z_NL[:, 0] + shift_N)
    for lang in ("en", "fr"):
        rows = langs == lang
        assert np.mean((found[rows] - truth[rows]) ** 2) < 0.1 * np.mean((plain[rows] - truth[rows]) ** 2)
    for strange in ("de", None):
        other = replace(scores, langs=np.full(804, strange, dtype=object))
        np.testing.assert_allclose(applied(calibrator, other)[:, 0], plain, atol=1e-9)
    few = langs == "ht"  # four messages hardly move it
    assert np.abs(found[few] - plain[few]).max() < 0.15


def test_pos_weight_is_taken_back() -> None:
    scores = several()
    weighted = replace(scores, logits_NL=scores.logits_NL + np.log([1.0, 9.0, 1.0]).astype(np.float32))
    given = {"label 1": 9.0}
    np.testing.assert_allclose(
        applied(PosWeight(given).fit(weighted), weighted), scores.probabilities, rtol=1e-5, atol=1e-9
    )
    np.testing.assert_allclose(
        applied(PosWeight(9.0).fit(scores), scores),
        sigmoid(scores.logits_NL - np.log(9.0)),
        rtol=1e-5,
        atol=2e-7,
    )
    # what is learned of the corrected logits is what was learned without a weight
    one, other = (Isotonic(pos_weight=given).fit(weighted), Isotonic().fit(scores))
    np.testing.assert_allclose(applied(one, weighted), applied(other, scores), atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), {"a": 0.0}])
def test_a_pos_weight_is_above_zero(weight: Any) -> None:
    with pytest.raises(ConfigError, match="wanted numbers above 0"):
        Platt(pos_weight=weight)


def test_a_pos_weight_of_a_strange_label_is_named() -> None:
    with pytest.raises(LabelError, match=r"'lable 1'.*Did you mean 'label 1'"):
        Platt(pos_weight={"lable 1": 2.0}).fit(several())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_one_kind_of_target_teaches_nothing(kind: Any, value: float) -> None:
    """All negative, all positive, or none known: scores stay as they are, for one label as for all."""
    scores = several()
    alike = replace(scores, targets_NL=np.full_like(scores.targets_NL, value))
    np.testing.assert_allclose(applied(kind().fit(alike), scores), scores.probabilities, atol=2e-7)
    targets_NL = scores.targets_NL.copy()
    targets_NL[:, 2] = value
    calibrator = kind().fit(replace(scores, targets_NL=targets_NL))
    assert calibrator.weights[2] == 0.0
    assert np.isfinite(applied(calibrator, scores)).all()
    # such a label gets what the others taught
    assert not np.allclose(applied(calibrator, scores)[:, 2], scores.probabilities[:, 2], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_of_one_kind_of_target_gets_the_labels_fit(kind: Any) -> None:
    scores = several()
    rows = scores.langs == "ht"
    for value in (0.0, 1.0, np.nan):
        targets_NL = scores.targets_NL.copy()
        targets_NL[rows] = value
        one = replace(scores, targets_NL=targets_NL)
        by_lang, plain = kind(by="lang").fit(one), kind().fit(one)
        np.testing.assert_allclose(applied(by_lang, scores)[rows], applied(plain, scores)[rows], atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_one_message(kind: Any) -> None:
    one = several().select(np.array([3]))
    calibrator = kind().fit(replace(one, targets_NL=np.array([[1.0, 0.0, np.nan]])))
    assert np.isfinite(applied(calibrator, one)).all()


def test_the_test_split_is_refused_and_nan_scores_are_named() -> None:
    scores = several()
    for kind in KINDS:
        with pytest.raises(DataError, match="of the test split"):
            kind().fit(replace(scores, metadata={"split": "test"}))
    logits_NL = scores.logits_NL.copy()
    logits_NL[7, 1] = np.nan
    with pytest.raises(DataError, match="message 'm7' for label 'label 1' is NaN"):
        replace(scores, logits_NL=logits_NL)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(KINDS), st.sampled_from([None, "lang"]))
def test_the_order_of_messages_is_nothing(seed: int, kind: Any, by: str | None) -> None:
    scores = several(seed % 7, rows=150)
    order = np.random.default_rng(seed).permutation(150)
    one, other = kind(by=by).fit(scores), kind(by=by).fit(scores.select(order))
    assert json.dumps(one.state()) == json.dumps(other.state())


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(KINDS))
def test_what_is_applied_to_is_never_learned_from(seed: int, kind: Any) -> None:
    """Poisoned test rows: their targets, scores and number change nothing of what another message gets."""
    scores, generator = several(3, rows=150), np.random.default_rng(seed)
    calibrator = kind(by="lang").fit(scores)
    before = json.dumps(calibrator.state())
    first = applied(calibrator, scores)
    poison = generator.normal(0.0, 20.0, (60, 3))
    calibrator.apply(
        table(poison, np.ones((60, 3)), langs=np.full(60, "fr", dtype=object), metadata={"split": "test"})
    )
    assert json.dumps(calibrator.state()) == before
    np.testing.assert_array_equal(applied(calibrator, scores), first)


def test_probabilities_in_place_of_logits_are_calibrated_alike() -> None:
    scores = several()
    given = replace(scores, logits_NL=None, probabilities_NL=scores.probabilities)
    for kind in KINDS:
        np.testing.assert_allclose(
            applied(kind().fit(given), given), applied(kind().fit(scores), scores), atol=1e-4
        )


def test_a_shrinkage_is_from_zero_up() -> None:
    with pytest.raises(ConfigError, match="shrinkage is -1"):
        Platt(shrinkage=-1.0)
