"""The head's mathematics against loops that follow the paper. Axes: B messages, T tokens, D width, L labels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tocsin.plugins import ConfigError
from tocsin_label_attention.head import LabelAttentionHead

WIDTH = 8


def make_head(
    labels: int = 3, width: int = WIDTH, query_std: float = 1.0, **options: float
) -> LabelAttentionHead:
    """A built head in evaluation mode whose queries, weights and biases are all far from zero."""
    head = LabelAttentionHead(query_std=query_std, **options)
    head.build(SimpleNamespace(hidden_size=width, initializer_range=0.5), labels)
    torch.nn.init.normal_(head.bias)
    return head.eval()


def some_tokens(messages: int = 4, tokens: int = 6, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    """Random states, and a mask with holes in which the first token of each message is real."""
    mask_BT = (torch.rand(messages, tokens) < 0.6).long()
    mask_BT[:, 0] = 1
    return torch.randn(messages, tokens, width), mask_BT


def by_the_paper(head: LabelAttentionHead, hidden_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the vectors `(B, L, D)` that they are read from: padding dropped, one label at a time."""
    assert head.query is not None
    assert head.weight is not None
    logits, contexts = [], []
    for states_TD, mask_T in zip(hidden_BTD, mask_BT, strict=True):
        real_TD = states_TD[mask_T == 1]
        for u_D, beta_D, b in zip(head.query.weight, head.weight.weight, head.bias, strict=True):
            exponentials_T = torch.stack([torch.exp(torch.dot(h_D, u_D)) for h_D in real_TD])
            context_D = (
                sum(e * h_D for e, h_D in zip(exponentials_T, real_TD, strict=True)) / exponentials_T.sum()
            )
            contexts.append(context_D)
            logits.append(torch.dot(beta_D, context_D) + b)
    shape = (len(hidden_BTD), len(head.bias))
    return torch.stack(logits).reshape(shape), torch.stack(contexts).reshape(*shape, -1)


@pytest.mark.parametrize(
    ("messages", "tokens", "labels"), [(4, 6, 3), (1, 6, 3), (4, 1, 3), (4, 6, 1), (2, 5, 500)]
)
def test_it_is_the_papers_formula(messages: int, tokens: int, labels: int) -> None:
    head, (hidden_BTD, mask_BT) = make_head(labels), some_tokens(messages, tokens)
    expected_BL, _ = by_the_paper(head, hidden_BTD, mask_BT)
    torch.testing.assert_close(head(hidden_BTD, mask_BT, None), expected_BL, atol=1e-5, rtol=1e-5)


def test_its_gradients_are_those_of_the_papers_formula() -> None:
    head, (hidden_BTD, mask_BT) = make_head(), some_tokens()
    leaves = [hidden_BTD.requires_grad_(), *head.parameters()]
    scale_BL = torch.randn(len(hidden_BTD), 3)
    own = torch.autograd.grad((head(hidden_BTD, mask_BT, None) * scale_BL).sum(), leaves)
    expected = torch.autograd.grad((by_the_paper(head, hidden_BTD, mask_BT)[0] * scale_BL).sum(), leaves)
    assert len(own) == 4
    for one, other in zip(own, expected, strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert own[0][mask_BT == 0].abs().max() == 0


def test_attention_gives_the_papers_vectors() -> None:
    head, (hidden_BTD, mask_BT) = make_head(), some_tokens()
    contexts_BLD = torch.einsum("btl,btd->bld", head.attention(hidden_BTD, mask_BT), hidden_BTD)
    torch.testing.assert_close(contexts_BLD, by_the_paper(head, hidden_BTD, mask_BT)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.long, torch.float32, torch.bool])
def test_attention_sums_to_one_over_real_tokens(kind: torch.dtype) -> None:
    head, (hidden_BTD, mask_BT) = make_head(), some_tokens()
    attention_BTL = head.attention(hidden_BTD, mask_BT.to(kind))
    assert attention_BTL.shape == (4, 6, 3)
    torch.testing.assert_close(attention_BTL.sum(1), torch.ones(4, 3))
    assert (attention_BTL[mask_BT == 0] == 0).all()
    assert (attention_BTL[mask_BT == 1] > 0).all()


def test_what_padding_holds_and_how_long_it_is_does_not_matter() -> None:
    head, (hidden_BTD, mask_BT) = make_head(), some_tokens()
    longer_BTD = torch.cat([hidden_BTD, torch.zeros(4, 5, WIDTH)], dim=1)
    longer_BT = torch.cat([mask_BT, torch.zeros(4, 5, dtype=torch.long)], dim=1)
    longer_BTD[longer_BT == 0] = 1e4
    expected_BL = head(hidden_BTD, mask_BT, None)
    torch.testing.assert_close(head(longer_BTD, longer_BT, None), expected_BL, atol=1e-6, rtol=1e-5)


