"""TemplateHead: the contract of heads, and what it computes."""

from types import SimpleNamespace

import torch

from tocsin.plugins.testing import check_head
from tocsin_template.head import TemplateHead


def test_it_conforms() -> None:
    check_head(TemplateHead)
    check_head(TemplateHead, hidden=8, dropout=0.5)


def test_it_is_two_layers_with_a_tangent_between() -> None:
    head = TemplateHead(hidden=5).eval()
    head.build(SimpleNamespace(hidden_size=4), labels=3)
    between, _, _, output = head.layers
    vector_BD = torch.randn(2, 4)
    expected_BL = output(torch.tanh(between(vector_BD)))
    torch.testing.assert_close(head(None, None, vector_BD), expected_BL)
    assert between.out_features == 5
