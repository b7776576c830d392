"""TemplateLoss: the contract of losses, and what it computes."""

import pytest
import torch
from torch.nn import functional as F

from tocsin.plugins.testing import check_loss
from tocsin_template.loss import TemplateLoss


def test_it_conforms() -> None:
    check_loss(TemplateLoss)
    check_loss(TemplateLoss, gamma=0.5)


def test_without_focus_it_is_cross_entropy() -> None:
    logits_BL, targets_BL = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    total, weight = TemplateLoss(gamma=0.0)(logits_BL, targets_BL, torch.ones(4, 3))
    expected = F.binary_cross_entropy_with_logits(logits_BL, targets_BL)
    torch.testing.assert_close(total / weight, expected)


def test_a_sure_label_counts_less() -> None:
    # p = .9 for a label that is on: (1 - .9)^2 times the cross-entropy.
    logit = torch.logit(torch.tensor([[0.9]]))
    total, _ = TemplateLoss()(logit, torch.ones(1, 1), torch.ones(1, 1))
    expected = 0.01 * -torch.log(torch.tensor(0.9)).item()
    assert total.item() == pytest.approx(expected, rel=1e-4)
