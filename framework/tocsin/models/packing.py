"""Passes without padding: the real tokens of all messages in one row, which only attention takes apart.

A pass holds messages of unlike lengths, and what layers compute of the padding between them is thrown away. Packed,
they work on the real tokens alone, as in the unpadded BERT of Zeng et al. (2022, arXiv 2208.08124) and in MosaicBERT
(Portes et al. 2023, arXiv 2312.17482). Attention, a small part of the work at these lengths, sees them padded.
Axes: B messages, T tokens of the longest, N real tokens of all, D width, H heads, d width of a head.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tocsin.models.dropout import dropout

__all__ = ["Packing", "hidden_packed", "register_attention", "use_packed_attention"]

_NAME = "tocsin_packed"  # among transformers' attention functions
_OUT_OF_SIGHT = -1e30  # added to the scores of padding: exp() of it is 0, and bfloat16 holds it

# The architectures whose layers pass on to attention what the model is given, and where their positions begin.
_FROM_ZERO = ("bert", "electra")
_AFTER_PADDING = ("camembert", "roberta", "xlm-roberta")


class _Take(torch.autograd.Function):
    """Rows of a matrix by number. Each row of it is wanted at one place, `back`; the other places are padding, whose
    gradient is 0: so the gradient is taken, too, where torch's own would have to add up.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return rows.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None


class _Give(torch.autograd.Function):
    """Rows of a matrix at the places `back`; the gradient of its other rows, padding, is 0."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        ctx.places = len(rows)
        return rows.index_select(0, back)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        (given,) = gradients
        return given.new_zeros(ctx.places, given.shape[1]).index_copy_(0, back, given), None, None


class Packing:
    """Where the tokens of a padded pass stand in the packed one.

    Args:
        mask_BT: 1 for a real token, 0 for padding, `(B, T)`.

    Attributes:
        seen: Whether attention was given this object; else it took all messages for one.
    """

    def __init__(self, mask_BT: Tensor) -> None:
        self.messages, self.longest = mask_BT.shape
        self.real_N = mask_BT.flatten().nonzero().squeeze(1)
        self.seen = False
        self._mask_BT = mask_BT
        self._by_heads: tuple[Tensor, Tensor] | None = None
        self._bias: Tensor | None = None

    def pack(self, value_BT: Tensor) -> Tensor:
        """Of a value a token `(B, T)` those of the real ones, `(1, N)`."""
        return value_BT.flatten()[self.real_N].unsqueeze(0)

    def unpack(self, hidden_ND: Tensor) -> Tensor:
        """States `(B, T, D)` of packed ones; padding has 0."""
        empty = hidden_ND.new_zeros(self.messages * self.longest, hidden_ND.shape[1])
        return empty.index_copy(0, self.real_N, hidden_ND).view(self.messages, self.longest, -1)

    def heads_apart(self, value_1HNd: Tensor) -> Tensor:
        """Queries, keys or values `(1, H, N, d)` as `(B, H, T, d)`; padding repeats its message's first token."""
        _, heads, count, width = value_1HNd.shape
        there, back = self._places(heads)
        rows = value_1HNd.transpose(1, 2).reshape(count * heads, width)
        apart: Tensor = _Take.apply(rows, there, back)
        return apart.view(self.messages, heads, self.longest, width)

    def heads_together(self, value_BHTd: Tensor) -> Tensor:
        """The reverse, `(1, N, H, d)`."""
        heads, width = value_BHTd.shape[1], value_BHTd.shape[3]
        there, back = self._places(heads)
        together: Tensor = _Give.apply(value_BHTd.reshape(-1, width), there, back)
        return together.view(1, len(self.real_N), heads, width)

    def bias(self, dtype: torch.dtype) -> Tensor:
        """What is added to scores so that nobody attends to padding, `(B, 1, 1, T)`."""
        if self._bias is None or self._bias.dtype != dtype:
            self._bias = ((self._mask_BT == 0).to(dtype) * _OUT_OF_SIGHT)[:, None, None, :]
        return self._bias

    def _places(self, heads: int) -> tuple[Tensor, Tensor]:
        """For each place of `(B, H, T)` the row of `(N, H)` that stands there, and for each such row its place."""
        if self._by_heads is None:
            device = self.real_N.device
            count_B = self._mask_BT.count_nonzero(1)
            # One's own token, not any: a state that is not finite stays with its message.
            first_B = (count_B.cumsum(0) - count_B).clamp(max=len(self.real_N) - 1)
            token_BT = first_B.repeat_interleave(self.longest)
            token_BT[self.real_N] = torch.arange(len(self.real_N), device=device)
            head_H = torch.arange(heads, device=device)
            there = token_BT.view(self.messages, 1, self.longest) * heads + head_H.view(1, -1, 1)
            message_N, place_N = self.real_N // self.longest, self.real_N % self.longest
            back = (message_N[:, None] * heads + head_H) * self.longest + place_N[:, None]
            self._by_heads = there.flatten(), back.flatten()
        return self._by_heads


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,  # transformers' name
    scaling: float | None = None,
    packing: Packing | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: `(1, H, N, d)` each to `(1, N, H, d)`; without `packing`, its own."""
    if packing is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    packing.seen = True
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query_BHTd, key_BHTd, value_BHTd = (packing.heads_apart(part) for part in (query, key, value))
    if dropout:
        out_BHTd = _attend_dropping(query_BHTd, key_BHTd, value_BHTd, packing, scale, dropout)
    else:
        # torch's fused kernel for processors wants four axes.
        bias_B11T = packing.bias(query.dtype)
        out_BHTd = F.scaled_dot_product_attention(
            query_BHTd, key_BHTd, value_BHTd, attn_mask=bias_B11T, scale=scale
        )
    return packing.heads_together(out_BHTd), None


def _attend_dropping(
    query_BHTd: Tensor, key_BHTd: Tensor, value_BHTd: Tensor, packing: Packing, scale: float, p: float
) -> Tensor:
    """Attention with dropout, for which torch has no fused kernel on a processor; in float32 at least, as torch's."""
    messages, heads, longest, width = query_BHTd.shape
    dtype = torch.promote_types(query_BHTd.dtype, torch.float32)
    with torch.autocast(query_BHTd.device.type, enabled=False):
        query, key, value = (
            part.to(dtype).view(-1, longest, width) for part in (query_BHTd, key_BHTd, value_BHTd)
        )
        bias_G1T = packing.bias(dtype).expand(messages, heads, 1, longest).reshape(-1, 1, longest)
        scores_GTT = torch.baddbmm(bias_G1T, query, key.transpose(1, 2), alpha=scale)
        out_GTd = torch.bmm(dropout(scores_GTT.softmax(-1), p), value)
    return out_GTd.view(query_BHTd.shape).to(value_BHTd.dtype)


