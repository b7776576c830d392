"""Asymmetric loss. Axes: B messages, L labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import Loss, known_sum, power, without_nulls

__all__ = ["AsymmetricLoss", "asymmetric_loss"]


def asymmetric_loss(
    logits_BL: Tensor, targets_BL: Tensor, gamma_negative: float, gamma_positive: float, clip: float
) -> Tensor:
    """One loss a message and label, `(B, L)`, of Ridnik et al. (2021, arXiv 2009.14119).

    A positive costs -(1 - p)^g+ log p and a negative -q^g- log(1 - q), with p the sigmoid of the logit and
    q = max(p - clip, 0); a target y between costs y times the one plus 1 - y times the other.

    Args:
        logits_BL: Real numbers.
        targets_BL: In [0, 1].
        gamma_negative: g-, 0 or more.
        gamma_positive: g+, 0 or more.
        clip: Probability below which a negative costs nothing, 0 up to 1.
    """
    p_BL = torch.sigmoid(logits_BL)
    # 1 - p from the other side: 1 - sigmoid(20) has no digit left in float32.
    other_BL = torch.sigmoid(-logits_BL)
    positive_BL = -power(other_BL, gamma_positive) * F.logsigmoid(logits_BL)
    if clip:
        log_BL, shifted_BL = torch.log((other_BL + clip).clamp(max=1.0)), (p_BL - clip).clamp(min=0.0)
    else:
        log_BL, shifted_BL = F.logsigmoid(-logits_BL), p_BL
    negative_BL = -power(shifted_BL, gamma_negative) * log_BL
    return targets_BL * positive_BL + (1.0 - targets_BL) * negative_BL


class AsymmetricLoss(Loss):
    """Asymmetric loss (Ridnik et al. 2021, arXiv 2009.14119), for rare positives: easy negatives weigh next to nothing.

    Averaged over all known labels of a step, where the paper sums. Soft targets in [0, 1] are taken as that share of a
    positive and the rest of a negative, but the loss is not least where the probability equals the target: to learn a
    teacher's probabilities, take BinaryCrossEntropy. Probabilities of rare labels come out too high and want
    calibration.

    Args:
        gamma_negative: Focusing of negatives, 0 or more: one of the probability p weighs about p^gamma_negative.
        gamma_positive: Focusing of positives, 0 or more: one of the probability p weighs (1 - p)^gamma_positive; the
            paper wants it below `gamma_negative`, and uses 0 beside 4 on MS-COCO.
        clip: Probability margin, from 0 up to, not including, 1: a negative whose probability is at most that much
            costs nothing and gives no gradient.
    """

    def __init__(self, gamma_negative: float = 4.0, gamma_positive: float = 1.0, clip: float = 0.05) -> None:
        super().__init__()
        for name, gamma in (("gamma_negative", gamma_negative), ("gamma_positive", gamma_positive)):
            if not 0.0 <= gamma < float("inf"):
                raise ConfigError(f"AsymmetricLoss: {name} is {gamma}; wanted a number from 0, such as 1.")
        if not 0.0 <= clip < 1.0:
            raise ConfigError(
                f"AsymmetricLoss: clip is {clip}; wanted a probability from 0 up to, not including, 1."
            )
        self.gamma_negative, self.gamma_positive, self.clip = gamma_negative, gamma_positive, clip

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over known labels and their number."""
        logits, targets, known_BL = without_nulls(logits_BL, targets_BL, mask_BL)
        losses_BL = asymmetric_loss(logits, targets, self.gamma_negative, self.gamma_positive, self.clip)
        return known_sum(losses_BL, known_BL), self.weight(targets_BL, mask_BL)
