"""From what the encoder saw to label logits. Axes: B messages, T tokens, D width, F features, L labels."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tocsin.arguments import RemembersArguments
from tocsin.errors import ConfigError

__all__ = ["FeatureHead", "Head", "LinearHead"]


class Head(RemembersArguments, nn.Module, ABC):
    """Role: token states (or a pooled vector) -> `logits_BL`.

    `needs` says which: "vector" heads are given `vector_BD` by the model's pooling, "tokens" heads read
    `hidden_BTD` and `mask_BT` themselves and take `pooling: null`.
    """

    needs: ClassVar[str]

    @abstractmethod
    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        """Create the weights; called once, before the first forward.

        Args:
            encoder_config: The encoder's transformers configuration (`hidden_size`, `model_type`, dropout rates).
            labels: Number of labels L.
            pooler: Weights of the encoder's own trained pooler (`dense.weight`, `dense.bias`) where it has one.
        """

    @abstractmethod
    def forward(self, hidden_BTD: Tensor | None, mask_BT: Tensor | None, vector_BD: Tensor | None) -> Tensor:
        """Return logits `(B, L)`."""


class FeatureHead(Head):
    """A head that reads one vector a message, so that a frozen encoder's vectors can be computed once.

    `forward` is `classify(features(...))`. Such a head can also start from a linear probe: `open_for_probe` puts
    whatever lies before the output layer into a known state, `penultimate` gives what the output layer sees, and
    `set_output` takes the fitted weights (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054).
    """

    @abstractmethod
    def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
        """Pick or pool the one vector a message that the head reads, `(B, F)`; holds no weights of the head."""

    @abstractmethod
    def penultimate(self, features_BF: Tensor) -> Tensor:
        """What the output layer sees, `(B, F)`, before dropout."""

    @abstractmethod
    def output(self) -> nn.Linear:
        """The output layer, `F -> L`."""

    @abstractmethod
    def open_for_probe(self) -> None:
        """Put the layers before the output layer into a state that a probe can start from."""

    @abstractmethod
    def classify(self, features_BF: Tensor) -> Tensor:
        """Logits `(B, L)` from features `(B, F)`, with dropout while training."""

    def forward(self, hidden_BTD: Tensor | None, mask_BT: Tensor | None, vector_BD: Tensor | None) -> Tensor:
        """Return logits `(B, L)`."""
        if hidden_BTD is None or mask_BT is None:
            raise ConfigError(
                f"{type(self).__name__} was called without token states; call classify() on features."
            )
        return self.classify(self.features(hidden_BTD, mask_BT, vector_BD))

    def set_output(self, weight_LF: Tensor, bias_L: Tensor) -> None:
        """Copy the weights of a fitted probe into the output layer."""
        layer = self.output()
        with torch.no_grad():
            layer.weight.copy_(weight_LF)
            layer.bias.copy_(bias_L)


class LinearHead(FeatureHead):
    """One linear layer on the pooled vector.

    Args:
        dropout: Share of the vector's components set to zero while training, 0 to 1.
    """

    needs: ClassVar[str] = "vector"

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(
                f"LinearHead: dropout is {dropout}; wanted a share from 0 up to, not including, 1."
            )
        self.dropout = nn.Dropout(dropout)
        self.linear: nn.Linear | None = None

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        """Create the layer `D -> L`, normal(0, initializer_range) as transformers' heads are."""
        self.linear = nn.Linear(encoder_config.hidden_size, labels)
        nn.init.normal_(self.linear.weight, std=getattr(encoder_config, "initializer_range", 0.02))
        nn.init.zeros_(self.linear.bias)

    def output(self) -> nn.Linear:
        """The one layer."""
        if self.linear is None:
            raise ConfigError("LinearHead has no weights yet: call build() first.")
        return self.linear

    def open_for_probe(self) -> None:
        """Nothing lies before the output layer."""

    def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
        """The pooled vector."""
        if vector_BD is None:
            raise ConfigError(
                "LinearHead reads a pooled vector: set model.init_args.pooling, for instance MeanPooling."
            )
        return vector_BD

    def penultimate(self, features_BF: Tensor) -> Tensor:
        """The features themselves."""
        return features_BF

    def classify(self, features_BF: Tensor) -> Tensor:
        """Logits `(B, L)`."""
        return self.output()(self.dropout(features_BF))
