"""Reading sentence-transformers folders without sentence-transformers: encoder, pooling, prompt, length, what follows.

Axes: B texts, T tokens, D width of the encoder, E width of the vectors.
"""

import json
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.adapters import Lora
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.pooling import ClsPooling, MaxPooling, MeanPooling, Pooling

__all__ = ["SentenceEncoder"]

_POOLINGS: dict[str, type[Pooling]] = {"mean": MeanPooling, "cls": ClsPooling, "max": MaxPooling}
_NO_LENGTH = 1_000_000  # tokens; transformers notes an unknown length as 10^30
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "GELU": nn.GELU,
    "ReLU": nn.ReLU,
}


class SentenceEncoder(TransformerEncoder):
    """A sentence-transformers folder or hub name: as an encoder, its transformer with the folder's prompt.

    As a teacher it gives the folder's own vectors: pooling (mean, cls or max), dense layers and normalisation as its
    modules.json lists them. As a student or under a head only the transformer and the prompt are taken; what follows
    the pooling there is not. Nothing is imported and nothing unpickled: other modules are refused by name.

    Args:
        name: A folder with modules.json, or a hub name; also the bundle of a distilled encoder.
        revision: Branch, tag or commit on the hub; null for the default. Ignored for a folder.
        dtype: Type of the weights in memory; float32 for training (mixed precision is the Trainer's setting).
        prompt: Put before every text; null for the folder's default prompt, empty for none.
        freeze: What is not trained: none, embeddings, all, or a number k: the embeddings and the bottom k layers.
        keep_layers: Numbers of the layers to keep, from 0, in order; null for all.
        keep_pieces: Pieces of a Unigram vocabulary to keep, best by the tokenizer's scores; null for all.
        gradient_checkpointing: Keep only each layer's input for the backward pass and compute the rest again: less
            memory, a third more time, the same gradients.
        lora: Train low-rank adapters (LoRA) in place of the encoder's weights; needs the extra lora. Null: none.
    """

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        prompt: str | None = None,
        freeze: Literal["none", "embeddings", "all"] | int = "none",
        keep_layers: list[int] | None = None,
        keep_pieces: int | None = None,
        gradient_checkpointing: bool = False,
        lora: Lora | None = None,
    ) -> None:
        self._given_prompt = prompt
        self._modules_json: list[tuple[str, str]] | None = None
        super().__init__(
            name=name,
            revision=revision,
            dtype=dtype,
            prompt="",
            freeze=freeze,
            keep_layers=keep_layers,
            keep_pieces=keep_pieces,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
        )

    # nn.Module sets plain attributes through the class, so that TransformerEncoder's own assignment comes here.
    @property
    def prompt(self) -> str:
        """The prompt given, else the folder's default."""
        if self._given_prompt is not None:
            return self._given_prompt
        settings = self._json("config_sentence_transformers.json") or {}
        default = settings.get("default_prompt_name")
        return str((settings.get("prompts") or {}).get(default, "")) if default else ""

    @prompt.setter
    def prompt(self, value: str) -> None:
        """TransformerEncoder's constructor sets it; what was given stands."""

    def folder(self) -> str:
        """The folder of the transformer: the first module's."""
        inner = self._modules_of()[0][1]
        if not inner:
            return self.name
        if not Path(self.name).is_dir():
            raise ConfigError(
                f"SentenceEncoder: the transformer of {self.name!r} lies in {inner!r}; of a hub's model it has to "
                "lie at the top. Download it and give the folder."
            )
        return str(Path(self.name) / inner)

    @property
    def max_length(self) -> int | None:
        """Tokens of a text at most, special tokens included: as the folder says, else its tokenizer, within its
        positions; None where none of them does.
        """
        length = self._limits().get("max_seq_length")
        if length is None:
            length = min(self.tokenizer.model_max_length, self.max_tokens or _NO_LENGTH)
        return int(length) if length < _NO_LENGTH else None

    @property
    def tokenizer(self) -> Any:
        """The fast tokenizer, cut to `keep_pieces`; it lowers the case of texts where the folder asks for that."""
        first = self._tokenizer is None and self._packed_tokenizer is None
        tokenizer = super().tokenizer
        if first and self._limits().get("do_lower_case"):
            _lower_case(tokenizer.backend_tokenizer)
        return tokenizer

    def _limits(self) -> dict[str, Any]:
        found: dict[str, Any] = self._json("sentence_bert_config.json", self._modules_of()[0][1]) or {}
        return found

    def own_pooling(self) -> Pooling:
        """The pooling that the folder names.

        Raises:
            ConfigError: It is none of mean, cls and max, or leaves the prompt out of the mean.
        """
        path = next((path for kind, path in self._modules_of() if kind == "Pooling"), None)
        if path is None:
            raise ConfigError(f"SentenceEncoder: modules.json of {self.name!r} lists no Pooling.")
        settings = self._json("config.json", path) or {}
        # As sentence-transformers: one mode or several by name, else the switches of its older folders, else the mean.
        given = settings.get("pooling_mode") or [
            key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
            for key, on in settings.items()
            if key.startswith("pooling_mode_") and on
        ]
        modes = [given] if isinstance(given, str) else [str(mode) for mode in given] or ["mean"]
        if len(modes) != 1 or modes[0] not in _POOLINGS:
            raise ConfigError(
                f"SentenceEncoder: {self.name!r} pools by {', '.join(modes)}; supported is "
                f"one of {', '.join(_POOLINGS)}."
            )
        if settings.get("include_prompt") is False and self.prompt:
            raise ConfigError(
                f"SentenceEncoder: {self.name!r} leaves the prompt {self.prompt!r} out of its pooling "
                "(include_prompt: false), which is not supported."
            )
        return _POOLINGS[modes[0]]()

    def finish(self) -> nn.Module:
        """What follows the pooling, pooled `(B, D)` -> vectors `(B, E)`, with its weights; in evaluation mode."""
        steps = [self._step(kind, path) for kind, path in self._modules_of()[2:]]
        return nn.Sequential(*steps).eval()

    def _step(self, kind: str, path: str) -> nn.Module:
        if kind == "Normalize":
            return _Normalize()
        settings = self._json("config.json", path) or {}
        activation = str(settings.get("activation_function", "")).rpartition(".")[2]
        if activation not in _ACTIVATIONS:
            raise ConfigError(
                f"SentenceEncoder: the dense layer of {self.name!r} has the activation {activation!r}; supported are "
                f"{', '.join(_ACTIVATIONS)}."
            )
        file = self._file("model.safetensors", path)
        if file is None:
            raise ConfigError(
                f"SentenceEncoder: the dense layer {path!r} of {self.name!r} has no model.safetensors; pickled weights "
                "are not read. Convert it first."
            )
        linear = nn.Linear(
            int(settings["in_features"]), int(settings["out_features"]), bool(settings.get("bias", True))
        )
        try:
            linear.load_state_dict(
                {key.removeprefix("linear."): value for key, value in load_file(file).items()}
            )
        except RuntimeError as error:
            raise ConfigError(
                f"SentenceEncoder: the dense layer {path!r} of {self.name!r} is no linear layer as its config.json "
                f"says: {error}"
            ) from error
        return nn.Sequential(linear, _ACTIVATIONS[activation]())

    @property
    def vector_width(self) -> int:
        """E: of the last dense layer, else D."""
        dense = [path for kind, path in self._modules_of() if kind == "Dense"]
        return int((self._json("config.json", dense[-1]) or {})["out_features"]) if dense else self.width

    def _modules_of(self) -> list[tuple[str, str]]:
        """(kind, path) of each module, in order: a Transformer, a Pooling, then Dense and Normalize."""
        if self._modules_json is None:
            listed: Any = self._json("modules.json", kind=list)
            if not listed:
                raise ConfigError(
                    f"SentenceEncoder: {self.name!r} has no modules.json that lists modules. Wanted a "
                    "sentence-transformers folder, or a hub name that this machine reaches; for any other "
                    "encoder take TransformerEncoder."
                )
            kinds = [str(module.get("type", "")).rpartition(".")[2] for module in listed]
            for place, kind in enumerate(kinds):
                wanted = (
                    ("Transformer",) if place == 0 else ("Pooling",) if place == 1 else ("Dense", "Normalize")
                )
                if kind not in wanted:
                    raise ConfigError(
                        f"SentenceEncoder: module {place} of {self.name!r} is {kind}; supported there: "
                        f"{' or '.join(wanted)}."
                    )
            self._modules_json = [
                (kind, str(module.get("path", ""))) for kind, module in zip(kinds, listed, strict=True)
            ]
        return self._modules_json

    def _file(self, name: str, inner: str = "") -> str | None:
        """The path of a file of the folder or the hub's model; None where there is none."""
        if inner and (Path(inner).is_absolute() or ".." in Path(inner).parts):
            raise ConfigError(f"SentenceEncoder: {self.name!r} names the folder {inner!r} outside of itself.")
        local = Path(self.name)
        if local.is_dir():
            path = local / inner / name
            return str(path) if path.is_file() else None
        from transformers.utils import cached_file

        found: str | None = cached_file(
            self.name,
            name,
            subfolder=inner,
            revision=self.revision,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return found

    def _json(self, name: str, inner: str = "", kind: type = dict) -> Any:
        """What a file of the folder holds; None where there is none."""
        file = f"{inner}/{name}" if inner else name
        try:
            path = self._file(name, inner)
            found = None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"SentenceEncoder: {file} of {self.name!r} cannot be read: {error}") from error
        if found is not None and not isinstance(found, kind):
            raise ConfigError(
                f"SentenceEncoder: {file} of {self.name!r} holds a {type(found).__name__}; a {kind.__name__} is wanted."
            )
        return found


def _lower_case(backend: Any) -> None:
    """Let a tokenizer lower the case first, as sentence-transformers does, so that a bundle of it does so too."""
    from tokenizers.normalizers import Lowercase, Sequence

    after = backend.normalizer
    inner: Any = after
    steps = [] if after is None else list(inner) if isinstance(after, Sequence) else [after]
    if not any(isinstance(step, Lowercase) for step in steps):
        backend.normalizer = Sequence([Lowercase(), *steps])


class _Normalize(nn.Module):
    def forward(self, vector_BD: Tensor) -> Tensor:
        return F.normalize(vector_BD, p=2, dim=1)
