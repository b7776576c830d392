"""transformers' own classification heads, so that a bundle is an ordinary transformers folder.

Each architecture keeps its head's layers under other names; `LAYOUTS` is that table, read off the model classes of
transformers 5. All of them are dropout, dense, activation, norm, dropout, output layer, some without the first dropout
and most without the norm, on the first token's state or (ModernBERT, where its configuration says so) the mean.
Axes: B messages, T tokens, D width, L labels.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
        activation: After the dense layer, by transformers' name for it; or, behind "config.", the configuration's entry
            that names it.
        dropout_before: Names in the configuration that give the rate of the dropout before the dense layer, first that
            is set; empty where there is none.
        dropout_from: The same for the dropout before the output layer.
        pooler: Whether the dense layer is the base model's own pooler, trained with it.
        norm: Name of the layer norm between activation and output; empty where there is none.
    """

    architecture: str
    encoder_prefix: str
    dense: str
    output: str
    activation: str
    dropout_before: tuple[str, ...]
    dropout_from: tuple[str, ...]
    pooler: bool
    norm: str = ""


_ROBERTA: dict[str, Any] = {
    "dense": "classifier.dense",
    "output": "classifier.out_proj",
    "activation": "tanh",
    "dropout_before": ("classifier_dropout", "hidden_dropout_prob"),
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
        dropout_before=(),
        dropout_from=("classifier_dropout", "hidden_dropout_prob"),
        pooler=True,
    ),
    "roberta": NativeLayout("RobertaForSequenceClassification", "roberta.", **_ROBERTA),
    "xlm-roberta": NativeLayout("XLMRobertaForSequenceClassification", "roberta.", **_ROBERTA),
    "distilbert": NativeLayout(
        architecture="DistilBertForSequenceClassification",
        encoder_prefix="distilbert.",
        dense="pre_classifier",
        output="classifier",
        activation="relu",
        dropout_before=(),
        dropout_from=("seq_classif_dropout",),
        pooler=False,
    ),
    "deberta-v2": NativeLayout(
        architecture="DebertaV2ForSequenceClassification",
        encoder_prefix="deberta.",
        dense="pooler.dense",
        output="classifier",
        activation="config.pooler_hidden_act",
        dropout_before=("pooler_dropout",),
        dropout_from=("cls_dropout", "hidden_dropout_prob"),
        pooler=False,
    ),
    "modernbert": NativeLayout(
        architecture="ModernBertForSequenceClassification",
        encoder_prefix="model.",
        dense="head.dense",
        output="classifier",
        activation="config.classifier_activation",
        dropout_before=(),
        dropout_from=("classifier_dropout",),
        pooler=False,
        norm="head.norm",
    ),
}


