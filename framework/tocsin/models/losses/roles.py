"""The roles of losses, and what every loss over labels does with nulls.

Axes: B messages or sentences, N messages of the training split, L labels, D width.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tocsin.arguments import RemembersArguments

__all__ = ["Loss", "VectorLoss", "known_sum", "power", "without_nulls"]


class Loss(RemembersArguments, nn.Module, ABC):
    """Role: logits, targets and mask -> `(sum, weight)`.

    One optimiser step cuts its messages into passes; the step's loss is the sum of all passes divided by the weight of
    all passes and ranks, so neither number may be a mean. The weight is known before the forward, from the targets
    alone. `couples_rows` says that a row's loss depends on the other rows of its pass: such a loss is refused where a
    step has several passes.
    """

    couples_rows: ClassVar[bool] = False

    @abstractmethod
    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the loss over known labels and its weight, both scalar float32.

        Args:
            logits_BL: Real numbers, any float dtype.
            targets_BL: In [0, 1]; what stands under a 0 of the mask must not matter, nor be NaN.
            mask_BL: 1 where the label is known, 0 where it is null.
        """

    def weight(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """The weight that `forward` returns, from targets alone: the number of known labels unless overridden."""
        return mask_BL.sum(dtype=torch.float32)

    def prepare(self, targets_NL: np.ndarray) -> None:
        """See the training targets `(N, L)`, NaN where unknown, once before the fit."""


class VectorLoss(RemembersArguments, nn.Module, ABC):
    """Role: vectors of a student and of its teacher -> `(sum, weight)`, for distillation.

    As with `Loss`, a step's loss is the sum of all its passes divided by their weight, so neither number may be a
    mean over the pass. No gradient flows into the teacher.

    A row stands for `weight_B` sides of pairs: it must count exactly as that many copies of it, and not at all at 0.
    `couples_rows` says that a row's loss depends on other rows: such a loss is given a whole step at once, over all
    passes and ranks. `follows_teacher` says that the loss is least where the student equals its teacher; a regulariser
    that only looks at the student sets it to False.
    """

    couples_rows: ClassVar[bool] = False
    follows_teacher: ClassVar[bool] = True

    @abstractmethod
    def forward(
        self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weighted sum of the loss over B sentences and its weight, both scalar float32.

        Args:
            student_BD: The student's vectors, already of the teacher's width D, any float dtype.
            teacher_BD: The teacher's vectors of the sentences' English sides, any float dtype.
            weight_B: For how many sides of pairs each sentence stands, float32; 0 for a filler.
            english_B: Number of the English side, int64. Rows of one number mean the same and have one teacher's
                vector.
        """

    def weight(self, weight_B: Tensor) -> Tensor:
        """The weight that `forward` returns, from `weight_B` alone: the number of sides unless overridden."""
        return weight_B.float().sum()


def without_nulls(logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and targets in float32 with 0 in place of nulls, and the mask as booleans, each `(B, L)`.

    Before the loss, not after it: the derivative of a loss at an infinite or NaN logit is NaN, and 0 times NaN is
    NaN, so a null label would end the fit although the sum is finite.
    """
    known_BL = mask_BL.bool()
    return (
        torch.where(known_BL, logits_BL.float(), 0.0),
        torch.where(known_BL, targets_BL.float(), 0.0),
        known_BL,
    )


def known_sum(losses_BL: Tensor, known_BL: Tensor) -> Tensor:
    """Sum of finite losses `(B, L)` where the label is known, scalar; exactly 0 with gradient 0 elsewhere."""
    return torch.where(known_BL, losses_BL, 0.0).sum()


def power(base: Tensor, exponent: float) -> Tensor:
    """`base ** exponent` for a base from 0 and an exponent from 0, with a finite derivative at 0.

    Below an exponent of 1 the true derivative is infinite there, and infinity times the 0 of what it is multiplied
    with would be NaN.
    """
    return base.clamp(min=torch.finfo(base.dtype).eps ** 2).pow(exponent)
