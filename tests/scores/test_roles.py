from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest

from tests.scores.cases import make_table
from tocsin.errors import DataError, LabelError
from tocsin.scores.metrics import evaluate
from tocsin.scores.roles import Calibrator, DecisionRule, Ensembler
from tocsin.scores.table import ScoresTable


class Shift(Calibrator):
    shift = 0.0

    def learn(self, table: ScoresTable) -> None:
        self.shift = float(np.nanmean(table.targets_NL))

    def apply(self, table: ScoresTable) -> ScoresTable:
        return replace(table, logits_NL=table.logits_NL + self.shift)

    def state(self) -> dict[str, Any]:
        return {"shift": self.shift}

    def restore(self, state: dict[str, Any]) -> Self:
        self.shift = state["shift"]
        return self


class Mean(Ensembler):
    def learn(self, tables: Sequence[ScoresTable]) -> None:
        pass

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        return replace(tables[0], logits_NL=np.mean([table.logits_NL for table in tables], axis=0))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> Self:
        return self


class Cut(DecisionRule):
    threshold = 0.5

    def learn(self, table: ScoresTable) -> None:
        self.threshold = 0.3

    def apply(self, table: ScoresTable) -> ScoresTable:
        return replace(table, decisions_NL=table.probabilities >= self.threshold)

    def state(self) -> dict[str, Any]:
        return {"threshold": self.threshold}

    def restore(self, state: dict[str, Any]) -> Self:
        self.threshold = state["threshold"]
        return self


@pytest.mark.parametrize("role", [Calibrator, Ensembler, DecisionRule])
def test_the_roles_are_abstract(role: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        role()


def test_state_is_plain_data_that_restores_the_component() -> None:
    table = make_table()
    fitted = Shift().fit(table)
    restored = Shift().restore(json.loads(json.dumps(fitted.state())))
    np.testing.assert_array_equal(restored.apply(table).logits_NL, fitted.apply(table).logits_NL)


def test_arguments_are_remembered_for_a_bundle() -> None:
    class _At(Cut):
        def __init__(self, threshold: float = 0.5) -> None:
            self.threshold = threshold

    assert _At(0.25).arguments == {"threshold": 0.25}
    assert _At().arguments == {"threshold": 0.5}
    assert Cut().arguments == {}


def test_a_rule_decides_and_metrics_follow_it() -> None:
    table = make_table()
    decided = Cut().fit(table).apply(table)
    assert evaluate(decided).macro == evaluate(table, 0.3).macro
    assert table.decisions_NL is None


def test_test_messages_and_unlabelled_messages_are_not_learned_from() -> None:
    test = make_table(metadata={"split": "test"})
    for component in (Shift(), Cut()):
        with pytest.raises(DataError, match="test split"):
            component.fit(test)
        with pytest.raises(DataError, match="Fitting needs targets"):
            component.fit(make_table(targets_NL=None))
    with pytest.raises(DataError, match="test split"):
        Mean().fit([make_table(), test])
    with pytest.raises(DataError, match="train split"):
        Shift().fit(make_table(metadata={"split": "train"}))


def test_an_ensemble_needs_the_same_messages_and_labels() -> None:
    a, b = make_table(seed=1), make_table(seed=2)
    joint = Mean().fit([a, b]).apply([a, b])
    np.testing.assert_allclose(joint.logits_NL, (a.logits_NL + b.logits_NL) / 2, atol=1e-6)
    with pytest.raises(DataError, match="Scores table 2 does not hold the ids"):
        Mean().apply([a, b.select(np.arange(len(b))[::-1])])
    with pytest.raises(LabelError):
        Mean().apply([a, replace(b, labels=b.labels[::-1])])
    with pytest.raises(LabelError, match="at least one"):
        Mean().apply([])
