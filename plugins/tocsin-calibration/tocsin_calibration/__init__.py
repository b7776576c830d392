"""Calibrators, decision rules and conformal label sets: from scores to probabilities and decisions that hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tocsin.plugins import hookimpl

if TYPE_CHECKING:
    from tocsin.plugins import Calibrator, DecisionRule

__all__ = ["tocsin_calibrators", "tocsin_decision_rules"]


@hookimpl
def tocsin_calibrators() -> list[type[Calibrator]]:
    """One number a label, two, a step function, and the correction for a training pos_weight alone."""
    from tocsin_calibration.calibrators import Isotonic, Platt, PosWeight, Temperature

    return [Platt, Temperature, Isotonic, PosWeight]


@hookimpl
def tocsin_decision_rules() -> list[type[DecisionRule]]:
    """Thresholds by what they are to be best at, the k most probable labels, and sets that seldom miss a label."""
    from tocsin_calibration.conformal import ConformalSets
    from tocsin_calibration.given_rules import FixedThreshold, TopK
    from tocsin_calibration.rules import (
        BestF1,
        BestFbeta,
        LeastCost,
        PrecisionFloor,
        RecallFloor,
    )

    return [BestF1, BestFbeta, FixedThreshold, PrecisionFloor, RecallFloor, LeastCost, TopK, ConformalSets]