def test_a_message_without_a_real_token_gets_the_biases() -> None:
    head, (hidden_BTD, mask_BT) = make_head(), some_tokens()
    mask_BT[1] = 0
    hidden_BTD.requires_grad_()
    logits_BL = head(hidden_BTD, mask_BT, None)
    torch.testing.assert_close(logits_BL[1], head.bias.detach())
    assert (head.attention(hidden_BTD, mask_BT)[1] == 0).all()
    logits_BL.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in [hidden_BTD, *head.parameters()])
    others = [0, 2, 3]
    torch.testing.assert_close(logits_BL[others], head(hidden_BTD[others], mask_BT[others], None))


def test_it_starts_as_mean_pooling_with_a_linear_layer() -> None:
    head, (hidden_BTD, mask_BT) = make_head(query_std=0.0), some_tokens()
    means_BD = torch.stack([h[m == 1].mean(0) for h, m in zip(hidden_BTD, mask_BT, strict=True)])
    expected_BL = means_BD @ head.weight.weight.T + head.bias
    torch.testing.assert_close(head(hidden_BTD, mask_BT, None), expected_BL, atol=1e-5, rtol=1e-5)
    head(hidden_BTD, mask_BT, None).sum().backward()
    # Queries of zero are no dead end: the first step moves each of them, and each elsewhere.
    gradient_LD = head.query.weight.grad
    assert (gradient_LD.norm(dim=1) > 0.01).all()
    assert not torch.allclose(gradient_LD[0], gradient_LD[1])


def test_query_std_is_the_standard_deviation_of_the_queries() -> None:
    assert make_head(500, 64, query_std=0.3).query.weight.std().item() == pytest.approx(0.3, rel=0.05)


def test_dropout_acts_while_training_alone() -> None:
    head, (hidden_BTD, mask_BT) = make_head(dropout=0.5), some_tokens()
    torch.testing.assert_close(
        head(hidden_BTD, mask_BT, None), head(hidden_BTD, mask_BT, None), atol=0, rtol=0
    )
    head.train()
    assert not torch.allclose(head(hidden_BTD, mask_BT, None), head(hidden_BTD, mask_BT, None))


def test_under_bfloat16_autocast_the_softmax_and_the_logits_stay_float32() -> None:
    head, (hidden_BTD, mask_BT) = make_head(), some_tokens(tokens=40)
    expected_BL = head(hidden_BTD, mask_BT, None)
    with torch.autocast("cpu", torch.bfloat16):
        attention_BTL, logits_BL = head.attention(hidden_BTD, mask_BT), head(hidden_BTD, mask_BT, None)
    assert attention_BTL.dtype == logits_BL.dtype == torch.float32
    # Rounded to bfloat16, the 40 shares of a message miss 1 by about .002.
    torch.testing.assert_close(attention_BTL.sum(1), torch.ones(4, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(logits_BL, expected_BL, atol=0.1, rtol=0.05)


def test_weights_in_bfloat16_give_float32_logits_too() -> None:
    head, (hidden_BTD, mask_BT) = make_head(), some_tokens()
    expected_BL = head(hidden_BTD, mask_BT, None)
    logits_BL = head.to(torch.bfloat16)(hidden_BTD.to(torch.bfloat16), mask_BT, None)
    assert logits_BL.dtype == torch.float32
    torch.testing.assert_close(logits_BL, expected_BL, atol=0.1, rtol=0.05)


def test_500_labels_need_no_vector_a_message_and_label() -> None:
    messages, tokens, width, labels = 32, 4, 64, 500
    head = make_head(labels, width)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        head(*some_tokens(messages, tokens, width), None).sum().backward()
    assert max(kept) == messages * tokens * labels  # against messages * labels * width, 16 times as many
    assert sum(kept) < 6 * messages * tokens * labels


@pytest.mark.parametrize("options", [{"dropout": 1.0}, {"dropout": -0.1}, {"query_std": -1.0}])
def test_an_option_out_of_range_is_refused_by_name(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"LabelAttentionHead: {name} is"):
        LabelAttentionHead(**options)


def test_it_says_when_it_is_called_too_early_or_without_tokens() -> None:
    hidden_BTD, mask_BT = some_tokens()
    for call in (LabelAttentionHead().attention, lambda *tokens: LabelAttentionHead()(*tokens, None)):
        with pytest.raises(ConfigError, match=r"build\(\)"):
            call(hidden_BTD, mask_BT)
    with pytest.raises(ConfigError, match="token states"):
        make_head()(None, None, torch.randn(4, WIDTH))


def test_it_conforms() -> None:
    from tocsin.plugins.testing import check_head

    check_head(LabelAttentionHead)
    check_head(LabelAttentionHead, dropout=0.3, query_std=0.02)