def use_packed_attention(model: Any) -> bool:
    """Let a transformers model take packed passes, where its architecture is known to.

    Returns:
        Whether it does.
    """
    config = model.config
    if config.model_type not in _FROM_ZERO + _AFTER_PADDING or getattr(config, "is_decoder", False):
        return False
    if config._attn_implementation not in ("sdpa", _NAME) or getattr(
        config, "chunk_size_feed_forward", False
    ):
        return False
    register_attention()
    model.set_attn_implementation(_NAME)
    return True


@cache
def register_attention() -> None:
    """Tell transformers of the attention function; a process that was handed a model needs it, too."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)


def hidden_packed(model: Any, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor | None:
    """Last hidden states `(B, T, D)` of a pass, 0 at padding.

    None where the model did not hand the packing to its attention, as another version of transformers might not: what
    it gave is of no use then, and it is made to take padded passes again.

    Args:
        model: One for which `use_packed_attention` said yes.
        input_ids_BT: Token ids.
        mask_BT: 1 for a real token, 0 for padding.
    """
    packing = Packing(mask_BT)
    if not len(packing.real_N):
        return model.get_input_embeddings()(input_ids_BT) * 0.0
    hidden = model(
        input_ids=packing.pack(input_ids_BT),
        position_ids=packing.pack(_positions(model.config, input_ids_BT)),
        packing=packing,
    ).last_hidden_state
    if packing.seen:
        return packing.unpack(hidden[0])
    model.set_attn_implementation("sdpa")
    return None


def _positions(config: Any, input_ids_BT: Tensor) -> Tensor:
    """Positions `(B, T)` as the architecture counts them."""
    if config.model_type in _FROM_ZERO:
        return torch.arange(input_ids_BT.shape[1], device=input_ids_BT.device).expand_as(input_ids_BT)
    # RoBERTa's family counts tokens other than padding, from after the padding id, which stays at its own.
    real_BT = (input_ids_BT != config.pad_token_id).long()
    return real_BT.cumsum(1) * real_BT + config.pad_token_id
