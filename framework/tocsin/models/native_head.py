"""transformers' own classification heads, so that a bundle is an ordinary transformers folder.

Each architecture keeps its head's layers under other names; `LAYOUTS` is that table, read off the model classes of
transformers 5. All of them are dropout, dense, activation, dropout, output layer on the first token's state.
Axes: B messages, T tokens, D width, L labels.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tocsin.errors import ConfigError
from tocsin.models.heads import FeatureHead

__all__ = ["LAYOUTS", "NativeHead", "NativeLayout"]


@dataclass(frozen=True)
class NativeLayout:
    """Where an architecture's sequence classifier keeps its parts.

    Args:
        architecture: Class name that `config.json` names.
        encoder_prefix: Prefix of the encoder's weights in the classifier's state.
        dense: Name of the dense layer.
        output: Name of the output layer.
        activation: "tanh" or "relu", after the dense layer.
        dropout_before: Whether dropout also stands before the dense layer.
        dropout_from: Names in the configuration that give the dropout rate, first that is set.
        pooler: Whether the dense layer is the base model's own pooler, trained with it.
    """

    architecture: str
    encoder_prefix: str
    dense: str
    output: str
    activation: str
    dropout_before: bool
    dropout_from: tuple[str, ...]
    pooler: bool


_ROBERTA = {
    "dense": "classifier.dense",
    "output": "classifier.out_proj",
    "activation": "tanh",
    "dropout_before": True,
    "dropout_from": ("classifier_dropout", "hidden_dropout_prob"),
    "pooler": False,
}
LAYOUTS: dict[str, NativeLayout] = {
    "bert": NativeLayout(
        architecture="BertForSequenceClassification",
        encoder_prefix="bert.",
        dense="bert.pooler.dense",
        output="classifier",
        activation="tanh",
        dropout_before=False,
        dropout_from=("classifier_dropout", "hidden_dropout_prob"),
        pooler=True,
    ),
    "roberta": NativeLayout("RobertaForSequenceClassification", "roberta.", **_ROBERTA),  # type: ignore[arg-type]
    "xlm-roberta": NativeLayout("XLMRobertaForSequenceClassification", "roberta.", **_ROBERTA),  # type: ignore[arg-type]
    "distilbert": NativeLayout(
        architecture="DistilBertForSequenceClassification",
        encoder_prefix="distilbert.",
        dense="pre_classifier",
        output="classifier",
        activation="relu",
        dropout_before=False,
        dropout_from=("seq_classif_dropout",),
        pooler=False,
    ),
}


class NativeHead(FeatureHead):
    """The classification head that transformers itself has for the encoder's architecture.

    Reads the first token's state through a dense layer. The bundle is then a folder that
    `transformers.pipeline("text-classification")` loads. Known architectures: BERT (keeps its trained pooler),
    RoBERTa, XLM-R, DistilBERT.

    Args:
        dropout: Share of components set to zero while training, 0 to 1; null takes the encoder's own setting.
        identity_scale: With a probe start, a freshly made dense layer begins as this multiple of the identity. Small,
            so that tanh works in its linear part and the probe's logits come out unchanged.
    """

    needs: ClassVar[str] = "tokens"

    def __init__(self, dropout: float | None = None, identity_scale: float = 0.1) -> None:
        super().__init__()
        if dropout is not None and not 0.0 <= dropout < 1.0:
            raise ConfigError(
                f"NativeHead: dropout is {dropout}; wanted a share from 0 up to, not including, 1."
            )
        self.rate = dropout
        self.identity_scale = identity_scale
        self.layout: NativeLayout | None = None
        self.dense: nn.Linear | None = None
        self.out: nn.Linear | None = None
        self.dropout = nn.Dropout(0.0)
        self._pretrained_dense = False

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        """Create the dense and output layers as transformers would, with the trained pooler where there is one.

        Raises:
            ConfigError: The architecture has no native head here.
        """
        kind = encoder_config.model_type
        if kind not in LAYOUTS:
            raise ConfigError(
                f"NativeHead knows the architectures {', '.join(sorted(LAYOUTS))}; this encoder is {kind!r}. "
                "Use LinearHead with a pooling instead."
            )
        self.layout = LAYOUTS[kind]
        width = encoder_config.hidden_size
        std = getattr(encoder_config, "initializer_range", 0.02)
        self.dense, self.out = nn.Linear(width, width), nn.Linear(width, labels)
        for layer in (self.dense, self.out):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        self._pretrained_dense = self.layout.pooler and pooler is not None
        if self._pretrained_dense and pooler is not None:
            with torch.no_grad():
                self.dense.weight.copy_(pooler["dense.weight"])
                self.dense.bias.copy_(pooler["dense.bias"])
        rate = self.rate
        for name in self.layout.dropout_from:
            rate = getattr(encoder_config, name, None) if rate is None else rate
        self.dropout.p = 0.0 if rate is None else float(rate)

    def _layers(self) -> tuple[NativeLayout, nn.Linear, nn.Linear]:
        if self.layout is None or self.dense is None or self.out is None:
            raise ConfigError("NativeHead has no weights yet: call build() first.")
        return self.layout, self.dense, self.out

    def output(self) -> nn.Linear:
        """The output layer, `D -> L`."""
        return self._layers()[2]

    def open_for_probe(self) -> None:
        """Make a fresh dense layer a multiple of the identity; a trained pooler stays as it is."""
        layout, dense, _ = self._layers()
        if self._pretrained_dense:
            return
        # ReLU has no linear part around zero: the probe then reads the positive half of each component.
        scale = self.identity_scale if layout.activation == "tanh" else 1.0
        with torch.no_grad():
            dense.weight.copy_(torch.eye(dense.in_features) * scale)
            dense.bias.zero_()

    def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
        """First token's state, `(B, D)`."""
        return hidden_BTD[:, 0]

    def penultimate(self, features_BF: Tensor) -> Tensor:
        """After dense and activation, `(B, D)`."""
        layout, dense, _ = self._layers()
        return (
            torch.tanh(dense(features_BF)) if layout.activation == "tanh" else torch.relu(dense(features_BF))
        )

    def classify(self, features_BF: Tensor) -> Tensor:
        """Logits `(B, L)`."""
        layout, _, out = self._layers()
        if layout.dropout_before:
            features_BF = self.dropout(features_BF)
        return out(self.dropout(self.penultimate(features_BF)))

    def native_state(self) -> dict[str, Tensor]:
        """Weights under the names of transformers' classifier."""
        layout, dense, out = self._layers()
        return {
            f"{layout.dense}.weight": dense.weight.detach(),
            f"{layout.dense}.bias": dense.bias.detach(),
            f"{layout.output}.weight": out.weight.detach(),
            f"{layout.output}.bias": out.bias.detach(),
        }

    def load_native_state(self, state: dict[str, Tensor]) -> None:
        """Take weights from a state that has transformers' names; other names in it are left alone."""
        layout, dense, out = self._layers()
        with torch.no_grad():
            for name, layer in ((layout.dense, dense), (layout.output, out)):
                layer.weight.copy_(state[f"{name}.weight"])
                layer.bias.copy_(state[f"{name}.bias"])
