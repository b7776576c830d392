"""Attention to tokens per label. Axes: B messages, T tokens, D width, L labels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tocsin.plugins import ConfigError, Head

__all__ = ["LabelAttentionHead"]


class LabelAttentionHead(Head):
    """Each label looks at the tokens that speak for it: attention per label, then one linear layer per label.

    After CAML (Mullenbach, Wiegreffe, Duke, Sun and Eisenstein 2018, arXiv 1802.05695), with a transformer's token
    states in place of its convolution: label l has a query u_l, a weight vector β_l and a bias b_l,
    `a_tl = softmax over t of h_t·u_l` and `logit_l = β_l · Σ_t a_tl h_t + b_l`. Wants `pooling: null`.

    Cost for L labels: 2·D·L weights, 4·B·T·D·L operations forward and a few float32 arrays of B·T·L numbers. Vectors a
    message and label, B·L·D numbers, are never made.

    Args:
        dropout: Share of the token states' components set to zero while training, from 0 up to, not including, 1.
        query_std: Standard deviation of the queries at the start, 0 or more. With 0 every label begins by looking at
            all tokens alike: the head starts as mean pooling with a linear layer, whatever the scale of the states.
    """

    needs: ClassVar[str] = "tokens"

    def __init__(self, dropout: float = 0.1, query_std: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(
                f"LabelAttentionHead: dropout is {dropout}; wanted a share from 0 up to, not including, 1."
            )
        if not query_std >= 0.0:
            raise ConfigError(
                f"LabelAttentionHead: query_std is {query_std}; wanted 0 or more, such as 0.02."
            )
        self.dropout = nn.Dropout(dropout)
        self.query_std = query_std
        self.query: nn.Linear | None = None
        self.weight: nn.Linear | None = None

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        """Create queries u `(L, D)`, weights β `(L, D)` and biases b `(L,)`; an encoder's own pooler is not used."""
        width = encoder_config.hidden_size
        self.query, self.weight = nn.Linear(width, labels, bias=False), nn.Linear(width, labels, bias=False)
        self.bias = nn.Parameter(torch.zeros(labels))
        nn.init.normal_(self.query.weight, std=self.query_std)
        nn.init.normal_(self.weight.weight, std=getattr(encoder_config, "initializer_range", 0.02))

    def attention(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """How much each label looks at each token, `(B, T, L)` float32.

        Sums to 1 over the real tokens of a message and is 0 on padding, so 0 everywhere where the mask is all 0.
        """
        if self.query is None:
            raise ConfigError("LabelAttentionHead has no weights yet: call build() first.")
        real_BT1 = mask_BT.bool().unsqueeze(-1)
        # float32 under autocast too: bfloat16 has three digits, and the exponential magnifies what they lose.
        scores_BTL = self.query(hidden_BTD).float()
        # The lowest number, not -inf: a message without any real token would give 0/0.
        scores_BTL = scores_BTL.masked_fill(~real_BT1, torch.finfo(torch.float32).min)
        return torch.softmax(scores_BTL, dim=1) * real_BT1

    def forward(self, hidden_BTD: Tensor | None, mask_BT: Tensor | None, vector_BD: Tensor | None) -> Tensor:
        """Logits `(B, L)` in float32; a message without any real token gets the biases."""
        if hidden_BTD is None or mask_BT is None or self.weight is None:
            raise ConfigError("LabelAttentionHead reads token states and their mask, after build().")
        hidden_BTD = self.dropout(hidden_BTD)
        attention_BTL = self.attention(hidden_BTD, mask_BT)
        # β·(Σ a h) is Σ a (β·h). Weighing the products instead of the states needs no (B, L, D) array: B·T is bounded
        # by tokens_per_pass, while B alone is large where messages are short.
        return (attention_BTL * self.weight(hidden_BTD)).sum(1) + self.bias
