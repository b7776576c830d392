"""Each wrong decision rule has one fault, and the check names that one. N messages, L labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.labels.schemes import check_same_labels
from tocsin.plugins.templates.decision_rule import TemplateDecisionRule
from tocsin.plugins.testing import check_decision_rule
from tocsin.scores.roles import DecisionRule
from tocsin.scores.table import ScoresTable


class _Cut(DecisionRule):
    """Right: a threshold a label. The wrong ones below differ from it by one thing each.

    Args:
        share: Where between the lowest and the highest probability it lies.
    """

    labels: tuple[str, ...] = ()

    def __init__(self, share: float = 0.5) -> None:
        self.share = share
        self.cut: dict[str, float] = {}

    def learn(self, table: ScoresTable) -> None:
        self.labels = table.labels
        low_L, high_L = table.probabilities.min(0), table.probabilities.max(0)
        self.cut = dict(zip(table.labels, (low_L + self.share * (high_L - low_L)).tolist(), strict=True))

    def apply(self, table: ScoresTable) -> ScoresTable:
        check_same_labels(table.labels, tuple(self.cut), where="the rule")
        return self.decided(table, np.array([self.cut[name] for name in table.labels]))

    def decided(self, table: ScoresTable, cut_L: np.ndarray) -> ScoresTable:
        return replace(table, decisions_NL=table.probabilities >= cut_L)

    def state(self) -> dict[str, Any]:
        return {"cut": [[name, cut] for name, cut in self.cut.items()]}

    def restore(self, state: dict[str, Any]) -> Self:
        self.cut = dict(state["cut"])
        return self


def wrong(**changes: Any) -> type[DecisionRule]:
    return type("_Changed", (_Cut,), {"__doc__": _Cut.__doc__, **changes})


def test_right_ones_pass() -> None:
    check_decision_rule(_Cut)
    check_decision_rule(_Cut, share=0.25)
    check_decision_rule(TemplateDecisionRule, threshold=0.4)


def into_scores(self: Any, table: ScoresTable, cut_L: np.ndarray) -> ScoresTable:
    kept = _Cut().decided(table, cut_L)
    return replace(kept, logits_NL=None, probabilities_NL=np.asarray(kept.decisions_NL, float))


def in_place(self: Any, table: ScoresTable, cut_L: np.ndarray) -> ScoresTable:
    decided = _Cut().decided(table, cut_L)
    if table.targets_NL is not None:
        np.nan_to_num(table.targets_NL, copy=False)
    return decided


def half(self: Any, table: ScoresTable, cut_L: np.ndarray) -> ScoresTable:
    first = np.arange(len(table))[:, None] < len(table) / 2
    return replace(table, decisions_NL=(table.probabilities >= cut_L) & first)


def leaking(self: Any, table: ScoresTable, cut_L: np.ndarray) -> ScoresTable:
    if table.targets_NL is None:
        return _Cut().decided(table, cut_L)
    return replace(table, decisions_NL=table.targets_NL == 1)


@pytest.mark.parametrize(
    ("decided", "said"),
    [
        (lambda self, table, cut_L: table, "gave a table without decisions. Fill them"),
        (into_scores, "with other logits_NL, probabilities_NL than it was handed"),
        (in_place, "changed targets_NL of the table"),
        (half, "gave messages other decisions than before"),
        (leaking, "Applying must not look at targets"),
        (
            lambda self, table, cut_L: table.probabilities >= cut_L,
            "gave an array of shape (200, 3) and type bool",
        ),
        (
            lambda self, table, cut_L: replace(table, decisions_NL=table.logits_NL >= cut_L),
            "probabilities in place of logits) raised TypeError",
        ),
    ],
    ids=["nothing decided", "scores", "in place", "place", "targets", "array", "logits alone"],
)
def test_decisions(decided: Any, said: str) -> None:
    assert said in only_fault(check_decision_rule, wrong(decided=decided))


def test_labels_are_not_compared() -> None:
    def apply(self: Any, table: ScoresTable) -> ScoresTable:
        return _Cut().decided(table, np.array(list(self.cut.values())))

    def by_name(self: Any, table: ScoresTable) -> ScoresTable:
        return _Cut().decided(table, np.array([self.cut[name] for name in table.labels]))

    assert "the same labels in another order) of the fitted object raised nothing" in only_fault(
        check_decision_rule, wrong(apply=apply)
    )
    fault = only_fault(check_decision_rule, wrong(apply=by_name))
    assert "A LabelError is wanted: keep the label names in state()" in fault


def test_state_with_keys_of_numbers() -> None:
    def state(self: Any) -> dict[str, Any]:
        return {"labels": list(self.cut), "cut": dict(enumerate(self.cut.values()))}

    def restore(self: Any, state: dict[str, Any]) -> Any:
        self.cut = {name: state["cut"][number] for number, name in enumerate(state["labels"])}
        return self

    fault = only_fault(check_decision_rule, wrong(state=state, restore=restore))
    assert "of a fresh object raised KeyError" in fault
    assert "tuples become lists and keys become text" in fault


def test_restore_that_forgets() -> None:
    def restore(self: Any, state: dict[str, Any]) -> Any:
        self.cut = {name: 0.9 for name, _ in state["cut"]}
        return self

    assert "apply() gave other decisions than the fitted object" in only_fault(
        check_decision_rule, wrong(restore=restore)
    )


def test_the_test_split_is_taken() -> None:
    def fit(self: Any, table: ScoresTable) -> Any:
        table.known_targets("Fitting")
        self.learn(table)
        return self

    fault = only_fault(check_decision_rule, wrong(fit=fit))
    assert "fit(a table of the test split) raised nothing" in fault


def test_one_label_alone() -> None:
    def learn(self: Any, table: ScoresTable) -> None:
        _Cut.learn(self, table)
        assert 1 < len(table.labels) < 100

    found = faults(check_decision_rule, wrong(learn=learn))
    assert "200 messages, 1 label) raised AssertionError" in found[0]
    assert "40 messages, 500 labels) raised AssertionError" in found[1]
    assert len(found) == 2
