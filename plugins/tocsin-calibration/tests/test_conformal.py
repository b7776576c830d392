"""Conformal sets: the threshold by hand and by search, and the bound in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_cases import several, sigmoid, table
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.plugins import DataError
from tocsin_calibration.conformal import ConformalSets, conformal_threshold, missed_shares


def test_the_threshold_by_hand() -> None:
    # Nine messages with one label each: (n R + 1) / (n + 1) <= .25 allows 1.5 misses, so one: t is the second lowest.
    p = np.linspace(0.1, 0.9, 9)[:, None]
    assert conformal_threshold(p, np.ones((9, 1)), 0.25) == (pytest.approx(0.2), 9)
    # alpha (n + 1) = 1 exactly: no miss is allowed, so every label of these messages stays in.
    assert conformal_threshold(p, np.ones((9, 1)), 0.1) == (pytest.approx(0.1), 9)
    # Fewer than 1 / alpha - 1 messages: everything is on.
    assert conformal_threshold(p[:8], np.ones((8, 1)), 0.1) == (0.0, 8)
    assert conformal_threshold(p, np.zeros((9, 1)), 0.1) == (0.0, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.2, 0.4]), st.integers(0, 5))
def test_no_higher_threshold_keeps_the_bound(seed: int, alpha: float, groups: int) -> None:
    """Search all of them, with the formula as the paper has it."""
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(5, 60))
    p_NL = np.round(generator.random((rows, 3)), 2)
    targets_NL = (generator.random((rows, 3)) < 0.4).astype(float)
    targets_NL[generator.random((rows, 3)) < 0.2] = np.nan
    unit_N = generator.integers(0, 12, rows) if groups else None
    threshold, n = conformal_threshold(p_NL, targets_NL, alpha, unit_N)

    def bound(limit: float) -> float:
        losses = missed_shares(targets_NL, p_NL >= limit)
        known = np.isfinite(losses)
        units = np.arange(rows) if unit_N is None else unit_N
        means = [losses[known & (units == unit)].mean() for unit in np.unique(units[known])]
        assert len(means) == n
        return (np.sum(means) + 1.0) / (n + 1.0)

    if not n:
        assert threshold == 0.0
        return
    allowed = [limit for limit in [*np.unique(p_NL), 1.0] if bound(limit) <= alpha + 1e-12]
    if allowed:
        assert bound(threshold) <= alpha + 1e-12
        np.testing.assert_array_equal(p_NL >= threshold, p_NL >= max(allowed))
    else:
        assert threshold == 0.0


def _simulated_misses(sets: int, alpha: float, units: int, seed: int, grouped: bool = False) -> np.ndarray:
    """Share missed on 400 new messages (or 60 new events) after a fit on `units`, for each simulated set."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(sets):

        def draw(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            size = 5 if grouped else 1
            event = np.repeat(np.arange(count), size)
            level = np.repeat(generator.normal(size=(count, 3)), size, axis=0) * (2.0 if grouped else 0.0)
            z_NL = generator.normal(-0.5, 1.5, (count * size, 3))
            targets_NL = (generator.random(z_NL.shape) < sigmoid(z_NL + level)).astype(float)
            return z_NL, targets_NL, event

        z_NL, targets_NL, event = draw(units)
        rule = ConformalSets(alpha, groups="event" if grouped else None)
        rule.fit(table(z_NL, targets_NL, slices={"event": event}))
        z_NL, targets_NL, event = draw(60 if grouped else 400)
        decided = rule.apply(table(z_NL, None)).decisions_NL
        assert decided is not None
        losses = missed_shares(targets_NL, decided)
        if grouped:
            losses = np.array(
                [np.nanmean(losses[event == e]) for e in range(60) if np.isfinite(losses[event == e]).any()]
            )
        found.append(np.nanmean(losses))
    return np.array(found)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_bound_holds_in_simulation(grouped: bool) -> None:
    """200 sets. The mean over sets has a standard error; a correct program is above alpha + 3.3 of it once in 2,000."""
    missed = _simulated_misses(200, 0.2, 60, seed=1, grouped=grouped)
    error = missed.std(ddof=1) / np.sqrt(len(missed))
    assert missed.mean() <= 0.2 + 3.3 * error
    assert missed.mean() >= 0.2 - 1.0 / 40 - 3.3 * error  # and is not bought by saying everything


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_bound_holds_in_2000_simulations(alpha: float, grouped: bool) -> None:
    missed = _simulated_misses(2000, alpha, 100, seed=2, grouped=grouped)
    error = missed.std(ddof=1) / np.sqrt(len(missed))
    assert missed.mean() <= alpha + 3.3 * error
    assert missed.mean() >= alpha - 1.0 / 80 - 3.3 * error


def test_languages_get_thresholds_where_they_have_enough() -> None:
    scores = several(rows=900)
    langs = scores.langs.copy()
    langs[5:] = np.where(langs[5:] == "ht", "en", langs[5:])
    langs[:5] = "ht"
    scores = several(rows=900, langs=langs)
    rule = ConformalSets(0.2, by="lang", least_units=50).fit(scores)
    assert set(rule.groups) == {"en", "fr"}
    for lang in ("en", "fr"):
        rows = scores.langs == lang
        alone = ConformalSets(0.2).fit(scores.select(rows))
        assert rule.groups[lang] == alone.threshold
        decided = rule.apply(scores.select(rows)).decisions_NL
        assert np.nanmean(missed_shares(scores.targets_NL[rows], decided)) <= 0.2
    for lang in ("ht", "de", None):
        few = scores.select(np.arange(3))
        other = several(rows=900).select(np.arange(3))
        langs = np.array([lang] * 3, dtype=object)
        got = rule.apply(table(other.logits_NL, None, langs=langs)).decisions_NL
        np.testing.assert_array_equal(got, few.probabilities >= rule.threshold)


def test_without_any_label_there_is_no_bound() -> None:
    with pytest.raises(DataError, match="None of 4 messages has a label"):
        ConformalSets().fit(table(np.zeros((4, 2)), np.zeros((4, 2))))
