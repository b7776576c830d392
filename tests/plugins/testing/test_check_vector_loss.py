"""Each wrong loss has one fault, and the check names that one. Axes: B sentences, D width."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.models.losses import VectorLoss
from tocsin.plugins.testing import check_vector_loss


class _RightSquaredError(VectorLoss):
    """A right loss, from which the wrong ones below differ by one thing each."""

    def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
        return (student_BD - teacher_BD).square().mean(1)

    def forward(
        self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        losses_B = self.each(student_BD.float(), teacher_BD.detach().float())
        return (losses_B * weight_B).sum(), self.weight(weight_B)


class _RightCosineDistance(_RightSquaredError):
    """A right loss of angles."""

    def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
        return 1.0 - (F.normalize(student_BD, eps=1e-6) * F.normalize(teacher_BD, eps=1e-6)).sum(1)


class _RightContrast(_RightSquaredError):
    """A right loss that tells each teacher from the others of the pass."""

    couples_rows: ClassVar[bool] = True

    def forward(
        self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        student_BD, teacher_BD = student_BD.float(), teacher_BD.detach().float()
        with torch.autocast("cpu", enabled=False):
            scores_BB = F.normalize(student_BD, eps=1e-6) @ F.normalize(teacher_BD, eps=1e-6).T
        scores_BB = scores_BB * 5.0 + weight_B.log()
        same_BB = english_B[:, None] == english_B[None]
        own_B = scores_BB.masked_fill(~same_BB, float("-inf")).logsumexp(1)
        losses_B = torch.where(weight_B > 0, scores_BB.logsumexp(1) - own_B, 0.0)
        return (losses_B * weight_B).sum(), self.weight(weight_B)


@pytest.mark.parametrize("loss", [_RightSquaredError, _RightCosineDistance, _RightContrast])
def test_right_losses_pass(loss: type[VectorLoss]) -> None:
    check_vector_loss(loss)


def test_coupled_rows_are_declared() -> None:
    class _WrongContrast(_RightContrast):
        """Wrong."""

        couples_rows: ClassVar[bool] = False

    fault = only_fault(check_vector_loss, _WrongContrast)
    assert "cut in two passes" in fault
    assert "couples_rows = True" in fault


def test_a_mean_is_named() -> None:
    class _WrongMean(_RightSquaredError):
        """Wrong."""

        def forward(self, *rows: Tensor) -> tuple[Tensor, Tensor]:
            total, weight = super().forward(*rows)
            return total / weight, weight

    class _WrongTensor(_RightSquaredError):
        """Wrong."""

        def forward(self, *rows: Tensor) -> Any:
            return super().forward(*rows)[0]

    fault = only_fault(check_vector_loss, _WrongMean)
    assert "it returned a mean" in fault
    assert "the number of sentences" in fault
    assert "wanted the pair (sum, weight)" in only_fault(check_vector_loss, _WrongTensor)


def test_equal_vectors_are_best() -> None:
    class _WrongSimilarity(_RightCosineDistance):
        """A similarity."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return 2.0 - super().each(student_BD, teacher_BD)

    fault = only_fault(check_vector_loss, _WrongSimilarity)
    assert "At width 384 a student that equals its teacher has the loss 12" in fault
    assert "Is a sign turned" in fault


def test_the_teacher_gets_no_gradient() -> None:
    class _WrongBoth(_RightSquaredError):
        """Trains both."""

        def forward(
            self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
        ) -> tuple[Tensor, Tensor]:
            losses_B = self.each(student_BD.float(), teacher_BD.float())
            return (losses_B * weight_B).sum(), self.weight(weight_B)

    assert "teacher_BD.detach()" in only_fault(check_vector_loss, _WrongBoth)


def test_zeros_and_equal_vectors_have_finite_gradients() -> None:
    class _WrongNorm(_RightSquaredError):
        """The square root of 0 has no gradient."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return (student_BD - teacher_BD).square().sum(1).sqrt()

    class _WrongCosine(_RightCosineDistance):
        """0 / 0."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            products_B = (student_BD * teacher_BD).sum(1)
            return 1.0 - products_B / (student_BD.norm(dim=1) * teacher_BD.norm(dim=1))

    assert "With a student that equals its teacher" in only_fault(check_vector_loss, _WrongNorm)
    fault = only_fault(check_vector_loss, _WrongCosine)
    assert "With a student's vector of zeros the loss is nan" in fault
    assert "F.normalize" in fault


def test_the_gradient_is_the_losss_own() -> None:
    class _WrongDetached(_RightSquaredError):
        """Trains nothing."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return super().each(student_BD.detach(), teacher_BD)

    class _WrongPart(_RightSquaredError):
        """Trains half."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return (student_BD.detach() - teacher_BD).mul(student_BD - teacher_BD).mean(1)

    assert "carries no gradient to the student's vectors" in only_fault(check_vector_loss, _WrongDetached)
    assert "Is a part of the loss detached" in only_fault(check_vector_loss, _WrongPart)


