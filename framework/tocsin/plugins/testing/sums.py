"""What both kinds of loss must hold: a sum and a weight that add up over passes, and a gradient that is theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.tensors import (
    distance,
    finite,
    number,
    shape_of,
    shown,
    tolerance,
)

__all__ = ["added_up", "follows_differences", "gradient_flows", "is_sum_and_weight", "load_saved"]


def is_sum_and_weight(findings: Findings, what: str, result: Any, fix: str = "") -> bool:
    """Expect a pair of finite scalar float32 tensors."""
    fix = f" {fix}" if fix else ""
    if not findings.expect(
        isinstance(result, tuple) and len(result) == 2,
        f"forward() of {what} gave {_kind(result)}; wanted the pair (sum, weight): the sum over the pass, not a "
        "mean, and what to divide it by.",
    ):
        return False
    for name, value in zip(("sum", "weight"), result, strict=True):
        if not findings.expect(
            isinstance(value, Tensor) and value.dim() == 0 and value.dtype == torch.float32,
            f"The {name} of {what} is {shape_of(value)}; wanted a scalar float32 tensor, shape ().{fix}",
        ) or not findings.expect(
            finite(value), f"The {name} of {what} is {number(value)}; wanted a finite number.{fix}"
        ):
            return False
    return True


def _kind(result: Any) -> str:
    if isinstance(result, Tensor):
        return f"one tensor {shape_of(result)}"
    return (
        f"{len(result)} things"
        if isinstance(result, (tuple, list))
        else f"an object of type {type(result).__name__}"
    )


def added_up(findings: Findings, loss: nn.Module, batch: Sequence[Tensor], counted: str) -> None:
    """Expect the sum and the weight of a pass to be those of its parts, added."""
    whole, weight = loss(*batch)
    twice, twice_weight = loss(*(torch.cat([tensor, tensor]) for tensor in batch))
    mean = [
        name
        for name, one, two in (("sum", whole, twice), ("weight", weight, twice_weight))
        if _same(one, two)
    ]
    if mean:
        is_mean = "the weight is the same" if mean == ["weight"] else "it returned a mean"
        findings.add(
            f"The same messages twice over gave the same {' and the same '.join(mean)} as once: {is_mean}. A step "
            "is cut into passes and divides the sum of all by the weight of all: return losses.sum() and the "
            f"number of {counted}."
        )
        return
    parts = [loss(*(tensor[rows] for tensor in batch)) for rows in (slice(0, 2), slice(2, None))]
    for name, value, added in (
        ("sum", whole, parts[0][0] + parts[1][0]),
        ("weight", weight, parts[0][1] + parts[1][1]),
    ):
        if not findings.expect(
            distance(value, added) <= tolerance(value),
            f"A pass gave the {name} {shown(value)}, and cut in two passes {shown(added)}; wanted the "
            "same, for where a step is cut must not matter. If a message's loss truly depends on the others, say "
            "so: couples_rows = True.",
        ):
            return


def _same(one: Tensor, two: Tensor) -> bool:
    return number(one) != 0.0 and distance(one, two) <= tolerance(one, 1e-5)


def gradient_flows(findings: Findings, loss: Callable[[Tensor], Tensor], values: Tensor, name: str) -> None:
    """Expect a finite gradient of the sum over ordinary values."""
    leaf = values.clone().requires_grad_()
    total = loss(leaf)
    if not findings.expect(
        total.requires_grad,
        f"The sum carries no gradient to the {name}, so nothing would be trained: drop torch.no_grad(), "
        ".detach(), .item() and comparisons.",
    ):
        return
    (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    findings.expect(
        gradient is not None and finite(gradient),
        f"The gradient of the {name} is {'missing' if gradient is None else 'infinite or NaN in places'} for "
        "ordinary values. A square root, a power below 1 and a division have none at 0: add a small number first.",
    )


def follows_differences(
    findings: Findings, loss: Callable[[Tensor], Tensor], values: Tensor, name: str
) -> None:
    """Expect the gradient, which is finite, to be what small steps along five random directions change.

    One may miss: a step may happen to cross a kink (of a hinge), and one may hit by chance.
    """
    leaf = values.clone().requires_grad_()
    total = loss(leaf)
    (gradient,) = torch.autograd.grad(total, leaf)
    misses = []
    for _ in range(5):
        direction = torch.randn_like(values)
        step = 1e-2 / number(direction.abs().max())
        with torch.no_grad():
            measured = number(loss(values + step * direction) - loss(values - step * direction)) / (2 * step)
        claimed = number((gradient * direction).sum())
        # float32 leaves about 1e-6 of the loss in each of the two values.
        noise = 4e-6 * max(1.0, abs(number(total))) / step
        if abs(measured - claimed) > noise + 0.02 * number((gradient * direction).abs().sum()):
            misses.append((measured, claimed))
    if len(misses) < 2:
        return
    measured, claimed = misses[0]
    findings.add(
        f"A small step of the {name} changes the sum at the rate {measured:.4g}, but the gradient says "
        f"{claimed:.4g}. Is a part of the loss detached, rounded or computed in numpy?"
    )


def load_saved(module: nn.Module, source: nn.Module) -> None:
    """Give a fresh module another's state as a checkpoint does: a buffer that is still None takes the saved value."""
    state = {name: value.detach().clone() for name, value in source.state_dict().items()}
    for name, value in state.items():
        if name in module._buffers and module._buffers[name] is None:
            setattr(module, name, value.clone())
    module.load_state_dict(state)
