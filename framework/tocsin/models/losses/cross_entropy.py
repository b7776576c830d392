"""Binary cross-entropy over known labels. Axes: B messages, N messages of the training split, L labels."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import Loss, known_sum, without_nulls

__all__ = ["BinaryCrossEntropy", "binary_cross_entropy"]


def binary_cross_entropy(
    logits_BL: Tensor, targets_BL: Tensor, pos_weight_L: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """One loss a message and label, `(B, L)`: -w y log p - (1 - y) log(1 - p) with p the sigmoid of the logit.

    Args:
        logits_BL: Real numbers.
        targets_BL: In [0, 1].
        pos_weight_L: w; None for 1.
        label_smoothing: e: the truth of a label counts as 1 - e/2 and the other outcome as e/2, the mixture with "both
            are as likely" of Szegedy et al. (2016, arXiv 1512.00567). w stands by the truth, not by what became of it:
            a positive is learned as 1 - e/2 whatever it weighs.
    """
    if not label_smoothing:
        return F.binary_cross_entropy_with_logits(
            logits_BL, targets_BL, pos_weight=pos_weight_L, reduction="none"
        )
    wrong = 0.5 * label_smoothing
    positive_BL = targets_BL if pos_weight_L is None else targets_BL * pos_weight_L
    negative_BL = 1.0 - targets_BL
    on_BL = positive_BL * (1.0 - wrong) + negative_BL * wrong
    off_BL = positive_BL * wrong + negative_BL * (1.0 - wrong)
    return on_BL * F.softplus(-logits_BL) + off_BL * F.softplus(logits_BL)


class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of each label on its own, averaged over all known labels of a step.

    Soft targets in [0, 1] are exact: without weights and smoothing the loss is least where probability equals target.

    Args:
        pos_weight: Weight of positives. null: 1 for all. "auto": negatives over positives of each label in the training
            split, at most `max_pos_weight` (it shifts logits by about its logarithm, so probabilities then want
            calibration). A number: that number for every label.
        max_pos_weight: Upper bound of the automatic weight; a label without positives gets 1.
        label_smoothing: Share of each target that is replaced by 1/2, from 0 up to, not including, 1 (Szegedy et al.
            2016, arXiv 1512.00567, for the two outcomes of each label): at 0.1 a label that is on has the target .95.
            Probabilities are drawn towards 1/2 with it, so those of rare labels then want calibration.
    """

    def __init__(
        self,
        pos_weight: float | Literal["auto"] | None = None,
        max_pos_weight: float = 100.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(pos_weight, (int, float)) and not pos_weight > 0:
            raise ConfigError(
                f"BinaryCrossEntropy: pos_weight is {pos_weight}; wanted a number above 0, 'auto' or null."
            )
        if not max_pos_weight >= 1:
            raise ConfigError(f"BinaryCrossEntropy: max_pos_weight is {max_pos_weight}; wanted at least 1.")
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(
                f"BinaryCrossEntropy: label_smoothing is {label_smoothing}; wanted a share from 0 up to, not "
                "including, 1, such as 0.1."
            )
        self.setting = pos_weight
        self.max_pos_weight = max_pos_weight
        self.label_smoothing = label_smoothing
        self.register_buffer("pos_weight_L", None)
        self.pos_weight_L: Tensor | None

    def prepare(self, targets_NL: np.ndarray) -> None:
        """Set the weights of positives from the training targets; a soft target counts as that share of a positive."""
        if self.setting is None:
            return
        if self.setting == "auto":
            positives = np.asarray(np.nansum(targets_NL, axis=0, dtype=np.float64))
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
        logits, targets, known_BL = without_nulls(logits_BL, targets_BL, mask_BL)
        losses_BL = binary_cross_entropy(logits, targets, self.pos_weight_L, self.label_smoothing)
        return known_sum(losses_BL, known_BL), self.weight(targets_BL, mask_BL)
