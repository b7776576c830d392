"""Every component keeps its role's contract."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.plugins.testing import check_ensembler
from tocsin_ensemble import tocsin_ensemblers
from tocsin_ensemble.means import MeanEnsemble, WeightedEnsemble
from tocsin_ensemble.ranks import RankEnsemble
from tocsin_ensemble.stacking import StackingEnsemble

CASES: list[tuple[type[Any], dict[str, Any]]] = [
    (MeanEnsemble, {}),
    (MeanEnsemble, {"of": "probabilities"}),
    (WeightedEnsemble, {}),
    (WeightedEnsemble, {"of": "probabilities", "per_label": True}),
    (WeightedEnsemble, {"per_label": True, "shrinkage": 0.0}),
    (StackingEnsemble, {}),
    (StackingEnsemble, {"l2": 0.1, "shrinkage": 0.0}),
    (RankEnsemble, {}),
    (RankEnsemble, {"knots": 20}),
]


@pytest.mark.parametrize(("component", "arguments"), CASES)
def test_ensemblers_conform(component: type[Any], arguments: dict[str, Any]) -> None:
    check_ensembler(component, **arguments)


def test_each_offered_class_is_checked() -> None:
    assert set(tocsin_ensemblers()) == {component for component, _ in CASES}
