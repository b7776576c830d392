"""Focal loss. Axes: B messages, L labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import Loss, known_sum, power, without_nulls

__all__ = ["FocalLoss", "focal_loss"]


def focal_loss(logits_BL: Tensor, targets_BL: Tensor, gamma: float, alpha: float | None = None) -> Tensor:
    """One loss a message and label, `(B, L)`: a |y - p|^gamma times binary cross-entropy, p the sigmoid of the logit.

    For targets 0 and 1 that is equation 5 of Lin et al. (2017, arXiv 1708.02002), since |y - p| is then one minus the
    probability of the truth; between them it is the quality focal loss of Li et al. (2020, arXiv 2006.04388), which is
    0 where p = y.

    Args:
        logits_BL: Real numbers.
        targets_BL: In [0, 1].
        gamma: Focusing, 0 or more; 0 leaves the cross-entropy.
        alpha: a of positives, 0 to 1, and one minus that of negatives; None for 1 and 1.
    """
    distance_BL = (targets_BL - torch.sigmoid(logits_BL)).abs()
    losses_BL = power(distance_BL, gamma) * F.binary_cross_entropy_with_logits(
        logits_BL, targets_BL, reduction="none"
    )
    if alpha is None:
        return losses_BL
    return losses_BL * (alpha * targets_BL + (1.0 - alpha) * (1.0 - targets_BL))


class FocalLoss(Loss):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002): labels that the model already has right weigh less.

    Averaged over all known labels of a step, where the paper divides by the number of positives. Soft targets in [0, 1]
    are exact: the loss is then the quality focal loss (Li et al. 2020, arXiv 2006.04388), least where the probability
    equals the target. The probabilities of hard targets are drawn towards 1/2 and want calibration.

    Args:
        gamma: Focusing, 0 or more: a label whose truth has the probability p weighs (1 - p)^gamma; 0 for all alike.
        alpha: Weight of positives, between 0 and 1, one minus that being the weight of negatives; the paper found .25
            best beside gamma 2. null: 1 for both.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25) -> None:
        super().__init__()
        if not 0.0 <= gamma < float("inf"):
            raise ConfigError(f"FocalLoss: gamma is {gamma}; wanted a number from 0, such as 2.")
        if alpha is not None and not 0.0 < alpha < 1.0:
            raise ConfigError(f"FocalLoss: alpha is {alpha}; wanted a number between 0 and 1, or null.")
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over known labels and their number."""
        logits, targets, known_BL = without_nulls(logits_BL, targets_BL, mask_BL)
        losses_BL = focal_loss(logits, targets, self.gamma, self.alpha)
        return known_sum(losses_BL, known_BL), self.weight(targets_BL, mask_BL)
