"""From what the encoder saw to label logits. Axes: B messages, T tokens, D width, F features, L labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tocsin.arguments import RemembersArguments
from tocsin.errors import ConfigError

__all__ = ["FeatureHead", "Head", "LinearHead", "MlpHead"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


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

    @property
    def reads(self) -> str:
        """What `features` depends on beside the head's arguments, such as a setting of the encoder's configuration.

        Features are cached under it, and two encoders of equal weights may differ in it. Empty where there is nothing.
        """
        return ""

    @abstractmethod
    def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
        """Pick or pool the one vector a message that the head reads, `(B, F)`; holds no weights of the head."""

    @abstractmethod
    def penultimate(self, features_BF: Tensor) -> Tensor:
        """What the output layer sees, one vector a message, before dropout."""

    @abstractmethod
    def output(self) -> nn.Linear:
        """The output layer, from the width of `penultimate` to L."""

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


class MlpHead(FeatureHead):
    """Two linear layers on the pooled vector, with an activation between them.

    A frozen encoder's vectors are computed once, as for `LinearHead`. With a probe start the first layer begins as a
    rotation of the vector (a projection where `hidden` is smaller than the encoder's width, which loses what it does
    not keep), and the probe is fitted on what comes out of the activation.

    Args:
        hidden: Width of the layer between, in components; null for the encoder's width.
        activation: After the first layer.
        dropout: Share of the vector's and the hidden layer's components set to zero while training, 0 to 1.
        probe_scale: With a probe start, the rotation's factor. Small, so that tanh and GELU work in their linear part
            and lose little; ReLU loses the negative half of each component at any scale.
    """

    needs: ClassVar[str] = "vector"

    def __init__(
        self,
        hidden: int | None = None,
        activation: Literal["gelu", "relu", "tanh"] = "gelu",
        dropout: float = 0.1,
        probe_scale: float = 0.1,
    ) -> None:
        super().__init__()
        if hidden is not None and hidden < 1:
            raise ConfigError(f"MlpHead: hidden is {hidden}; wanted at least 1 component, or null.")
        if activation not in _ACTIVATIONS:
            raise ConfigError(
                f"MlpHead: activation is {activation!r}; wanted one of {', '.join(_ACTIVATIONS)}."
            )
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(
                f"MlpHead: dropout is {dropout}; wanted a share from 0 up to, not including, 1."
            )
        if not probe_scale > 0.0:
            raise ConfigError(f"MlpHead: probe_scale is {probe_scale}; wanted a factor above 0, such as 0.1.")
        self.hidden, self.probe_scale = hidden, probe_scale
        self.activation = _ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)
        self.dense: nn.Linear | None = None
        self.linear: nn.Linear | None = None

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        """Create the layers `D -> H -> L`, normal(0, initializer_range) as transformers' heads are."""
        width = encoder_config.hidden_size
        hidden = width if self.hidden is None else self.hidden
        self.dense, self.linear = nn.Linear(width, hidden), nn.Linear(hidden, labels)
        for layer in (self.dense, self.linear):
            nn.init.normal_(layer.weight, std=getattr(encoder_config, "initializer_range", 0.02))
            nn.init.zeros_(layer.bias)

    def _layers(self) -> tuple[nn.Linear, nn.Linear]:
        if self.dense is None or self.linear is None:
            raise ConfigError("MlpHead has no weights yet: call build() first.")
        return self.dense, self.linear

    def output(self) -> nn.Linear:
        """The last layer, `H -> L`."""
        return self._layers()[1]

    def open_for_probe(self) -> None:
        """Make the first layer a rotation, times `probe_scale`; the same one on every rank."""
        dense, _ = self._layers()
        rotation_HD = torch.empty(dense.weight.shape)
        nn.init.orthogonal_(rotation_HD, self.probe_scale, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            dense.weight.copy_(rotation_HD)
            dense.bias.zero_()

    def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
        """The pooled vector."""
        if vector_BD is None:
            raise ConfigError(
                "MlpHead reads a pooled vector: set model.init_args.pooling, for instance MeanPooling."
            )
        return vector_BD

    def penultimate(self, features_BF: Tensor) -> Tensor:
        """After the first layer and its activation, `(B, H)`."""
        return self.activation(self._layers()[0](features_BF))

    def classify(self, features_BF: Tensor) -> Tensor:
        """Logits `(B, L)`."""
        return self.output()(self.dropout(self.penultimate(self.dropout(features_BF))))
