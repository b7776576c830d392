"""Focal loss. Axes: B messages, L labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tocsin.plugins import ConfigError, Loss

__all__ = ["TemplateLoss"]


class TemplateLoss(Loss):
    """Binary cross-entropy that counts a label less, the surer the model is of it.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv 1708.02002.

    Args:
        gamma: How fast sure labels lose weight, 0 or more; 0 is cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ConfigError(f"TemplateLoss: gamma is {gamma}; wanted 0 or more.")
        self.gamma = gamma

    def forward(
        self,
        logits_BL: Tensor,
        targets_BL: Tensor,
        mask_BL: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the sum over known labels and their number, never a mean."""
        known_BL = mask_BL.bool()
        # A gradient flows through both sides of where(): unknown entries become 0 first.
        logits_BL = torch.where(known_BL, logits_BL.float(), 0.0)
        targets_BL = torch.where(known_BL, targets_BL.float(), 0.0)
        losses_BL = F.softplus(logits_BL) - logits_BL * targets_BL  # cross-entropy
        p_BL = torch.sigmoid(logits_BL)
        missed_BL = targets_BL * (1.0 - p_BL) + (1.0 - targets_BL) * p_BL
        # A power below 1 has no finite gradient at 0.
        weighed_BL = losses_BL * missed_BL.clamp(min=1e-7) ** self.gamma
        total = torch.where(known_BL, weighed_BL, 0.0).sum()
        return total, self.weight(targets_BL, mask_BL)
