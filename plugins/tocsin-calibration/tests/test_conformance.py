"""Every component keeps its role's contract."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.plugins.testing import check_calibrator, check_decision_rule
from tocsin_calibration.calibrators import Isotonic, Platt, PosWeight, Temperature
from tocsin_calibration.conformal import ConformalSets
from tocsin_calibration.rules import (
    BestF1,
    BestFbeta,
    FixedThreshold,
    LeastCost,
    PrecisionFloor,
    RecallFloor,
    TopK,
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


@pytest.mark.parametrize("by", ["lang", "genre"])
def test_so_they_do_by_language_and_by_a_slice(by: str) -> None:
    """The checks' tables have both columns, and one case with languages unknown and no slices."""
    if by == "lang":
        for calibrator in (Platt, Temperature, Isotonic):
            check_calibrator(calibrator, by=by)
        for rule in (BestF1, RecallFloor, PrecisionFloor, LeastCost, ConformalSets):
            check_decision_rule(rule, by=by)
