"""The conformance checks of optimisers and learning-rate schedules."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tocsin.models.optimizers import Optimizer, parameter_groups
from tocsin.models.schedules import Schedule
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.tensors import counted, distance, own_random, seed_everything

__all__ = ["check_optimizer", "check_schedule"]

_TOTALS = (1, 2, 10, 1000)
_LARGEST_FACTOR = 10.0
_STEPS = 3


def check_optimizer(component: type[Optimizer], /, **arguments: Any) -> None:
    """Check that an optimiser keeps its contract.

    It is given the parameter groups of a small network, with and without a float16 scaler. It must hold each parameter
    once, lower a quadratic within 3 steps, leave alone what has no gradient or no decay, and go on from a saved state
    as if it had never stopped.

    Args:
        component: The class.
        **arguments: Of its constructor, by name.

    Raises:
        NonConforming: Names every fault.
    """
    with own_random():
        findings, usable = begin(component, "optimizer", arguments)
        if usable:
            _OptimizerCheck(findings, component, arguments).run()
        findings.conclude()


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))


def _set_gradients(network: nn.Module, seed: int | None = None) -> None:
    """The gradient of half the sum of squared weights, with noise of that seed added."""
    generator = torch.Generator().manual_seed(seed or 0)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.grad = parameter.detach().clone() + (0.0 if seed is None else 0.1 * noise)


def _height(network: nn.Module) -> float:
    return sum(float(parameter.detach().double().square().sum()) / 2 for parameter in network.parameters())


class _OptimizerCheck:
    def __init__(self, findings: Findings, component: type[Optimizer], arguments: dict[str, Any]) -> None:
        self.findings = findings
        self.component = component
        self.made = component(**arguments)

    def run(self) -> None:
        decay = getattr(self.made, "weight_decay", None)
        if not self.findings.expect(
            isinstance(decay, (int, float)) and not isinstance(decay, bool) and 0 <= decay < math.inf,
            f"weight_decay is {decay!r}; wanted a number of 0 or more, from which the model makes the parameter "
            "groups. Set self.weight_decay in the constructor (0.0 for none).",
        ):
            return
        for scaled in (False, True):
            before = len(self.findings.faults)
            with self.findings.trying(f"build(groups, scaled_gradients={scaled})"):
                self._built(scaled)
            if len(self.findings.faults) > before:
                return
        for what, test in (
            ("Three steps down a quadratic", self._lowers),
            ("A step without gradients", self._left_alone),
            ("A step with gradients of zero", self._no_decay),
            ("Going on from a saved state", self._saving),
        ):
            with self.findings.trying(what):
                test()

    def _build(self, network: nn.Module, scaled: bool = False) -> torch.optim.Optimizer:
        return self.made.build(parameter_groups(network, self.made.weight_decay), scaled_gradients=scaled)

    def _built(self, scaled: bool) -> None:
        network = _network()
        optimizer = self._build(network, scaled)
        if not self.findings.expect(
            isinstance(optimizer, torch.optim.Optimizer),
            f"build() gave an object of type {type(optimizer).__name__}; wanted a torch.optim.Optimizer.",
        ):
            return
        held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        missing = [name for key, name in names.items() if held.count(key) != 1]
        self.findings.expect(
            not missing and len(held) == len(names),
            f"The optimiser holds {', '.join(missing[:4]) or 'other parameters than those of the groups'} not "
            "exactly once; wanted each parameter of the groups once. Hand over all groups.",
        )
        spared = {
            id(parameter) for group in parameter_groups(network, 1.0)[1:] for parameter in group["params"]
        }
        decayed = [
            names.get(id(parameter), "?")
            for group in optimizer.param_groups
            for parameter in group["params"]
            if id(parameter) in spared and group.get("weight_decay", 0.0) != 0.0
        ]
        self.findings.expect(
            not decayed,
            f"The group without decay got a weight_decay ({', '.join(decayed[:4])}): rows of embeddings that "
            "never occur would shrink. Pass the groups as they are; a weight_decay beside them is only the "
            "default of groups that name none.",
        )
        rates = [group.get("lr") for group in optimizer.param_groups]
        self.findings.expect(
            all(isinstance(rate, (int, float)) and rate > 0 for rate in rates),
            f"The groups' lr is {rates}; wanted a number above 0 in each, which the schedule multiplies.",
        )
        self.findings.expect(
            not (scaled and getattr(optimizer, "_step_supports_amp_scaling", False)),
            "With scaled_gradients=True it unscales inside the step (fused=True), so that clipping would see scaled "
            "gradients, which Lightning refuses. Use fused=not scaled_gradients.",
        )

    def _lowers(self) -> None:
        for scaled in (False, True):
            network = _network()
            optimizer, before = self._build(network, scaled), _height(network)
            for _ in range(_STEPS):
                _set_gradients(network)
                optimizer.step()
            after = _height(network)
            if not self.findings.expect(
                after < before,
                f"{_STEPS} steps down half the sum of squared weights led from {before:.7g} to {after:.7g}; "
                "wanted a lower value. Is the sign of the step turned, or the learning rate far too large or 0?",
            ):
                return

    def _left_alone(self) -> None:
        network = _network()
        optimizer = self._build(network)
        _set_gradients(network)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        moved = self._moved(network, optimizer.step)
        self.findings.expect(
            not moved,
            f"A step without any gradient (all None) moved {', '.join(moved[:4])}; wanted them left alone: that "
            "is how a step whose gradient is not finite is skipped. Pass over parameters whose .grad is None.",
        )

    def _no_decay(self) -> None:
        network = _network()
        optimizer = self._build(network)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        spared = {
            id(parameter) for group in parameter_groups(network, 1.0)[1:] for parameter in group["params"]
        }
        names = [name for name, parameter in network.named_parameters() if id(parameter) in spared]
        moved = [name for name in self._moved(network, optimizer.step) if name in names]
        self.findings.expect(
            not moved,
            f"A step with gradients of zero moved {', '.join(moved[:4])}, of the group with weight_decay 0; "
            "wanted them left alone: rows of embeddings that never occur must not move. Decay by "
            "group['weight_decay'].",
        )

    def _moved(self, network: nn.Module, step: Callable[[], Any]) -> list[str]:
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        step()
        return [
            name for name, parameter in network.named_parameters() if distance(parameter, before[name]) > 0.0
        ]

    def _saving(self) -> None:
        network, again = _network(), _network()
        optimizer = self._build(network)
        for step in range(_STEPS):
            _set_gradients(network, step + 1)
            optimizer.step()
        again.load_state_dict(network.state_dict())
        resumed = self._build(again)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        with self.findings.trying(
            "Reading its state_dict() as plain data", "Keep tensors, numbers and text in it."
        ):
            resumed.load_state_dict(torch.load(file, weights_only=True))
            for step in range(_STEPS):
                for each, its in ((network, optimizer), (again, resumed)):
                    seed_everything(step)
                    _set_gradients(each, step + 7)
                    its.step()
            pairs = zip(network.parameters(), again.parameters(), strict=True)
            apart = max(distance(one, other) for one, other in pairs)
            self.findings.expect(
                apart == 0.0,
                f"Saved after {_STEPS} steps and loaded into a new optimiser, {_STEPS} more steps led elsewhere "
                f"(by up to {apart:.2g}); a resumed fit would not be the same fit. Keep all that a step uses in "
                "self.state[parameter] or in the groups.",
            )


def check_schedule(component: type[Schedule], /, **arguments: Any) -> None:
    """Check that a learning-rate schedule keeps its contract.

    It is asked for the factor of every step of fits of 1, 2, 10 and 1,000 optimiser steps, in order and backwards.

    Args:
        component: The class.
        **arguments: Of its constructor, by name.

    Raises:
        NonConforming: Names every fault.
    """
    with own_random():
        findings, usable = begin(component, "schedule", arguments)
        if usable:
            schedule = component(**arguments)
            for total in _TOTALS:
                if not _factors(findings, schedule, total):
                    break
        findings.conclude()


def _factors(findings: Findings, schedule: Schedule, total: int) -> bool:
    """Whether the factors of a fit of so many steps are sound."""
    factors: list[float] = []
    # `total` itself too: after the last step the schedule is asked once more.
    for step in range(total + 1):
        what = f"factor({step}, {total})"
        after = " (asked once after the last step)" if step == total else ""
        before = len(findings.faults)
        with findings.trying(f"{what}{after}", "Guard divisions, such as by max(1, total - warmup)."):
            value = schedule.factor(step, total)
        if len(findings.faults) > before:
            return False
        if not findings.expect(
            isinstance(value, (int, float)) and not isinstance(value, bool),
            f"{what}{after} gave an object of type {type(value).__name__}; wanted a number. float(…) makes one of "
            "a tensor.",
        ) or not findings.expect(
            math.isfinite(value) and 0.0 <= value <= _LARGEST_FACTOR,
            f"{what}{after} is {value:.6g}; wanted a finite factor of the base learning rate from 0 to "
            f"{_LARGEST_FACTOR:.0f}, usually at most 1. It is no rate: the optimiser holds that.",
        ):
            return False
        factors.append(float(value))
    if not findings.expect(
        any(factors[:total]),
        f"Of {counted(total, 'optimiser step')} every factor is 0: nothing would be trained. A fit of few steps "
        "must not be all warm-up at 0; begin a warm-up at (step + 1) / warmup.",
    ):
        return False
    for step in reversed(range(total + 1)):
        again = schedule.factor(step, total)
        if not findings.expect(
            again == factors[step],
            f"factor({step}, {total}) was {factors[step]:.6g}, and {again:.6g} when asked again later; wanted the "
            "same: a resumed fit asks from the middle. Compute it from step and total alone, and keep no count.",
        ):
            return False
    return True