def test_bfloat16_is_summed_in_float32() -> None:
    class _WrongNarrow(_RightSquaredError):
        """Wrong."""

        def forward(
            self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
        ) -> tuple[Tensor, Tensor]:
            losses_B = self.each(student_BD, teacher_BD.detach())
            return (losses_B * weight_B.to(losses_B.dtype)).sum(), self.weight(weight_B)

    class _WrongScale(_RightSquaredError):
        """Depends on the type."""

        def forward(self, student_BD: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(student_BD * (4 / student_BD.element_size()), *rest)

    assert "bfloat16 vectors gave the loss " in only_fault(check_vector_loss, _WrongScale)
    fault = only_fault(check_vector_loss, _WrongNarrow)
    assert "The sum of bfloat16 vectors under autocast is () bfloat16" in fault
    assert "student_BD.float()" in fault


def test_the_weight_follows_from_the_rows_weights_alone() -> None:
    class _WrongWeight(_RightSquaredError):
        """Overrides one of the two."""

        def weight(self, weight_B: Tensor) -> Tensor:
            return weight_B.sum() * 64

        def forward(self, *rows: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(*rows)[0], rows[2].sum()

    class _WrongHard(_RightSquaredError):
        """Counts what is far away."""

        def forward(self, *rows: Tensor) -> tuple[Tensor, Tensor]:
            far = (rows[0].mean(1) > 0.5).float().sum()
            return super().forward(*rows)[0], self.weight(rows[2]) + far

    assert "Another student gave another weight (12 after 6)" in only_fault(check_vector_loss, _WrongHard)
    assert "weight(weight_B) gave 384 and forward 6" in only_fault(check_vector_loss, _WrongWeight)


def test_weights_of_rows_are_honoured() -> None:
    class _WrongUnweighted(_RightSquaredError):
        """Forgets the weights."""

        def forward(
            self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
        ) -> tuple[Tensor, Tensor]:
            losses_B = self.each(student_BD.float(), teacher_BD.detach().float())
            return losses_B.sum(), self.weight(weight_B)

    fault = only_fault(check_vector_loss, _WrongUnweighted)
    assert "row of weight 2 and one of weight 0 the sum is" in fault
    assert "multiply each row's loss by weight_B" in fault

    class _WrongFillers(_RightContrast):
        """Lets fillers be wrong answers."""

        def forward(
            self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
        ) -> tuple[Tensor, Tensor]:
            ones_B = torch.ones_like(weight_B)
            scores_BB = student_BD.float() @ teacher_BD.detach().float().T
            losses_B = F.cross_entropy(scores_BB, torch.arange(len(ones_B)), reduction="none")
            return (losses_B * weight_B).sum(), self.weight(weight_B)

    assert any("of weight 0 the sum is" in fault for fault in faults(check_vector_loss, _WrongFillers))


def test_a_regulariser_need_not_follow_the_teacher() -> None:
    class _WrongNorm(_RightSquaredError):
        """Says that it follows the teacher, and looks at the student alone."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return (student_BD - 1.0).square().mean(1) + 0.0 * teacher_BD.sum(1)

    class _RightRegulariser(_WrongNorm):
        """Right."""

        follows_teacher: ClassVar[bool] = False

    check_vector_loss(_RightRegulariser)


def test_a_width_of_one_works() -> None:
    class _WrongStandard(_RightSquaredError):
        """The spread of one number is NaN."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return (
                super().each(student_BD, teacher_BD) / student_BD.var(1, correction=0).clamp(min=-1.0).sqrt()
            )

    fault = only_fault(check_vector_loss, _WrongStandard)
    assert "The sum of 6 sentences of width 1 is" in fault


def test_its_state_is_saved_and_its_input_left_alone() -> None:
    class _WrongState(_RightSquaredError):
        """Draws a weight that nobody saves."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.rand(()) + 0.5

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return super().each(student_BD, teacher_BD) * self.scale

    class _WrongNoise(_RightSquaredError):
        """Adds noise."""

        def each(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
            return super().each(student_BD + 0.01 * torch.randn_like(student_BD), teacher_BD)

    class _WrongInPlace(_RightSquaredError):
        """Centres in place."""

        def forward(self, student_BD: Tensor, teacher_BD: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
            centred_BD = teacher_BD.detach().sub_(teacher_BD.mean(1, keepdim=True))
            return super().forward(student_BD, centred_BD, *rest)

    assert "The same vectors gave " in only_fault(check_vector_loss, _WrongNoise)
    assert "Keep what it holds in an nn.Parameter or register_buffer" in only_fault(
        check_vector_loss, _WrongState
    )
    assert "forward() changed the vectors" in faults(check_vector_loss, _WrongInPlace)[0]
