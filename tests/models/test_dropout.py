"""Our dropout does what torch's does, from the same generator."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tocsin.models.dropout import Dropout, dropout, replace_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.25])
def test_drops_the_share_asked_for_and_scales_the_rest(p: float) -> None:
    torch.manual_seed(1)
    value = torch.randn(400, 500) + 5
    out = dropout(value, p)
    share = (out == 0).double().mean().item()
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / value.numel())
    rounded = round(p * 65536) / 65536
    torch.testing.assert_close(out[out != 0], value[out != 0] / (1 - rounded))


def test_neighbours_are_dropped_independently() -> None:
    """Four numbers come from one word of the generator."""
    torch.manual_seed(2)
    dropped = (dropout(torch.ones(1_000_000), 0.3) == 0).double() - 0.3
    for lag in range(1, 9):
        correlation = (dropped[:-lag] * dropped[lag:]).mean().item() / (0.3 * 0.7)
        assert abs(correlation) < 5e-3, lag


def test_the_gradient_goes_where_the_value_went() -> None:
    value = torch.randn(33, 7, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    out = dropout(value, 0.4)
    out.backward(torch.ones_like(out))
    assert value.grad is not None
    torch.testing.assert_close(value.grad * value.detach(), out.detach())
    assert set((value.grad == 0).flatten().tolist()) == {True, False}


@given(st.lists(st.integers(0, 7), min_size=0, max_size=3), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_any_shape_and_the_same_seed_the_same_numbers(shape: list[int], seed: int) -> None:
    value = torch.rand(shape) + 1
    torch.manual_seed(seed)
    first, after = dropout(value, 0.5), torch.rand(1)
    torch.manual_seed(seed)
    assert torch.equal(dropout(value, 0.5), first)
    assert first.shape == value.shape
    # It is torch's generator that gives the numbers, so that a checkpoint of it goes on alike.
    assert torch.equal(torch.rand(1), after)


def test_a_transposed_value_keeps_its_places() -> None:
    value = torch.arange(1.0, 13).view(3, 4).T
    out = dropout(value, 0.5)
    kept = out != 0
    torch.testing.assert_close(out[kept], 2 * value[kept])


@pytest.mark.parametrize(("p", "wanted"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_and_everything(p: float, wanted: float) -> None:
    assert dropout(torch.ones(5), p).tolist() == [wanted] * 5


def test_half_precision_stays_half() -> None:
    out = dropout(torch.ones(1000, dtype=torch.bfloat16), 0.5)
    assert out.dtype == torch.bfloat16
    assert set(out.tolist()) == {0.0, 2.0}


def test_takes_the_place_of_torchs_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.7), nn.Dropout1d(0.2)))
    model.eval()
    names = [name for name, _ in model.named_modules()]
    replace_dropout(model)
    assert [name for name, _ in model.named_modules()] == names
    outer, inner, other = model[1], model[2][0], model[2][1]
    assert type(outer) is Dropout
    assert outer.p == 0.3
    assert not outer.training
    assert type(inner) is Dropout
    assert inner.p == 0.7
    assert type(other) is nn.Dropout1d
    value = torch.ones(50)
    assert outer(value) is value
    assert (outer.train()(value) == 0).any()


def test_a_shared_module_stays_shared() -> None:
    one = nn.Dropout(0.2)
    model = nn.ModuleDict({"a": one, "b": one, "inner": nn.Sequential(one)})
    replace_dropout(model)
    assert type(model["a"]) is Dropout
    assert model["a"] is model["b"]
    assert model["a"] is model["inner"][0]  # type: ignore[index]
