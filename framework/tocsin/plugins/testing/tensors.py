"""Random tensors, seeds and comparisons that the checks of model parts share.

Axes: B messages, T tokens, D width, L labels.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "LENGTHS",
    "changed",
    "clones",
    "counted",
    "distance",
    "finite",
    "longer",
    "number",
    "own_random",
    "seed_everything",
    "shape_of",
    "shown",
    "stir",
    "token_states",
    "tolerance",
    "under_padding",
]

LENGTHS = (7, 5, 3, 1, 4)
"""Real tokens of the messages that the checks make: the longest, some shorter, and one of a single token."""


def seed_everything(seed: int) -> None:
    """Seed the CPU generators of torch, numpy and Python."""
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed: it would seed the generators of GPUs too, which nobody puts back.
    torch.default_generator.manual_seed(seed)


@contextmanager
def own_random(seed: int = 0) -> Iterator[None]:
    """Seed every CPU generator inside the block, with gradients on, and put their states back after it."""
    python, ours, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        seed_everything(seed)
        with torch.enable_grad():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(ours)
        torch.set_rng_state(torchs)


def token_states(
    width: int, lengths: Sequence[int] = LENGTHS, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Random states `(B, T, D)`, and their mask `(B, T)` int64 with padding on the right, as a pass has it.

    As in a real encoder, some components are of one sign throughout: a maximum over padding set to 0 would else often
    be right by chance.
    """
    longest = max(1, *lengths)
    mask_BT = (torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]).long()
    states_BTD = torch.randn(len(lengths), longest, width) + 2.0 * torch.randn(width)
    return states_BTD.to(dtype), mask_BT


def under_padding(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The same states with other, large values where the mask is 0."""
    other_BTD = torch.randn_like(hidden_BTD) * 30.0
    return torch.where(mask_BT.unsqueeze(-1).bool(), hidden_BTD, other_BTD)


def longer(hidden_BTD: Tensor, mask_BT: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """The same messages with so many more padding tokens on the right."""
    batch, _, width = hidden_BTD.shape
    more_BTD = torch.randn(batch, columns, width, dtype=hidden_BTD.dtype)
    more_BT = torch.zeros(batch, columns, dtype=mask_BT.dtype)
    return torch.cat([hidden_BTD, more_BTD], dim=1), torch.cat([mask_BT, more_BT], dim=1)


def stir(module: nn.Module, strength: float = 0.3) -> None:
    """Move every weight by a normal random number, as training would.

    Weights that start at zero (an output layer, a query) would otherwise hide what the rest does.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * strength)


def clones(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Copies of tensors; None stays None."""
    return [None if tensor is None else tensor.detach().clone() for tensor in tensors]


def changed(
    names: Sequence[str], before: Sequence[Tensor | None], after: Sequence[Tensor | None]
) -> list[str]:
    """Names of the tensors that are no longer what their copies are."""
    return [
        name
        for name, one, other in zip(names, before, after, strict=True)
        if one is not None and other is not None and not torch.equal(one, other)
    ]


def finite(*tensors: Tensor | None) -> bool:
    """Whether no element is infinite or NaN; None counts as finite."""
    return all(tensor is None or bool(torch.isfinite(tensor).all()) for tensor in tensors)


def distance(one: Tensor, other: Tensor) -> float:
    """Largest absolute difference of two tensors; infinite where shapes differ or a number is not finite."""
    if one.shape != other.shape or not finite(one, other):
        return float("inf")
    return float((one.detach().float() - other.detach().float()).abs().max()) if one.numel() else 0.0


def tolerance(values: Tensor, share: float = 1e-4) -> float:
    """What two ways to the same float32 numbers may differ by: a share of the largest of them, or of 1."""
    largest = float(values.detach().float().abs().max()) if values.numel() else 0.0
    return share * max(1.0, largest)


def number(value: Tensor | float) -> float:
    """A scalar tensor's number, whether or not it carries a gradient."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def shown(value: object) -> str:
    """A scalar tensor's number for a message; of anything else, its beginning."""
    return f"{number(value):.6g}" if isinstance(value, Tensor) and value.numel() == 1 else repr(value)[:60]


def shape_of(value: object) -> str:
    """A tensor's shape and type for a message; for anything else, what it is."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return f"an object of type {type(value).__name__}"


def counted(number: int, thing: str) -> str:
    """`1 label`, `3 labels`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
