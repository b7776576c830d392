"""Each wrong loss has one fault, and the check names that one. Axes: N messages, B messages of a pass, L labels."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.models.losses import BinaryCrossEntropy, Loss
from tocsin.plugins.testing import check_loss


class _RightLogistic(Loss):
    """A right loss, from which the wrong ones below differ by one thing each."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return F.softplus(logits_BL) - targets_BL * logits_BL

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        known_BL = mask_BL.bool()
        logits_BL = torch.where(known_BL, logits_BL.float(), 0.0)
        return torch.where(known_BL, self.each(logits_BL, targets_BL), 0.0).sum(), self.weight(
            targets_BL, mask_BL
        )


class _RightHinge(_RightLogistic):
    """A right loss with a kink."""

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        return (1.0 - (2.0 * targets_BL - 1.0) * logits_BL).clamp(min=0.0)


class _RightFocal(_RightLogistic):
    """A right loss with a power.

    Args:
        gamma: Power of the distance to the target.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
        distance_BL = (targets_BL - logits_BL.sigmoid()).abs()
        return super().each(logits_BL, targets_BL) * distance_BL.clamp(min=1e-6) ** self.gamma


@pytest.mark.parametrize("pos_weight", [None, "auto", 1, 0.1, 30.0])
def test_binary_cross_entropy_passes_with_every_weight(pos_weight: float | Literal["auto"] | None) -> None:
    check_loss(BinaryCrossEntropy, pos_weight=pos_weight)


@pytest.mark.parametrize("loss", [_RightLogistic, _RightHinge, _RightFocal])
def test_right_losses_pass(loss: type[Loss]) -> None:
    check_loss(loss)


def test_a_loss_that_couples_rows_and_says_so_passes() -> None:
    class _Ranking(_RightLogistic):
        """Compares the messages of a pass."""

        couples_rows: ClassVar[bool] = True

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return F.softplus(logits_BL - logits_BL.mean(0)) - targets_BL * (logits_BL - logits_BL.mean(0))

    class _WrongRanking(_Ranking):
        """And does not say so."""

        couples_rows: ClassVar[bool] = False

    check_loss(_Ranking)
    fault = only_fault(check_loss, _WrongRanking)
    assert "cut in two passes" in fault
    assert "couples_rows = True" in fault


def test_a_mean_is_named() -> None:
    class _WrongMean(_RightLogistic):
        """Wrong."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            total, weight = super().forward(logits_BL, targets_BL, mask_BL)
            return total / weight.clamp(min=1.0), weight

    class _WrongOne(_WrongMean):
        """With the weight 1."""

        def weight(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
            return torch.ones(())

    fault = only_fault(check_loss, _WrongMean)
    assert "gave the same sum as once: it returned a mean" in fault
    assert "losses.sum()" in fault

    class _WrongTensor(_RightLogistic):
        """Forgets the weight."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> Any:
            return super().forward(logits_BL, targets_BL, mask_BL)[0]

    class _WrongRows(_RightLogistic):
        """One number a message."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            return self.each(logits_BL.float(), targets_BL).sum(1), self.weight(targets_BL, mask_BL)

    assert "the weight is the same" in only_fault(check_loss, _WrongOne)
    fault = only_fault(check_loss, _WrongTensor)
    assert "gave one tensor () float32; wanted the pair (sum, weight)" in fault
    assert "The sum of 6 messages of 3 labels is (6,) float32; wanted a scalar" in only_fault(
        check_loss, _WrongRows
    )


def test_the_weight_follows_from_targets_alone() -> None:
    class _WrongWeight(_RightLogistic):
        """Overrides one of the two."""

        def weight(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
            return torch.tensor(float(len(mask_BL)))

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(logits_BL, targets_BL, mask_BL)[0], mask_BL.sum()

    class _WrongHard(_RightLogistic):
        """Counts what is hard."""

        def weight(self, targets_BL: Tensor, mask_BL: Tensor) -> Tensor:
            return mask_BL.sum()

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            weight = mask_BL.sum() + (logits_BL > 1.6).float().sum()
            return super().forward(logits_BL, targets_BL, mask_BL)[0], weight

    fault = only_fault(check_loss, _WrongWeight)
    assert "weight(targets, mask) gave 6 and forward " in fault
    assert "Override weight() along with forward()" in fault
    assert "Other logits gave another weight" in only_fault(check_loss, _WrongHard)


def test_null_labels_do_not_count() -> None:
    class _WrongAll(_RightLogistic):
        """Takes nulls for negatives."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            return self.each(logits_BL.float(), targets_BL).sum(), self.weight(targets_BL, mask_BL)

    class _WrongLeak(_RightLogistic):
        """A large logit reaches the sum."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            total, weight = super().forward(logits_BL, targets_BL, mask_BL)
            leak = torch.where(mask_BL.bool(), 0.0, (logits_BL.float().abs() - 10.0).clamp(min=0.0)).sum()
            return total + leak, weight

    found = faults(check_loss, _WrongAll)
    assert len(found) == 2
    assert "With 3 for every logit and 1 for every target under a 0 of the mask the loss moved" in found[0]
    assert "A pass whose labels are all null gave the loss " in found[1]
    fault = only_fault(check_loss, _WrongLeak)
    assert "With 50 for every logit under a 0 of the mask the loss moved by " in fault
    assert "torch.where" in fault


def test_a_pass_of_nulls_gives_nothing() -> None:
    class _WrongDivision(_RightLogistic):
        """0 / 0, times the number."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            total, weight = super().forward(logits_BL, targets_BL, mask_BL)
            return total / weight * weight, weight

    fault = only_fault(check_loss, _WrongDivision)
    assert "A pass whose labels are all null gave the loss nan with the weight 0" in fault


def test_the_gradient_is_the_losss_own() -> None:
    class _WrongDetached(_RightLogistic):
        """Half of it is detached."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return F.softplus(logits_BL.detach()) - targets_BL * logits_BL

    class _WrongItem(_RightLogistic):
        """Nothing flows."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(logits_BL.detach(), targets_BL)

    assert "Is a part of the loss detached" in only_fault(check_loss, _WrongDetached)
    assert "carries no gradient to the logits" in only_fault(check_loss, _WrongItem)


def test_gradients_are_finite_and_end_at_null_labels() -> None:
    class _WrongRoot(_RightLogistic):
        """The square root of 0 has no gradient."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(logits_BL, targets_BL) + (logits_BL - logits_BL).abs().sqrt()

    class _WrongNull(_RightLogistic):
        """Pulls at null labels without a word in the sum."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            total, weight = super().forward(logits_BL, targets_BL, mask_BL)
            pull = torch.where(mask_BL.bool(), 0.0, logits_BL.float().tanh()).sum()
            return total + pull - pull.detach(), weight

    fault = only_fault(check_loss, _WrongRoot)
    assert "The gradient of the logits is infinite or NaN in places for ordinary values" in fault
    assert "or is not 0 there; a null label must not count" in faults(check_loss, _WrongNull)[0]


def test_the_loss_falls_towards_the_target() -> None:
    class _WrongSign(_RightLogistic):
        """Wrong."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return F.softplus(logits_BL) - (1.0 - targets_BL) * logits_BL

    class _WrongPositives(_RightLogistic):
        """Wrong for positives alone, which are the fewer."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return F.softplus(logits_BL) * torch.where(targets_BL == 1, 0.2, 1.0)

    fault = only_fault(check_loss, _WrongSign)
    assert "Moving every logit by 0.25 towards its target raised the loss" in fault
    assert "Is a sign turned" in fault
    assert "Moving every positive label's logit by 0.25 towards its target raised" in only_fault(
        check_loss, _WrongPositives
    )


def test_extreme_logits_stay_finite() -> None:
    class _WrongExp(_RightLogistic):
        """Overflows."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return torch.log1p(logits_BL.exp()) - targets_BL * logits_BL

    fault = only_fault(check_loss, _WrongExp)
    assert "Logits of ±10,000" in fault
    assert "F.logsigmoid" in fault


def test_bfloat16_is_summed_in_float32() -> None:
    class _WrongNarrow(_RightLogistic):
        """Stays in the logits' type."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            known_BL = mask_BL.bool()
            logits_BL = torch.where(known_BL, logits_BL, 0.0)
            losses_BL = self.each(logits_BL, targets_BL.to(logits_BL.dtype))
            return torch.where(known_BL, losses_BL, 0.0).to(logits_BL.dtype).sum(), self.weight(
                targets_BL, mask_BL
            )

    class _WrongScale(_RightLogistic):
        """Depends on the type."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            scaled_BL = logits_BL * (4 / logits_BL.element_size())
            return super().forward(scaled_BL, targets_BL, mask_BL)

    assert "bfloat16 logits gave the loss " in only_fault(check_loss, _WrongScale)
    fault = only_fault(check_loss, _WrongNarrow)
    assert "The sum of bfloat16 logits under autocast is () bfloat16" in fault
    assert "logits_BL.float()" in fault


def test_soft_targets_are_targets() -> None:
    class _WrongHard(_RightLogistic):
        """Has no answer between 0 and 1."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            losses_BL = super().each(logits_BL, targets_BL)
            return torch.where((targets_BL == 0) | (targets_BL == 1), losses_BL, float("nan"))

    assert "Targets between 0 and 1" in only_fault(check_loss, _WrongHard)


def test_what_prepare_learned_is_saved() -> None:
    class _WrongAttribute(_RightLogistic):
        """Keeps it beside the state."""

        prior_L: Tensor | None = None

        def prepare(self, targets_NL: np.ndarray) -> None:
            self.prior_L = torch.tensor(np.nan_to_num(targets_NL).mean(0), dtype=torch.float32)

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            scale_L: Any = 1.0 if self.prior_L is None else 2.0 + self.prior_L
            return super().each(logits_BL, targets_BL) * scale_L

    class _WrongNeed(_WrongAttribute):
        """And cannot do without."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            assert self.prior_L is not None, "no prior"
            return super().each(logits_BL, targets_BL)

    fault = only_fault(check_loss, _WrongAttribute)
    assert "Built again and given the saved state" in fault
    assert 'register_buffer("name", None)' in fault
    fault = only_fault(check_loss, _WrongNeed)
    assert "A loss built again and given the saved state raised AssertionError: no prior" in fault


def test_prepare_meets_nulls_and_one_sided_labels() -> None:
    class _WrongRatio(_RightLogistic):
        """NaN counts, and nothing guards the division."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ratio_L", None)
            self.ratio_L: Tensor | None

        def prepare(self, targets_NL: np.ndarray) -> None:
            positives = (targets_NL == 1).sum(0)
            self.ratio_L = torch.tensor(len(targets_NL)) / torch.tensor(positives, dtype=torch.float32)

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(logits_BL, targets_BL) * self.ratio_L

    class _WrongInPlace(_RightLogistic):
        """Fills the nulls in."""

        def prepare(self, targets_NL: np.ndarray) -> None:
            targets_NL[np.isnan(targets_NL)] = 0.0

    class _WrongRaise(_RightLogistic):
        """Does not expect NaN."""

        def prepare(self, targets_NL: np.ndarray) -> None:
            if np.isnan(targets_NL).any():
                raise ValueError("there are holes")

    fault = only_fault(check_loss, _WrongRatio)
    assert "The sum of 6 messages of 3 labels is" in fault
    assert "wanted a finite number" in fault
    assert "prepare() changed the training targets" in only_fault(check_loss, _WrongInPlace)
    assert "raised ValueError: there are holes. They are a numpy array with NaN" in only_fault(
        check_loss, _WrongRaise
    )


def test_it_is_deterministic_and_leaves_its_input_alone() -> None:
    class _WrongNoise(_RightLogistic):
        """Adds noise."""

        def each(self, logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
            return super().each(logits_BL + 0.01 * torch.randn_like(logits_BL), targets_BL)

    class _WrongInPlace(_RightLogistic):
        """Smooths the targets in place."""

        def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(logits_BL, targets_BL.mul_(0.9), mask_BL)

    assert "The same logits, targets and mask gave" in only_fault(check_loss, _WrongNoise)
    assert "forward() changed the logits, targets or mask" in only_fault(check_loss, _WrongInPlace)
