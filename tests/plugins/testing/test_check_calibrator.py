"""Each wrong calibrator has one fault, and the check names that one. N messages, L labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.errors import DataError, LabelError
from tocsin.labels.schemes import check_same_labels
from tocsin.plugins.templates.calibrator import TemplateCalibrator
from tocsin.plugins.testing import check_calibrator
from tocsin.scores.roles import Calibrator
from tocsin.scores.table import ScoresTable


class _Shift(Calibrator):
    """Right: each label's log odds are moved to its prevalence. The wrong ones differ from it by one thing each."""

    labels: tuple[str, ...] = ()
    shift_L: Any = ()

    def learn(self, table: ScoresTable) -> None:
        targets_NL = table.known_targets("Calibration")
        known_NL = ~np.isnan(targets_NL)
        share_L = (np.nansum(targets_NL, 0) + 0.5) / (known_NL.sum(0) + 1.0)
        mean_L = table.probabilities.mean(0)
        self.labels = table.labels
        self.shift_L = (np.log(share_L / (1 - share_L)) - np.log(mean_L / (1 - mean_L))).tolist()

    def apply(self, table: ScoresTable) -> ScoresTable:
        check_same_labels(table.labels, self.labels, where="the calibrator")
        return self.moved(table, np.array(self.shift_L))

    def moved(self, table: ScoresTable, shift_L: np.ndarray) -> ScoresTable:
        p_NL = table.probabilities
        logits_NL = np.log(p_NL / (1 - p_NL)) + shift_L
        return replace(table, logits_NL=logits_NL, probabilities_NL=None)

    def state(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "shift": self.shift_L}

    def restore(self, state: dict[str, Any]) -> Self:
        self.labels, self.shift_L = tuple(state["labels"]), state["shift"]
        return self


def wrong(**changes: Any) -> type[Calibrator]:
    return type("_Changed", (_Shift,), {"__doc__": "Wrong.", **changes})


@pytest.mark.parametrize("calibrator", [_Shift, TemplateCalibrator])
def test_right_ones_pass(calibrator: type[Calibrator]) -> None:
    check_calibrator(calibrator)


def moved(change: Callable[[ScoresTable, np.ndarray], Any]) -> type[Calibrator]:
    return wrong(moved=lambda self, table, shift_L: change(table, shift_L))


def right(table: ScoresTable, shift_L: Any) -> ScoresTable:
    return _Shift().moved(table, shift_L)


def in_place(table: ScoresTable, shift_L: np.ndarray) -> ScoresTable:
    if table.logits_NL is not None:
        logits_NL = table.logits_NL
        logits_NL += shift_L
    return right(table, 0)


def leaking(table: ScoresTable, shift_L: np.ndarray) -> ScoresTable:
    targets_NL = table.targets_NL
    return right(table, shift_L if targets_NL is None else shift_L + np.nan_to_num(targets_NL))


def by_place(table: ScoresTable, shift_L: np.ndarray) -> ScoresTable:
    return right(table, shift_L + np.arange(len(table))[:, None] / len(table))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table, shift: table.probabilities, "gave an array of shape (200, 3)"),
        (lambda table, shift: None, "gave an object of type NoneType. A ScoresTable is wanted"),
        (in_place, "changed logits_NL of the table that it was handed. Work on a copy"),
        (leaking, "(a table of the same messages with no targets) gave other probabilities"),
        (by_place, "never from its place"),
        (lambda table, shift: right(replace(table, targets_NL=None), shift), "with other targets_NL than"),
        (lambda table, shift: right(replace(table, slices={}), shift), "with other slices than"),
        (
            lambda table, shift: right(table, shift + np.inf),
            "gave 600 infinite logits of 600. Clip probabilities",
        ),
        (
            lambda table, shift: right(table, shift + np.random.rand()),
            "gave other probabilities the second time",
        ),
    ],
    ids=["array", "nothing", "in place", "targets", "place", "no targets", "no slices", "infinite", "random"],
)
def test_apply(change: Any, said: str) -> None:
    assert said in only_fault(check_calibrator, moved(change))


def test_logits_alone() -> None:
    wrong_one = moved(lambda table, shift_L: replace(table, logits_NL=table.logits_NL + shift_L))
    fault = only_fault(check_calibrator, wrong_one)
    assert "apply(a table of 200 messages, probabilities in place of logits) raised TypeError" in fault


def test_labels_are_not_compared() -> None:
    wrong_one = wrong(apply=lambda self, table: right(table, np.array(self.shift_L)))
    fault = only_fault(check_calibrator, wrong_one)
    assert "apply(a table of the same labels in another order) of the fitted object raised nothing" in fault
    assert "A LabelError is wanted" in fault


