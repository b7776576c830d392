"""Dropout whose random numbers cost less than the products around it, on a processor.

torch's own draws a number with many bits for every value: on a processor, a tenth of a training step. Here a value
takes 16 bits of the same generator, so that seeds, checkpoints and replays work as they do for torch's.
"""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Dropout", "dropout", "replace_dropout"]

_LEVELS = 1 << 16


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return _scaled(value, keep, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return _scaled(gradients[0], keep, ctx.scale), None, None


def _scaled(value: Tensor, keep: Tensor, scale: float) -> Tensor:
    # A product with a bool tensor is not vectorised; bytes are turned into numbers fast.
    return keep.view(torch.uint8).to(value.dtype).mul_(value).mul_(scale)


def dropout(value: Tensor, p: float) -> Tensor:
    """Set each number to 0 with probability p, divide the others by what is kept of them on average; any shape.

    On a processor p is rounded to the nearest 65,536th (.1 to .100006), and the divisor with it, so that the mean is
    kept exactly. Elsewhere, and where p is so small or large that this rounds to 0 or 1, it is torch's own.

    Args:
        value: Floating-point numbers.
        p: In [0, 1].
    """
    dropped = round(p * _LEVELS)
    if value.device.type != "cpu" or not 0 < dropped < _LEVELS or torch.compiler.is_compiling():
        return nn.functional.dropout(value, p, training=True)
    words = torch.empty(-(-value.numel() // 4), dtype=torch.int64)
    words.random_(-(1 << 63), None)  # all 64 bits
    levels = words.view(torch.int16)[: value.numel()].view(value.shape)
    keep = levels >= dropped - _LEVELS // 2
    out: Tensor = _Drop.apply(value, keep, _LEVELS / (_LEVELS - dropped))
    return out


class Dropout(nn.Dropout):
    """`dropout` in place of torch's module."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, leave as it is in evaluation."""
        return dropout(input, self.p) if self.training and self.p > 0 else input


def replace_dropout(model: nn.Module) -> None:
    """Put `Dropout` in place of every torch dropout in a model; one that is shared stays shared."""
    made: dict[int, Dropout] = {}
    for holder in list(model.modules()):
        for name, module in list(holder._modules.items()):
            if type(module) is nn.Dropout and not module.inplace:
                own = made.setdefault(id(module), Dropout(module.p).train(module.training))
                setattr(holder, name, own)
