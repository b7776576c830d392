"""Poolings against loops and against sentence-transformers' module; padding never counts.

Axes: B messages, T tokens, D width.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tocsin.errors import ConfigError
from tocsin.models.pooling import AttentionPooling, ClsPooling, MaxPooling, MeanPooling, Pooling
from tocsin.plugins.testing import check_pooling

EVERY: list[type[Pooling]] = [MeanPooling, ClsPooling, MaxPooling, AttentionPooling]
every_pooling = pytest.mark.parametrize("kind", EVERY)


def _made(kind: type[Pooling], width: int, dtype: torch.dtype = torch.float32) -> Pooling:
    """Built, its query away from zero."""
    pooling = kind()
    pooling.build(SimpleNamespace(hidden_size=width))
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return pooling.to(dtype)


def _states(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    mask_BT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    # Negative throughout, so that a maximum that saw padding as 0 would show.
    return (torch.randn(3, 5, 4) - 5.0).to(dtype), mask_BT


def test_mean_pooling_is_the_mean_of_real_tokens() -> None:
    hidden = torch.arange(12.0).view(1, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0]])
    torch.testing.assert_close(MeanPooling()(hidden, mask), hidden[:, :2].mean(1))


def test_cls_pooling_is_the_first_state() -> None:
    hidden = torch.randn(2, 3, 4)
    assert torch.equal(ClsPooling()(hidden, torch.ones(2, 3)), hidden[:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_max_pooling_is_the_largest_real_state(dtype: torch.dtype) -> None:
    hidden_BTD, mask_BT = _states(dtype)
    wanted = [
        [max(float(hidden_BTD[b, t, d]) for t in range(5) if mask_BT[b, t]) for d in range(4)]
        for b in range(3)
    ]
    assert torch.equal(MaxPooling()(hidden_BTD, mask_BT), torch.tensor(wanted, dtype=dtype))


def test_attention_pooling_is_a_softmax_over_real_tokens() -> None:
    pooling = _made(AttentionPooling, 4)
    hidden_BTD, mask_BT = _states()
    query = pooling.query_D.tolist()
    for row, length in enumerate((5, 3, 1)):
        states = hidden_BTD[row, :length].tolist()
        exponents = [math.exp(sum(q * h for q, h in zip(query, state, strict=True)) / 2) for state in states]
        wanted = [
            sum(e * state[d] for e, state in zip(exponents, states, strict=True)) / sum(exponents)
            for d in range(4)
        ]
        torch.testing.assert_close(pooling(hidden_BTD, mask_BT)[row], torch.tensor(wanted))
    weights_BT = pooling.weights(hidden_BTD, mask_BT)
    torch.testing.assert_close(weights_BT.sum(1), torch.ones(3))
    assert not weights_BT[mask_BT == 0].any()


def test_attention_pooling_begins_as_the_mean_and_learns() -> None:
    pooling = AttentionPooling()
    with pytest.raises(ConfigError, match="call build"):
        pooling(*_states())
    pooling.build(SimpleNamespace(hidden_size=4))
    hidden_BTD, mask_BT = _states()
    torch.testing.assert_close(pooling(hidden_BTD, mask_BT), MeanPooling()(hidden_BTD, mask_BT))
    pooling(hidden_BTD, mask_BT)[:, 0].sum().backward()
    assert pooling.query_D.grad.abs().min() > 0


@every_pooling
def test_it_conforms(kind: type[Pooling]) -> None:
    check_pooling(kind)


@every_pooling
def test_gradients_are_those_of_finite_differences(kind: type[Pooling]) -> None:
    pooling = _made(kind, 4, torch.float64)
    hidden_BTD, mask_BT = _states(torch.float64)

    def pooled(states_BTD: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(pooling.named_parameters()), weights, strict=True))
        return torch.func.functional_call(pooling, named, (states_BTD, mask_BT))

    leaves = [hidden_BTD, *(p.detach().clone() for p in pooling.parameters())]
    assert torch.autograd.gradcheck(pooled, [leaf.requires_grad_() for leaf in leaves])


@every_pooling
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_row_keeps_its_type_and_bf16_is_close(kind: type[Pooling], dtype: torch.dtype) -> None:
    pooling = _made(kind, 4)
    hidden_BTD, mask_BT = _states()
    hidden_BTD = hidden_BTD.to(dtype)
    for row in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            vector_BD = pooling(hidden_BTD[row : row + 1], mask_BT[row : row + 1])
        assert vector_BD.shape == (1, 4)
        assert vector_BD.dtype == dtype
        exact = pooling(hidden_BTD[row : row + 1].float(), mask_BT[row : row + 1])
        torch.testing.assert_close(vector_BD.float(), exact, rtol=8e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [MeanPooling, MaxPooling, AttentionPooling])
@pytest.mark.parametrize("under", [float("nan"), float("inf"), 1e4])
def test_a_row_of_padding_is_zero_and_what_stands_there_reaches_no_gradient(
    kind: type[Pooling], under: float
) -> None:
    pooling = _made(kind, 4)
    hidden_BTD, mask_BT = _states()
    mask_BT[2] = 0
    wanted_BD = pooling(hidden_BTD, mask_BT)
    leaf_BTD = hidden_BTD.masked_fill(mask_BT.unsqueeze(-1) == 0, under).requires_grad_()
    vector_BD = pooling(leaf_BTD, mask_BT)
    assert torch.equal(vector_BD, wanted_BD)
    assert not vector_BD[2].any()
    vector_BD.square().sum().backward()
    assert torch.isfinite(leaf_BTD.grad).all()
    assert not leaf_BTD.grad[mask_BT == 0].any()
    assert all(torch.isfinite(p.grad).all() for p in pooling.parameters())


@pytest.mark.parametrize("kind", [MeanPooling, ClsPooling, MaxPooling])
def test_sentence_transformers_pools_alike(kind: type[Pooling]) -> None:
    models = pytest.importorskip(
        "sentence_transformers.sentence_transformer.modules",
        reason="the extra `bench` brings sentence-transformers",
    )
    pooling = kind()
    hidden_BTD, mask_BT = _states()
    peer = models.Pooling(4, pooling_mode=pooling.sentence_transformers_mode)
    theirs = peer({"token_embeddings": hidden_BTD, "attention_mask": mask_BT})["sentence_embedding"]
    torch.testing.assert_close(pooling(hidden_BTD, mask_BT), theirs)
