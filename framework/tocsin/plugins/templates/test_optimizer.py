"""TemplateOptimizer: the contract of optimisers, and how it moves a weight."""

import pytest
import torch

from tocsin.plugins.testing import check_optimizer
from tocsin_template.optimizer import TemplateOptimizer


def test_it_conforms() -> None:
    check_optimizer(TemplateOptimizer)
    check_optimizer(TemplateOptimizer, lr=0.1, weight_decay=0.01)


def test_momentum_makes_the_second_step_longer() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    groups = [{"params": [weight], "weight_decay": 0.0}]
    optimizer = TemplateOptimizer(lr=0.1, momentum=0.5)
    built = optimizer.build(groups, scaled_gradients=False)
    places = []
    for _ in range(2):
        weight.grad = torch.ones(1)
        built.step()
        places.append(weight.item())
    # Nesterov: lr (g + .5 v) with v = 1, then v = 1.5.
    assert places == pytest.approx([-0.15, -0.15 - 0.175])
