"""A head of two layers. Axes: B messages, T tokens, D width, H hidden, L labels."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tocsin.plugins import ConfigError, Head

__all__ = ["TemplateHead"]


class TemplateHead(Head):
    """Two layers on the pooled vector, so that labels can share what they learn.

    Args:
        hidden: Width of the layer between, in units, at least 1.
        dropout: Share of its units set to zero while training, 0 up to 1.
    """

    needs: ClassVar[str] = "vector"

    def __init__(self, hidden: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"TemplateHead: hidden is {hidden}; wanted at least 1.")
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(
                f"TemplateHead: dropout is {dropout}; wanted a share from 0 up to, not "
                "including, 1, such as 0.1."
            )
        self.hidden = hidden
        self.dropout = nn.Dropout(dropout)
        self.layers: nn.Sequential | None = None

    def build(
        self,
        encoder_config: Any,
        labels: int,
        pooler: dict[str, Tensor] | None = None,
    ) -> None:
        """Create the layers `D -> H -> L`; the encoder's pooler is not used."""
        between = nn.Linear(encoder_config.hidden_size, self.hidden)
        output = nn.Linear(self.hidden, labels)
        self.layers = nn.Sequential(between, nn.Tanh(), self.dropout, output)

    def forward(
        self,
        hidden_BTD: Tensor | None,
        mask_BT: Tensor | None,
        vector_BD: Tensor | None,
    ) -> Tensor:
        """Return logits `(B, L)` for the pooled vectors `(B, D)`."""
        if self.layers is None or vector_BD is None:
            raise ConfigError(
                "TemplateHead was called before build(), or without a pooled vector: set "
                "model.init_args.pooling, such as MeanPooling."
            )
        logits_BL: Tensor = self.layers(vector_BD)
        return logits_BL.to(torch.float32)
