"""Each wrong schedule has one fault, and the check names that one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.plugins.testing.rejections import only_fault
from tocsin.models.schedules import Constant, CosineWithWarmup, LinearWithWarmup, Schedule
from tocsin.plugins.testing import check_schedule


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [
        (Constant, {}),
        (CosineWithWarmup, {}),
        (CosineWithWarmup, {"warmup": 0.0}),
        (LinearWithWarmup, {}),
        (LinearWithWarmup, {"warmup": 0.99}),
    ],
)
def test_right_schedules_pass(schedule: type[Schedule], arguments: dict[str, float]) -> None:
    check_schedule(schedule, **arguments)


def test_a_division_by_zero_is_placed() -> None:
    class _WrongDivision(Constant):
        """Wrong."""

        def factor(self, step: int, total: int) -> float:
            return 1.0 - step / (total - 1)

    fault = only_fault(check_schedule, _WrongDivision)
    assert fault.startswith("factor(0, 1) raised ZeroDivisionError: ")
    assert "max(1, total - warmup)" in fault


def test_the_call_after_the_last_step_counts() -> None:
    class _WrongEnd(Constant):
        """A list of total factors."""

        def factor(self, step: int, total: int) -> float:
            return ([1.0] * total)[step]

    assert "factor(1, 1) (asked once after the last step) raised IndexError" in only_fault(
        check_schedule, _WrongEnd
    )


def test_negative_factors_are_refused() -> None:
    class _WrongNegative(Constant):
        """Falls on."""

        def factor(self, step: int, total: int) -> float:
            return 1.0 - 2.0 * step / total

    fault = only_fault(check_schedule, _WrongNegative)
    assert "factor(1, 1) (asked once after the last step) is -1; wanted a finite factor" in fault


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("inf"), "inf"), (3e4, "30000")])
def test_a_factor_is_finite_and_no_rate(value: float, shown: str) -> None:
    class _WrongValue(Constant):
        """Wrong."""

        def factor(self, step: int, total: int) -> float:
            return value

    assert f"factor(0, 1) is {shown}; wanted a finite factor" in only_fault(check_schedule, _WrongValue)


@pytest.mark.parametrize(("value", "shown"), [(torch.ones(()), "Tensor"), (None, "NoneType"), (True, "bool")])
def test_a_factor_is_a_number(value: Any, shown: str) -> None:
    class _WrongKind(Constant):
        """Wrong."""

        def factor(self, step: int, total: int) -> float:
            return value

    assert f"factor(0, 1) gave an object of type {shown}; wanted a number" in only_fault(
        check_schedule, _WrongKind
    )


def test_some_step_trains() -> None:
    class _WrongWarmup(Constant):
        """Begins at 0."""

        def factor(self, step: int, total: int) -> float:
            return min(1.0, step / 5)

    fault = only_fault(check_schedule, _WrongWarmup)
    assert "Of 1 optimiser step every factor is 0" in fault
    assert "(step + 1) / warmup" in fault


def test_the_factor_follows_from_step_and_total() -> None:
    class _WrongCount(Constant):
        """Counts its calls."""

        def __init__(self) -> None:
            self.calls = 0

        def factor(self, step: int, total: int) -> float:
            self.calls += 1
            return 1.0 / self.calls

    fault = only_fault(check_schedule, _WrongCount)
    assert "when asked again later; wanted the same" in fault
    assert "keep no count" in fault


def test_other_arguments_are_quoted() -> None:
    class _WrongNames(Constant):
        """One argument."""

        def factor(self, step: int) -> float:  # type: ignore[override]
            return 1.0

    assert "factor(0, 1) raised TypeError" in only_fault(check_schedule, _WrongNames)