class NativeHead(FeatureHead):
    """The classification head that transformers itself has for the encoder's architecture.

    Reads the first token's state through a dense layer; with ModernBERT, the mean of real tokens' states where its
    configuration has `classifier_pooling: mean`. The bundle is then a folder that
    `transformers.pipeline("text-classification")` loads. Known architectures: BERT (keeps its trained pooler),
    RoBERTa, XLM-R, DistilBERT, DeBERTa-v2 (and v3, which is one), ModernBERT.

    Args:
        dropout: Share of components set to zero while training, 0 to 1; null takes the encoder's own settings.
        identity_scale: With a probe start, a freshly made dense layer begins as this multiple of the identity. Small,
            so that tanh and GELU work in their linear part and the probe's logits come out unchanged.
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
        self.pools: Literal["cls", "mean"] = "cls"
        self.dense: nn.Linear | None = None
        self.norm: nn.LayerNorm | None = None
        self.out: nn.Linear | None = None
        self.dropout_before = nn.Dropout(0.0)
        self.dropout = nn.Dropout(0.0)
        self.activation: nn.Module = nn.Tanh()
        self._activation = "tanh"
        self._pretrained_dense = False

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        """Create the dense and output layers as transformers would, with the trained pooler where there is one.

        Raises:
            ConfigError: The architecture has no native head here.
        """
        from transformers.activations import ACT2FN

        kind = encoder_config.model_type
        if kind not in LAYOUTS:
            raise ConfigError(
                f"NativeHead knows the architectures {', '.join(sorted(LAYOUTS))}; this encoder is {kind!r}. "
                "Use LinearHead with a pooling instead."
            )
        self.layout = LAYOUTS[kind]
        width = encoder_config.hidden_size
        self.dense = nn.Linear(width, width, bias=getattr(encoder_config, "classifier_bias", True))
        self.out = nn.Linear(width, labels)
        if self.layout.norm:
            self.norm = nn.LayerNorm(width, eps=encoder_config.norm_eps, bias=encoder_config.norm_bias)
        self.pools = getattr(encoder_config, "classifier_pooling", "cls")
        _, named, entry = self.layout.activation.partition("config.")
        self._activation = getattr(encoder_config, entry) if named else self.layout.activation
        self.activation = ACT2FN[self._activation]
        std = getattr(encoder_config, "initializer_range", 0.02)
        for layer in (self.dense, self.out):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self._pretrained_dense = self.layout.pooler and pooler is not None
        if self._pretrained_dense and pooler is not None:
            with torch.no_grad():
                self.dense.weight.copy_(pooler["dense.weight"])
                self.dense.bias.copy_(pooler["dense.bias"])
        for dropout, names in (
            (self.dropout_before, self.layout.dropout_before),
            (self.dropout, self.layout.dropout_from),
        ):
            rates = [self.rate, *(getattr(encoder_config, name, None) for name in names)]
            dropout.p = float(next((rate for rate in rates if rate is not None), 0.0)) if names else 0.0

    def _layers(self) -> tuple[NativeLayout, nn.Linear, nn.Linear]:
        if self.layout is None or self.dense is None or self.out is None:
            raise ConfigError("NativeHead has no weights yet: call build() first.")
        return self.layout, self.dense, self.out

    @property
    def reads(self) -> str:
        """The first token or the mean: ModernBERT's configuration says which."""
        return self.pools

    def output(self) -> nn.Linear:
        """The output layer, `D -> L`."""
        return self._layers()[2]

    def open_for_probe(self) -> None:
        """Make a fresh dense layer a multiple of the identity; a trained pooler stays as it is."""
        _, dense, _ = self._layers()
        if self._pretrained_dense:
            return
        # ReLU has no linear part around zero: the probe then reads the positive half of each component.
        scale = 1.0 if self._activation == "relu" else self.identity_scale
        with torch.no_grad():
            dense.weight.copy_(torch.eye(dense.in_features) * scale)
            if dense.bias is not None:
                dense.bias.zero_()

    def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
        """First token's state, or the mean over real tokens summed in float32, `(B, D)`."""
        if self.pools == "cls":
            return hidden_BTD[:, 0]
        real_BT1 = mask_BT.bool().unsqueeze(-1)
        wide = torch.promote_types(hidden_BTD.dtype, torch.float32)
        total_BD = hidden_BTD.masked_fill(~real_BT1, 0.0).to(wide).sum(1)
        return (total_BD / real_BT1.sum(1).clamp(min=1)).to(hidden_BTD.dtype)

    def penultimate(self, features_BF: Tensor) -> Tensor:
        """After dense, activation and norm, `(B, D)`."""
        _, dense, _ = self._layers()
        active_BD = self.activation(dense(features_BF))
        return active_BD if self.norm is None else self.norm(active_BD)

    def classify(self, features_BF: Tensor) -> Tensor:
        """Logits `(B, L)`."""
        return self.output()(self.dropout(self.penultimate(self.dropout_before(features_BF))))

    def _named_layers(self) -> dict[str, nn.Module]:
        layout, dense, out = self._layers()
        layers: dict[str, nn.Module] = {layout.dense: dense, layout.output: out}
        return layers if self.norm is None else layers | {layout.norm: self.norm}

    def native_state(self) -> dict[str, Tensor]:
        """Weights under the names of transformers' classifier."""
        return {
            f"{name}.{key}": value.detach()
            for name, layer in self._named_layers().items()
            for key, value in layer.state_dict().items()
        }

    def load_native_state(self, state: dict[str, Tensor]) -> None:
        """Take weights from a state that has transformers' names; other names in it are left alone."""
        with torch.no_grad():
            for name, layer in self._named_layers().items():
                for key, parameter in layer.named_parameters():
                    parameter.copy_(state[f"{name}.{key}"])
