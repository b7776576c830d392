"""Each wrong optimiser has one fault, and the check names that one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.models.optimizers import AdamW, Optimizer
from tocsin.plugins.testing import check_optimizer


class _RightMomentum(Optimizer):
    """A right optimiser, from which the wrong ones below differ by one thing each.

    Args:
        lr: Learning rate.
        weight_decay: Decay of the first group.
    """

    inner: Callable[..., torch.optim.Optimizer] = torch.optim.SGD

    def __init__(self, lr: float = 0.01, weight_decay: float = 0.1) -> None:
        self.lr, self.weight_decay = lr, weight_decay

    def build(self, groups: list[dict[str, Any]], *, scaled_gradients: bool) -> torch.optim.Optimizer:
        return self.made(groups)

    def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=self.lr, momentum=0.9)


class _Descent(torch.optim.Optimizer):
    """Gradient descent, step by step."""

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    def change(self, parameter: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        """What is taken off."""
        assert parameter.grad is not None
        return group["lr"] * parameter.grad

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(self.change(parameter, group))


@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        (AdamW, {}),
        (AdamW, {"lr": 0.01, "weight_decay": 0.0, "beta1": 0.8}),
        (_RightMomentum, {}),
        (_RightMomentum, {"lr": 1.0, "weight_decay": 0.0}),
    ],
)
def test_right_optimisers_pass(optimizer: type[Optimizer], arguments: dict[str, float]) -> None:
    check_optimizer(optimizer, **arguments)


@pytest.mark.parametrize("decay", [None, -0.1, True, "0.1", float("inf")])
def test_weight_decay_is_a_number(decay: Any) -> None:
    class _WrongDecay(_RightMomentum):
        """Wrong."""

        def __init__(self) -> None:
            super().__init__()
            self.weight_decay = decay

    assert f"weight_decay is {decay!r}; wanted a number of 0 or more" in only_fault(
        check_optimizer, _WrongDecay
    )


def test_build_gives_an_optimiser() -> None:
    class _WrongNone(_RightMomentum):
        """Wrong."""

        def made(self, groups: list[dict[str, Any]]) -> Any:
            torch.optim.SGD(groups, lr=self.lr)

    fault = only_fault(check_optimizer, _WrongNone)
    assert "build() gave an object of type NoneType; wanted a torch.optim.Optimizer" in fault


def test_build_takes_the_flag() -> None:
    class _WrongSignature(_RightMomentum):
        """Wrong."""

        def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:  # type: ignore[override]
            return self.made(groups)

    fault = only_fault(check_optimizer, _WrongSignature)
    assert "build(groups, scaled_gradients=False) raised TypeError" in fault


def test_every_group_is_taken() -> None:
    class _WrongFirst(_RightMomentum):
        """Forgets biases."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return super().made(groups[:1])

    fault = only_fault(check_optimizer, _WrongFirst)
    assert "The optimiser holds 0.bias" in fault
    assert "Hand over all groups" in fault


def test_the_spared_group_is_not_decayed() -> None:
    class _WrongFlat(_RightMomentum):
        """Makes one group of two."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            weights = [weight for group in groups for weight in group["params"]]
            return torch.optim.SGD(weights, lr=self.lr, weight_decay=self.weight_decay)

    class _WrongInner(_Descent):
        """Decays everything, whatever the groups say."""

        def change(self, parameter: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
            return super().change(parameter, group) + group["lr"] * 0.1 * (parameter + 1.0)

    class _WrongStep(_RightMomentum):
        """Wrong."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return _WrongInner(groups, self.lr)

    assert "The group without decay got a weight_decay (0.bias" in only_fault(check_optimizer, _WrongFlat)
    fault = only_fault(check_optimizer, _WrongStep)
    assert "A step with gradients of zero moved 0.bias" in fault
    assert "rows of embeddings that never occur must not move" in fault


def test_a_step_goes_down() -> None:
    class _WrongSign(_Descent):
        """Climbs."""

        def change(self, parameter: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
            return -super().change(parameter, group)

    class _WrongUp(_RightMomentum):
        """Wrong."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return _WrongSign(groups, self.lr)

    fault = only_fault(check_optimizer, _WrongUp)
    assert "3 steps down half the sum of squared weights led from " in fault
    fault = only_fault(check_optimizer, _RightMomentum, lr=100.0)
    assert "far too large" in fault


def test_parameters_without_a_gradient_are_left_alone() -> None:
    class _WrongMemory(_Descent):
        """Goes on by itself."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for parameter in group["params"]:
                    state = self.state[parameter]
                    if parameter.grad is not None:
                        state["last"] = parameter.grad.clone()
                    parameter.sub_(group["lr"] * state["last"])

    class _WrongSkip(_RightMomentum):
        """Wrong."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return _WrongMemory(groups, self.lr)

    fault = only_fault(check_optimizer, _WrongSkip)
    assert "A step without any gradient (all None) moved 0.weight" in fault


def test_a_saved_state_goes_on() -> None:
    class _WrongCount(_Descent):
        """Counts outside its state."""

        count = 0

        def change(self, parameter: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
            self.count += 1
            return super().change(parameter, group) / self.count

    class _WrongResume(_RightMomentum):
        """Wrong."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return _WrongCount(groups, self.lr)

    class _WrongObjects(_Descent):
        """Keeps an object."""

        def change(self, parameter: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
            self.state[parameter]["rule"] = _RightMomentum()
            return super().change(parameter, group)

    class _WrongPlain(_RightMomentum):
        """Wrong."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return _WrongObjects(groups, self.lr)

    fault = only_fault(check_optimizer, _WrongResume)
    assert "Saved after 3 steps and loaded into a new optimiser, 3 more steps led elsewhere" in fault
    fault = only_fault(check_optimizer, _WrongPlain)
    assert "Reading its state_dict() as plain data raised" in fault
    assert "Keep tensors, numbers and text in it" in fault


def test_a_step_needs_no_closure() -> None:
    class _WrongLbfgs(_RightMomentum):
        """Wants a closure."""

        def made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            class _Closing(_Descent):
                def step(self, closure: Any) -> None:  # type: ignore[override]
                    closure()

            return _Closing(groups, self.lr)

    assert (
        "step() missing 1 required positional argument: 'closure'" in faults(check_optimizer, _WrongLbfgs)[0]
    )


def test_gradients_are_not_unscaled_inside_the_step() -> None:
    class _WrongFused(AdamW):
        """Always fused."""

        def build(self, groups: list[dict[str, Any]], *, scaled_gradients: bool) -> torch.optim.Optimizer:
            return super().build(groups, scaled_gradients=False)

    fault = only_fault(check_optimizer, _WrongFused)
    assert "With scaled_gradients=True it unscales inside the step" in fault
    assert "fused=not scaled_gradients" in fault


def test_the_learning_rate_is_above_zero() -> None:
    assert "The groups' lr is [0.0, 0.0]" in only_fault(check_optimizer, _RightMomentum, lr=0.0)
