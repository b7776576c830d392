"""TemplatePooling: the contract of poolings, and what it computes."""

import torch

from tocsin.plugins.testing import check_pooling
from tocsin_template.pooling import TemplatePooling


def test_it_conforms() -> None:
    check_pooling(TemplatePooling)


def test_it_takes_the_largest_value_of_real_tokens() -> None:
    hidden_BTD = torch.tensor([[[1.0, -5.0], [3.0, -2.0], [9.0, 9.0]]])
    vector_BD = TemplatePooling()(hidden_BTD, torch.tensor([[1, 1, 0]]))
    assert vector_BD.tolist() == [[3.0, -2.0]]
