"""From token states to one vector a message. Axes: B messages, T tokens, D width."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from tocsin.arguments import RemembersArguments
from tocsin.errors import ConfigError

__all__ = ["AttentionPooling", "ClsPooling", "MaxPooling", "MeanPooling", "Pooling"]


class Pooling(RemembersArguments, nn.Module, ABC):
    """Role: `hidden_BTD, mask_BT` -> `vector_BD`; what padding holds must not matter.

    A pooling that learns makes its weights in `build`; a bundle then keeps them in `pooling.safetensors`.
    """

    def build(self, encoder_config: Any) -> None:
        """Create the weights, where there are any; called once, before the first forward.

        Args:
            encoder_config: The encoder's transformers configuration (`hidden_size` is D).
        """

    @abstractmethod
    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Pool token states `(B, T, D)` under a 0/1 mask `(B, T)` to vectors `(B, D)` of the same dtype."""

    @property
    @abstractmethod
    def sentence_transformers_mode(self) -> str | None:
        """The `pooling_mode` by which sentence-transformers knows this pooling, or None where it has no such mode."""


class MeanPooling(Pooling):
    """Mean of the states of real tokens, special tokens included; padding never counts."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Mean over T where the mask is 1, `(B, D)`; summed in float32, returned in the dtype of `hidden_BTD`."""
        # float32: bf16 sums of a hundred states lose the digits that distinguish messages.
        total_BD = _wide(_without_padding(hidden_BTD, mask_BT)).sum(1)
        return (total_BD / mask_BT.sum(1, keepdim=True, dtype=torch.float32).clamp(min=1.0)).to(
            hidden_BTD.dtype
        )

    @property
    def sentence_transformers_mode(self) -> str | None:
        """`mean`."""
        return "mean"


class ClsPooling(Pooling):
    """State of the first token (`[CLS]` or `<s>`). Wants a tokenizer that pads on the right."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """First state of each message, `(B, D)`."""
        return hidden_BTD[:, 0]

    @property
    def sentence_transformers_mode(self) -> str | None:
        """`cls`."""
        return "cls"


class MaxPooling(Pooling):
    """Largest value of each component over real tokens, special tokens included; 0 for a message without tokens."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Maximum over T where the mask is 1, `(B, D)`, in the dtype of `hidden_BTD`."""
        real_BT1 = mask_BT.bool().unsqueeze(-1)
        # The dtype's own lowest number: a fixed one such as -1e9 is an infinity in float16.
        lowest = torch.finfo(hidden_BTD.dtype).min
        largest_BD = hidden_BTD.masked_fill(~real_BT1, lowest).amax(1)
        return largest_BD.masked_fill(~real_BT1.any(1), 0.0)

    @property
    def sentence_transformers_mode(self) -> str | None:
        """`max`."""
        return "max"


class AttentionPooling(Pooling):
    """Mean of the states of real tokens, weighted by a softmax over their products with one learned query.

    The attention of Yang et al. (2016, "Hierarchical Attention Networks for Document Classification", NAACL) on the
    states themselves, without a layer of its own, and with the products divided by the square root of D. The query
    begins at zero: training starts from `MeanPooling`, and so does a probe. sentence-transformers knows no such pooling
    and is given none to load.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query_D: nn.Parameter | None = None

    def build(self, encoder_config: Any) -> None:
        """Create the query, D zeros."""
        self.query_D = nn.Parameter(torch.zeros(encoder_config.hidden_size))

    def weights(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """How much each token counts, `(B, T)` float32: sums to 1 over real tokens, 0 for padding."""
        if self.query_D is None:
            raise ConfigError("AttentionPooling has no weights yet: call build() first.")
        # Products and a sum, not a matrix product, which autocast would compute in bf16.
        scores_BT = (_wide(hidden_BTD) * _wide(self.query_D)).sum(-1) * hidden_BTD.shape[-1] ** -0.5
        padding_BT = ~mask_BT.bool()
        # Not minus infinity: the softmax of a row of nothing else is NaN.
        scores_BT = scores_BT.masked_fill(padding_BT, torch.finfo(scores_BT.dtype).min)
        return scores_BT.softmax(-1).masked_fill(padding_BT, 0.0)

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Weighted mean over T, `(B, D)`; summed in float32, in the dtype of `hidden_BTD`; 0 without real tokens."""
        hidden_BTD = _without_padding(hidden_BTD, mask_BT)
        weights_BT1 = self.weights(hidden_BTD, mask_BT).unsqueeze(-1)
        return (_wide(hidden_BTD) * weights_BT1).sum(1).to(hidden_BTD.dtype)

    @property
    def sentence_transformers_mode(self) -> str | None:
        """None."""
        return None


def _without_padding(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """States with 0 under padding. Not by a product: some encoders give NaN for a message without real tokens."""
    return hidden_BTD.masked_fill(~mask_BT.bool().unsqueeze(-1), 0.0)


def _wide(values: Tensor) -> Tensor:
    """In float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
