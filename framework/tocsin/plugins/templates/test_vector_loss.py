"""TemplateVectorLoss: the contract of vector losses, and what it computes."""

import torch

from tocsin.plugins.testing import check_vector_loss
from tocsin_template.vector_loss import TemplateVectorLoss


def test_it_conforms() -> None:
    check_vector_loss(TemplateVectorLoss)


def test_it_sums_squared_differences() -> None:
    student_BD = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    teacher_BD = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    weight_B = torch.tensor([1.0, 2.0])
    loss, english_B = TemplateVectorLoss(), torch.arange(2)
    total, weight = loss(student_BD, teacher_BD, weight_B, english_B)
    assert total.item() == 1.0 + 4.0 + 2 * 9.0
    assert weight.item() == 3.0
