"""Losses as the literature writes them pass, and a squashed logit does not. Axes: B messages of a pass, L labels."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.plugins.testing.rejections import only_fault
from tocsin.models.losses import Loss
from tocsin.plugins.testing import check_loss


class _Each(Loss):
    """One loss a label, masked as most authors do: the result alone."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits_BL, targets_BL, reduction="none")

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        losses_BL = self.each(logits_BL.float(), targets_BL.float())
        return torch.where(mask_BL.bool(), losses_BL, 0.0).sum(), self.weight(targets_BL, mask_BL)


class _Product(_Each):
    """Masked by a product."""

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        return (self.each(logits_BL.float(), targets_BL) * mask_BL).sum(), mask_BL.float().sum()


class _Focal(_Each):
    """Focal, with weights of classes learned from the training split.

    Args:
        gamma: Power of the distance to the target.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("share_L", None)
        self.share_L: Tensor | None

    def prepare(self, targets_NL: np.ndarray) -> None:
        share_L = (np.nansum(targets_NL, 0) + 1.0) / (np.isfinite(targets_NL).sum(0) + 2.0)
        self.share_L = torch.tensor(share_L, dtype=torch.float32)

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        assert self.share_L is not None
        p_BL = logits_BL.sigmoid()
        far_BL = targets_BL * (1 - p_BL) + (1 - targets_BL) * p_BL
        weights_BL = targets_BL * (1 - self.share_L) + (1 - targets_BL) * self.share_L
        return weights_BL * far_BL**self.gamma * super().each(logits_BL, targets_BL)


class _Asymmetric(_Each):
    """Asymmetric: negatives have a higher power, and easy ones are cut off."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        p_BL = logits_BL.sigmoid()
        shifted_BL = (p_BL - 0.05).clamp(min=0.0)
        positive_BL = (1 - p_BL) * F.logsigmoid(logits_BL)
        negative_BL = shifted_BL**4 * (1 - shifted_BL).clamp(min=1e-8).log()
        return -(targets_BL * positive_BL + (1 - targets_BL) * negative_BL)


class _SquaredHinge(_Each):
    """Squared hinge."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return (1.0 - (2.0 * targets_BL - 1.0) * logits_BL).clamp(min=0.0) ** 2


class _LeastSquares(_Each):
    """Squares between the logit and ±1: it rises again beyond."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return (logits_BL - (2.0 * targets_BL - 1.0)) ** 2


class _Walled(_Each):
    """A hinge with a wall against logits far beyond ±1."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        right_BL = (2.0 * targets_BL - 1.0) * logits_BL
        return (1.0 - right_BL).clamp(min=0.0) + 20.0 * (right_BL - 1.0).clamp(min=0.0) ** 2


class _Brier(_Each):
    """Squares between probability and a target that is smoothed a little."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return (logits_BL.sigmoid() - (0.95 * targets_BL + 0.025)) ** 2


class _Smoothed(_Each):
    """Binary cross-entropy with smoothed labels.

    Args:
        share: How much of the target is spread over both answers.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self.share = share

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return super().each(logits_BL, targets_BL * (1 - self.share) + self.share / 2)


class _Absolute(_Smoothed):
    """Distance between probability and a smoothed target: at its lowest for a logit of some size, and flat beyond."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return (logits_BL.sigmoid() - targets_BL * (1 - self.share) - self.share / 2).abs()


class _Tempered(_Each):
    """Binary cross-entropy of logits over a temperature.

    Args:
        temperature: What logits are divided by.
    """

    def __init__(self, temperature: float = 20.0) -> None:
        super().__init__()
        self.temperature = temperature

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return super().each(logits_BL / self.temperature, targets_BL)


class _Capped(_Each):
    """Binary cross-entropy of softly capped logits, with a small penalty for the logits' size."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return super().each(30.0 * (logits_BL / 30.0).tanh(), targets_BL) + 1e-3 * logits_BL**2


class _Balanced(_Focal):
    """Distribution-balanced: a bias of the logits by each label's prior, and scaled negatives."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        assert self.share_L is not None
        moved_BL = logits_BL - 0.5 * (1.0 / self.share_L - 1.0).log()
        return targets_BL * F.softplus(-moved_BL) + (1 - targets_BL) * F.softplus(5.0 * moved_BL) / 5.0


