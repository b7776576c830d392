"""From token states to one vector a message. Axes: B messages, T tokens, D width."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from tocsin.arguments import RemembersArguments

__all__ = ["ClsPooling", "MeanPooling", "Pooling"]


class Pooling(RemembersArguments, nn.Module, ABC):
    """Role: `hidden_BTD, mask_BT` -> `vector_BD`; what padding holds must not matter."""

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
        weights_BT1 = mask_BT.unsqueeze(-1).to(torch.float32)
        # float32: bf16 sums of a hundred states lose the digits that distinguish messages.
        total_BD = (hidden_BTD.float() * weights_BT1).sum(1)
        return (total_BD / weights_BT1.sum(1).clamp(min=1.0)).to(hidden_BTD.dtype)

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
