"""A state that a damaged or changed file gives back is refused at once, not at a message of some language."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from calibration_cases import several
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.plugins import LabelError
from tocsin_calibration.calibrators import Isotonic, Platt, PosWeight, Temperature
from tocsin_calibration.conformal import ConformalSets
from tocsin_calibration.given_rules import FixedThreshold, TopK
from tocsin_calibration.rules import BestF1, BestFbeta, LeastCost, PrecisionFloor, RecallFloor

NAN, INF = float("nan"), float("inf")
CURVES = [Platt, Temperature, Isotonic]
RULES = [BestF1, BestFbeta, PrecisionFloor, RecallFloor, LeastCost]


def put(*path: Any, value: Any) -> Any:
    """Return a change of a state: what stands at a path becomes a value."""

    def change(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


def state_of(component: Any) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(json.dumps(component.fit(several()).state(), allow_nan=False))
    return state


def of(kinds: list[Any], *changes: Any) -> list[Any]:
    return [(kind, change) for kind in kinds for change in changes]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *of(
            RULES,
            put("thresholds", value=[0.5]),
            put("thresholds", value=[0.5] * 4),
            put("thresholds", value=[]),
            put("thresholds", value=0.5),
            put("thresholds", 1, value=NAN),
            put("thresholds", 1, value=INF),
            put("thresholds", 1, value=-1.0),
            put("thresholds", 1, value=7.0),
            put("thresholds", 1, value=10**400),
            put("thresholds", 1, value="0.5"),
            put("thresholds", 1, value=True),
            put("groups", "en", value=[0.5]),
            put("groups", "es", value=[0.5] * 4),
            put("groups", "es", value=[NAN] * 3),
            put("groups", "es", value=None),
            put("groups", value=[]),
            put("labels", value="abc"),
            put("labels", value=["a", "a", "b"]),
            put("labels", value=[1, 2, 3]),
        ),
        *of(
            [ConformalSets],
            put("threshold", value=NAN),
            put("threshold", value=-0.1),
            put("threshold", value=None),
            put("units", value=NAN),
            put("units", value=0),
            put("groups", "es", value=1.5),
            put("groups", "es", value=[0.5]),
            put("labels", value=[]),
        ),
        *of(
            CURVES,
            put("own", value=[]),
            put("own", value=[None] * 6),
            put("own", 0, value=[]),
            put("own", 0, value=3.0),
            put("weights", value=[1.0]),
            put("weights", 0, value="1"),
            put("weights", 0, value=1.5),
            put("weights", 0, value=NAN),
            put("groups", "es", value={"own": [], "weights": []}),
            put("groups", "es", value={"own": [None] * 3}),
            put("groups", "es", value=[1]),
            put("groups", "en", "weights", 2, value=-0.1),
            put("labels", value=None),
        ),
        *of([Platt], put("overall", value=[-3.0, 0.0]), put("overall", value=[1.0, INF])),
        *of([Platt], put("overall", value=[1.0]), put("groups", "en", "own", 0, value=[NAN, 0.0])),
        *of([Temperature], *(put("overall", value=[value]) for value in (0.0, -1.0, NAN, INF))),
        *of([Temperature], put("own", 0, value=[1.0, 1.0])),
        *of(
            [Isotonic],
            put("overall", value=[[0.0, 1.0], [0.9, 0.1]]),
            put("overall", value=[[1.0, 0.0], [0.1, 0.9]]),
            put("overall", value=[[0.0, 1.0], [0.1]]),
            put("overall", value=[[0.0, 1.0], [0.1, 1.1]]),
            put("overall", value=[[0.0, NAN], [0.1, 0.9]]),
            put("overall", value=[[], []]),
        ),
        *of([FixedThreshold, TopK], put("labels", value="abc"), put("labels", value=[])),
    ],
)
def test_what_no_fit_leaves_is_refused(kind: Any, change: Any) -> None:
    given_by = {} if kind in (FixedThreshold, TopK) else {"by": "lang"}
    least = {"least_units": 1} if kind is ConformalSets else {}
    state = state_of(kind(**given_by, **least))
    change(state)
    untouched = kind(**given_by, **least)
    before = json.dumps(untouched.state())
    with pytest.raises((ValueError, TypeError, KeyError)):
        untouched.restore(state)
    assert json.dumps(untouched.state()) == before


def test_pos_weight_has_no_curve() -> None:
    state = state_of(PosWeight(2.0))
    PosWeight(2.0).restore(state)
    with pytest.raises(ValueError, match="learns nothing"):
        PosWeight(2.0).restore({**state, "overall": [1.0]})


def test_a_threshold_of_a_strange_label_is_refused() -> None:
    with pytest.raises(LabelError, match="'flood'"):
        FixedThreshold({"flood": 0.3}).restore({"labels": ["fire"]})


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([*CURVES, *RULES, ConformalSets]),
    st.sampled_from([0.0, 0.5, 1.0, np.nan, None]),
    st.floats(0.01, 50.0),
)
def test_what_a_fit_leaves_is_taken_over(seed: int, kind: Any, value: float | None, scale: float) -> None:
    """Few messages, large scores, one kind of target, none known: the state comes back as it was."""
    generator = np.random.default_rng(seed)
    scores = several(seed, rows=int(generator.integers(2, 80)))
    targets_NL = scores.targets_NL.copy()
    if value is not None:
        targets_NL[:, 1] = np.round(generator.random(len(scores))) if value == 0.5 else value
    targets_NL[0, 0] = 1.0  # one message with a label, which the sets want
    scores = replace(scores, targets_NL=targets_NL, logits_NL=scores.logits_NL * scale)
    arguments = {"least_units": 1} if kind is ConformalSets else {"shrinkage": float(seed % 3)}
    fitted = kind(by="lang", **arguments).fit(scores)
    plain = json.dumps(fitted.state(), allow_nan=False)
    restored = kind(by="lang", **arguments).restore(json.loads(plain))
    assert json.dumps(restored.state()) == plain
