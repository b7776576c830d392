"""Every component keeps its role's contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from calibration_cases import several

from tocsin.plugins import DataError
from tocsin.plugins.testing import check_calibrator, check_decision_rule
from tocsin_calibration.calibrators import Isotonic, Platt, PosWeight, Temperature
from tocsin_calibration.conformal import ConformalSets
from tocsin_calibration.given_rules import FixedThreshold, TopK
from tocsin_calibration.rules import (
    BestF1,
    BestFbeta,
    LeastCost,
    PrecisionFloor,
    RecallFloor,
)


@pytest.mark.parametrize(
    ("component", "arguments"),
    [
        (Temperature, {}),
        (Platt, {"pos_weight": 3.0}),
        (Platt, {"shrinkage": 0.0}),
        (Isotonic, {}),
        (PosWeight, {"pos_weight": 2.5}),
    ],
)
def test_calibrators_conform(component: type[Any], arguments: dict[str, Any]) -> None:
    check_calibrator(component, **arguments)


@pytest.mark.parametrize(
    ("component", "arguments"),
    [
        (BestF1, {}),
        (BestFbeta, {"beta": 0.5}),
        (FixedThreshold, {"threshold": 0.3}),
        (PrecisionFloor, {}),
        (RecallFloor, {"floor": 0.9}),
        (LeastCost, {}),
        (TopK, {"k": 2, "least": 0.2}),
        (ConformalSets, {"alpha": 0.2}),
    ],
)
def test_decision_rules_conform(component: type[Any], arguments: dict[str, Any]) -> None:
    check_decision_rule(component, **arguments)


@pytest.mark.parametrize("component", [Platt, Temperature, Isotonic])
def test_calibrators_by_language_conform(component: type[Any]) -> None:
    """One case of the checks has no languages, so that every message is of an unknown one."""
    check_calibrator(component, by="lang")


@pytest.mark.parametrize("component", [Platt, Temperature, Isotonic, BestF1, LeastCost, ConformalSets])
@pytest.mark.parametrize("by", ["lang", "genre"])
def test_a_column_without_a_known_value_is_no_column_to_fit_by(component: type[Any], by: str) -> None:
    scores = several()
    unknown = np.full(len(scores), None, dtype=object)
    blank = several(langs=unknown, slices={"genre": unknown})
    with pytest.raises(DataError, match=f"by is '{by}', and none of 600 messages has a known value"):
        component(by=by).fit(blank)
    # one known value is enough, and to apply none is needed
    unknown[3] = "en"
    some = several(langs=unknown, slices={"genre": unknown})
    component(by=by, **({"least_units": 1} if component is ConformalSets else {})).fit(some).apply(blank)


@pytest.mark.parametrize("component", [BestF1, RecallFloor, PrecisionFloor, LeastCost, ConformalSets])
def test_rules_by_language_conform(component: type[Any]) -> None:
    check_decision_rule(component, by="lang")


@pytest.mark.parametrize("component", [Platt, Isotonic, BestF1, ConformalSets])
def test_a_slice_column_does_what_languages_do(component: type[Any]) -> None:
    scores = several()
    sliced = several(langs=np.full(len(scores), None, dtype=object), slices={"genre": scores.langs})
    by_lang, by_genre = component(by="lang").fit(scores), component(by="genre").fit(sliced)
    assert by_genre.columns == ("genre",)
    one, other = by_lang.apply(scores), by_genre.apply(sliced)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    if one.decisions_NL is not None:
        np.testing.assert_array_equal(one.decisions_NL, other.decisions_NL)
        assert (one.decisions_NL != component().fit(scores).apply(scores).decisions_NL).any()
    else:
        assert (one.probabilities != component().fit(scores).apply(scores).probabilities).any()
    with pytest.raises(DataError, match="no column 'genre'"):
        by_genre.apply(scores)