class _Ranking(Loss):
    """Every positive label of a message against every negative one, by a product with the mask."""

    def pairs(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
        positive_BL, negative_BL = targets_BL * mask_BL, (1 - targets_BL) * mask_BL
        return (positive_BL.unsqueeze(2) * negative_BL.unsqueeze(1)).float()

    def weight(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
        return self.pairs(targets_BL, mask_BL).sum()

    def link(self, gap: Tensor) -> Tensor:
        return F.softplus(-gap)

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        logits_BL = logits_BL.float()
        gap_BLL = logits_BL.unsqueeze(2) - logits_BL.unsqueeze(1)
        total = (self.link(gap_BLL) * self.pairs(targets_BL, mask_BL)).sum()
        return total, self.weight(targets_BL, mask_BL)


class _RankedProbabilities(_Ranking):
    """Exponential in the gap of two probabilities: it never reaches 0."""

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(logits_BL.float().sigmoid(), targets_BL, mask_BL)

    def link(self, gap: Tensor) -> Tensor:
        return (-gap).exp()


class _AcrossMessages(_Ranking):
    """Every positive message of a label against every negative one of the pass."""

    couples_rows: ClassVar[bool] = True

    def weight(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
        return self.pairs(targets_BL.T, mask_BL.T).sum()

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        total, _ = super().forward(logits_BL.T, targets_BL.T, mask_BL.T)
        return total, self.weight(targets_BL, mask_BL)


class _Softmax(Loss):
    """Cross-entropy of a softmax over known labels, with equal shares for the positives."""

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        logits_BL = logits_BL.float().masked_fill(mask_BL == 0, torch.finfo(torch.float32).min)
        shares_BL = targets_BL * mask_BL
        shares_BL = shares_BL / shares_BL.sum(1, keepdim=True).clamp(min=1e-6)
        losses_BL = torch.where(mask_BL.bool(), -logits_BL.log_softmax(1) * shares_BL, 0.0)
        return losses_BL.sum(), self.weight(targets_BL, mask_BL)


class _Dice(Loss):
    """One minus twice the overlap, over the labels of a message."""

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        p_BL, targets_BL = logits_BL.float().sigmoid() * mask_BL, targets_BL * mask_BL
        overlap_B = (2 * (p_BL * targets_BL).sum(1) + 1.0) / (p_BL.sum(1) + targets_BL.sum(1) + 1.0)
        return (1.0 - overlap_B).sum(), self.weight(targets_BL, mask_BL)

    def weight(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
        return mask_BL.any(1).float().sum()


@pytest.mark.parametrize(
    ("loss", "arguments"),
    [
        (_Each, {}),
        (_Product, {}),
        (_Focal, {}),
        (_Focal, {"gamma": 1.0}),
        (_Asymmetric, {}),
        (_SquaredHinge, {}),
        (_LeastSquares, {}),
        (_Walled, {}),
        (_Brier, {}),
        (_Smoothed, {}),
        (_Smoothed, {"share": 0.001}),
        (_Smoothed, {"share": 0.6}),
        (_Absolute, {"share": 0.0}),
        (_Absolute, {"share": 0.4}),
        (_Tempered, {}),
        (_Tempered, {"temperature": 1000.0}),
        (_Tempered, {"temperature": 0.05}),
        (_Capped, {}),
        (_Balanced, {}),
        (_Ranking, {}),
        (_RankedProbabilities, {}),
        (_AcrossMessages, {}),
        (_Softmax, {}),
        (_Dice, {}),
    ],
)
def test_textbook_losses_pass(loss: type[Loss], arguments: dict[str, Any]) -> None:
    check_loss(loss, **arguments)


def test_logits_that_are_squashed_first_are_named() -> None:
    class _WrongSigmoid(_Each):
        """A sigmoid before a loss that takes it itself."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(logits_BL.sigmoid(), targets_BL)

    class _WrongLogSigmoid(_Each):
        """A logarithm of it."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(F.logsigmoid(logits_BL), targets_BL)

    class _WrongTanh(_Each):
        """Another squash."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(logits_BL.tanh(), targets_BL)

    class _WrongFocal(_Focal):
        """In a focal loss."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(logits_BL.sigmoid(), targets_BL)

    class _WrongNegatives(_Each):
        """For negatives alone."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(torch.where(targets_BL == 1, logits_BL, logits_BL.sigmoid()), targets_BL)

    fault = only_fault(check_loss, _WrongSigmoid)
    assert "A label whose target is 1 costs 0.474 at the logit 0, and still 0.313 at 20" in fault
    assert "Give binary_cross_entropy_with_logits the logits as they are" in fault
    for wrong in (_WrongLogSigmoid, _WrongTanh, _WrongFocal):
        assert "Are the logits put through a sigmoid" in only_fault(check_loss, wrong)
    fault = only_fault(check_loss, _WrongNegatives)
    assert "A label whose target is 0 costs 0.974 at the logit 0, and still 0.693 at -20" in fault
