"""Each wrong ensembler has one fault, and the check names that one. N messages, L labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.plugins.templates.ensembler import TemplateEnsembler
from tocsin.plugins.testing import check_ensembler
from tocsin.scores.roles import Ensembler
from tocsin.scores.table import ScoresTable


class _Mean(Ensembler):
    """Right: mean probabilities. The wrong ones below differ from it by one thing each."""

    def learn(self, tables: Sequence[ScoresTable]) -> None:
        pass

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        mean_NL = np.mean([table.probabilities for table in tables], axis=0)
        return replace(tables[0], logits_NL=None, probabilities_NL=mean_NL)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> Self:
        return self


class _Weighted(_Mean):
    """Right: a weight for each model and label, by its label's name."""

    weights: Any = None

    def learn(self, tables: Sequence[ScoresTable]) -> None:
        errors = [np.nanmean((table.probabilities - table.targets_NL) ** 2) for table in tables]
        self.weights = [float(1 / (0.01 + error)) for error in errors]

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        mean_NL = np.average([table.probabilities for table in tables], axis=0, weights=self.weights)
        return replace(tables[0], logits_NL=None, probabilities_NL=mean_NL)

    def state(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def restore(self, state: dict[str, Any]) -> Self:
        self.weights = state["weights"]
        return self


def wrong(base: type[Ensembler] = _Mean, **changes: Any) -> type[Ensembler]:
    return type("_Changed", (base,), {"__doc__": "Wrong.", **changes})


@pytest.mark.parametrize("ensembler", [_Mean, _Weighted, TemplateEnsembler])
def test_right_ones_pass(ensembler: type[Ensembler]) -> None:
    check_ensembler(ensembler)


def two_alone(self: Any, tables: Any) -> ScoresTable:
    first, second = tables
    return _Mean().combine([first, second])


def with_targets(self: Any, tables: Any) -> ScoresTable:
    best = np.argmax([np.nansum((table.targets_NL - 0.5) * table.ranking_NL) for table in tables])
    return _Mean().combine([tables[int(best)]])


def inverted(self: Any, tables: Any) -> ScoresTable:
    return replace(_Mean().combine(tables), targets_NL=1 - tables[0].targets_NL)


@pytest.mark.parametrize(
    ("combine", "said"),
    [
        (inverted, "with other targets_NL than it was handed"),
        (lambda self, tables: [table.probabilities for table in tables], "gave an object of type list"),
        (
            lambda self, tables: replace(tables[0], logits_NL=sum(table.logits_NL for table in tables)),
            "apply(2 tables of 200 messages, probabilities in place of logits) raised TypeError",
        ),
        (
            lambda self, tables: _Mean().combine(
                [replace(table, ids=np.sort(table.ids)) for table in tables]
            ),
            "with other ids than it was handed",
        ),
        (
            lambda self, tables: _Mean().combine([tables[np.random.randint(len(tables))]]),
            "the second time",
        ),
    ],
    ids=["targets turned", "arrays", "logits alone", "ids", "random"],
)
def test_combine(combine: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = iter(range(10**6))
    monkeypatch.setattr(np.random, "randint", lambda count: next(turn) % count)
    found = faults(check_ensembler, wrong(combine=combine))
    assert said in found[0]
    assert len(found) == 1


def test_two_tables_alone() -> None:
    found = faults(check_ensembler, wrong(combine=two_alone))
    assert "apply(1 table of 200 messages) raised ValueError: not enough values" in found[0]
    assert "apply(3 tables of 200 messages) raised ValueError: too many values" in found[1]
    assert len(found) == 2


def test_looking_at_targets() -> None:
    fault = only_fault(check_ensembler, wrong(combine=with_targets))
    assert "the same messages with no targets) raised TypeError" in fault


def test_bases_written_over() -> None:
    def fit(self: Any, tables: Any) -> Any:
        self.learn(tables)
        return self

    found = faults(check_ensembler, wrong(fit=fit))
    assert "fit(2 tables of the test split) raised nothing" in found[0]
    assert any("fit(2 tables of different messages) raised nothing" in fault for fault in found)
    found = faults(check_ensembler, wrong(apply=_Mean.combine))
    assert "apply(2 tables of different messages) raised nothing" in found[0]
    assert (
        "apply(2 tables of labels in different orders) raised nothing. The role's base raises a LabelError"
        in found[1]
    )
    assert len(found) == 2


def test_weights_of_labels_by_place() -> None:
    def learn(self: Any, tables: Any) -> None:
        self.weights = np.array([np.nanmean(table.probabilities, 0) for table in tables]).tolist()

    def combine(self: Any, tables: Any) -> ScoresTable:
        weights = np.array(self.weights)[:, None]
        mean_NL = (np.array([table.probabilities for table in tables]) * weights).sum(0) / weights.sum(0)
        return replace(tables[0], logits_NL=None, probabilities_NL=mean_NL)

    fault = only_fault(check_ensembler, wrong(_Weighted, learn=learn, combine=combine))
    assert "apply(2 tables of the same labels in another order) of the fitted object raised nothing" in fault


def test_state_that_loses_the_weights() -> None:
    def restore(self: Any, state: dict[str, Any]) -> Any:
        self.weights = [1.0] * len(state["weights"])
        return self

    assert "state() must hold everything" in only_fault(check_ensembler, wrong(_Weighted, restore=restore))
    fault = faults(check_ensembler, wrong(_Weighted, state=lambda self: {"weights": np.array(self.weights)}))[
        0
    ]
    assert "turn arrays into lists" in fault


def test_members_left_out_and_counted() -> None:
    def two_alone(self: Any, tables: Any) -> None:
        if len(tables) != 2:
            raise ValueError("two weights")

    found = faults(check_ensembler, wrong(learn=two_alone))
    assert "without(0).fit(the tables of the other members) raised ValueError: two weights" in found[0]
    fault = only_fault(check_ensembler, wrong(without=lambda self, member: self))
    assert "without(0) gave the object itself" in fault
    fault = only_fault(check_ensembler, wrong(member_weights=lambda self: np.ones(2)))
    assert "(2, 3) finite numbers are wanted, a row a member" in fault
