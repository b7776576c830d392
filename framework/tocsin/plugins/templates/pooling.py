"""Max pooling. Axes: B messages, T tokens, D width."""

import torch
from torch import Tensor

from tocsin.plugins import Pooling

__all__ = ["TemplatePooling"]


class TemplatePooling(Pooling):
    """Largest value of each component over the real tokens; padding never counts."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the maximum over T where the mask is 1, `(B, D)`; 0 without tokens."""
        real_BT1 = mask_BT.bool().unsqueeze(-1)
        lowest = torch.finfo(hidden_BTD.dtype).min
        largest_BD = hidden_BTD.masked_fill(~real_BT1, lowest).amax(dim=1)
        return largest_BD.masked_fill(~real_BT1.any(dim=1), 0.0)

    @property
    def sentence_transformers_mode(self) -> str | None:
        """The name by which sentence-transformers knows it, for the bundle."""
        return "max"