def test_labels_are_forgotten_by_restore() -> None:
    def apply(self: Any, table: ScoresTable) -> ScoresTable:
        if self.labels and self.labels != table.labels:
            raise LabelError("other labels")
        return right(table, np.array(self.shift_L))

    def restore(self: Any, state: dict[str, Any]) -> Any:
        self.shift_L, self.kept = state["shift"], tuple(state["labels"])
        return self

    def state(self: Any) -> dict[str, Any]:
        return {"labels": list(self.labels or self.kept), "shift": self.shift_L}

    assert "of the restored object raised nothing" in only_fault(
        check_calibrator, wrong(apply=apply, restore=restore, state=state)
    )


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            lambda self: {"labels": list(self.labels), "shift": np.array(self.shift_L)},
            "cannot be written as JSON",
        ),
        (lambda self: [self.labels, self.shift_L], "state() gave an object of type list. A dict"),
        (lambda self: {"labels": list(self.labels), "shift": [0.0] * 3}, "state() must hold everything"),
    ],
    ids=["array", "list", "not all"],
)
def test_state(state: Any, said: str) -> None:
    found = faults(check_calibrator, wrong(state=state))
    assert said in found[0]
    assert all("state" in fault for fault in found)


def test_state_that_is_not_a_number() -> None:
    class _Unknown(_Shift):
        """Wrong."""

        def learn(self, table: ScoresTable) -> None:
            super().learn(table)
            unknown_L = np.isnan(np.asarray(table.targets_NL)).all(0)
            self.shift_L = np.where(unknown_L, np.nan, self.shift_L).tolist()

        def moved(self, table: ScoresTable, shift_L: np.ndarray) -> ScoresTable:
            return super().moved(table, np.nan_to_num(shift_L))

    fault = only_fault(check_calibrator, _Unknown)
    assert "state() after fit(a table of 200 messages, one label whose targets are all unknown)" in fault
    assert "NaN into None" in fault


def test_restore_returns_nothing() -> None:
    assert "End it with `return self`" in only_fault(
        check_calibrator, wrong(restore=lambda self, state: None)
    )


def test_unknown_targets_and_scarce_labels() -> None:
    def learn(self: Any, table: ScoresTable) -> None:
        _Shift.learn(self, table)
        if not np.nansum(np.asarray(table.targets_NL), 0).all():
            raise ValueError("needs samples of both classes")

    found = faults(check_calibrator, wrong(learn=learn))
    assert "one label without positives) raised ValueError: 'needs samples of both classes'" in found[0]
    assert "one label whose targets are all unknown" in found[1]
    assert "a label may have no positives, or no targets" in found[0]


def test_random_fit() -> None:
    def learn(self: Any, table: ScoresTable) -> None:
        _Shift.learn(self, table)
        self.shift_L = [shift + float(np.random.rand()) for shift in self.shift_L]

    fault = only_fault(check_calibrator, wrong(learn=learn))
    assert "Two objects with the same arguments, fitted on the same messages, gave different" in fault
    assert "default_rng(seed)" in fault


def test_learning_while_applying() -> None:
    def apply(self: Any, table: ScoresTable) -> ScoresTable:
        result = _Shift.apply(self, table)
        self.count = getattr(self, "count", 0) + 1
        return result

    def state(self: Any) -> dict[str, Any]:
        return {**_Shift.state(self), "count": getattr(self, "count", 0)}

    assert "Applying learns nothing" in faults(check_calibrator, wrong(apply=apply, state=state))[0]


def test_fit_written_over() -> None:
    def fit(self: Any, table: ScoresTable) -> Any:
        self.learn(table)
        return self

    found = faults(check_calibrator, wrong(fit=fit))
    assert len(found) == 1
    assert "fit(a table of the test split) raised nothing. The role's base raises a DataError" in found[0]
    assert "write `learn`, and do not override `fit`" in found[0]
    assert "returned an object of type NoneType, not the object itself" in only_fault(
        check_calibrator, wrong(fit=lambda self, table: None)
    )


def test_one_message_may_be_refused_with_a_reason() -> None:
    def too_few(error: Exception) -> Any:
        def learn(self: Any, table: ScoresTable) -> None:
            if len(table) < 10:
                raise error
            _Shift.learn(self, table)

        return learn

    check_calibrator(wrong(learn=too_few(DataError("10 messages or more are wanted"))))
    assert "fit(a table of one message) raised IndexError" in only_fault(
        check_calibrator, wrong(learn=too_few(IndexError("1")))
    )
