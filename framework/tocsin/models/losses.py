"""Losses: over label logits, with unknown labels masked, and over sentence vectors.

Axes: B messages or sentences, L labels, D width.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tocsin.arguments import RemembersArguments
from tocsin.errors import ConfigError

__all__ = ["BinaryCrossEntropy", "Loss", "VectorLoss"]


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
    """

    couples_rows: ClassVar[bool] = False

    @abstractmethod
    def forward(self, student_BD: Tensor, teacher_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the loss over B sentences and its weight, both scalar float32.

        Args:
            student_BD: The student's vectors, already of the teacher's width D, any float dtype.
            teacher_BD: The teacher's vectors of the same sentences, any float dtype.
        """

    def weight(self, teacher_BD: Tensor) -> Tensor:
        """The weight that `forward` returns, from the teacher alone: the number of sentences unless overridden."""
        return torch.tensor(float(len(teacher_BD)), device=teacher_BD.device)


class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of each label on its own, averaged over all known labels of a step.

    Args:
        pos_weight: Weight of positives. null: 1 for all. "auto": negatives over positives of each label in the training
            split, at most `max_pos_weight` (it shifts logits by about its logarithm, so probabilities then want
            calibration). A number: that number for every label.
        max_pos_weight: Upper bound of the automatic weight; a label without positives gets 1.
    """

    def __init__(
        self, pos_weight: float | Literal["auto"] | None = None, max_pos_weight: float = 100.0
    ) -> None:
        super().__init__()
        if isinstance(pos_weight, (int, float)) and not pos_weight > 0:
            raise ConfigError(
                f"BinaryCrossEntropy: pos_weight is {pos_weight}; wanted a number above 0, 'auto' or null."
            )
        if not max_pos_weight >= 1:
            raise ConfigError(f"BinaryCrossEntropy: max_pos_weight is {max_pos_weight}; wanted at least 1.")
        self.setting = pos_weight
        self.max_pos_weight = max_pos_weight
        self.register_buffer("pos_weight_L", None)
        self.pos_weight_L: Tensor | None

    def prepare(self, targets_NL: np.ndarray) -> None:
        """Set the weights of positives from the training targets."""
        if self.setting is None:
            return
        if self.setting == "auto":
            positives = np.count_nonzero(targets_NL == 1, axis=0)
            known = np.count_nonzero(~np.isnan(targets_NL), axis=0)
            ratio = np.ones(targets_NL.shape[1])
            some = positives > 0
            ratio[some] = (known[some] - positives[some]) / positives[some]
            # A label that is always on would get weight 0 and never be learned from.
            weights = np.clip(ratio, 1.0 / self.max_pos_weight, self.max_pos_weight)
        else:
            weights = np.full(targets_NL.shape[1], float(self.setting))
        self.pos_weight_L = torch.tensor(weights, dtype=torch.float32)

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over known labels and their number."""
        losses_BL = F.binary_cross_entropy_with_logits(
            logits_BL.float(), targets_BL.float(), pos_weight=self.pos_weight_L, reduction="none"
        )
        # where, not a product: a non-finite logit under a null label must not reach the sum.
        total = torch.where(mask_BL.bool(), losses_BL, 0.0).sum()
        return total, self.weight(targets_BL, mask_BL)
