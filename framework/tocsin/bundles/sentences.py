"""Vectors of sentences from an encoder that is no bundle: one by its short name, or any folder of transformers' or
sentence-transformers' own.

Axes: N texts, D width.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tocsin.bundles.predictor import Predictor
from tocsin.errors import ConfigError
from tocsin.models.encoders import Encoder, TransformerEncoder
from tocsin.models.pooling import ClsPooling, MaxPooling, MeanPooling, Pooling

__all__ = ["Encodes", "EncoderFinder", "SentenceEncoder", "open_encoder"]

_POOLINGS: dict[str, type[Pooling]] = {
    pooling().sentence_transformers_mode or "": pooling for pooling in (MeanPooling, ClsPooling, MaxPooling)
}
_SWITCHES = {f"pooling_mode_{mode}_tokens": mode for mode in ("mean", "max")} | {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


class Encodes(Protocol):
    """Whatever turns texts into vectors: a bundle, or a `SentenceEncoder`."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(N, D)` float32 of texts, in their order."""


class EncoderFinder(Protocol):
    """Whoever knows encoders by short name: the registry of the plugin manager."""

    def components(self, role: str) -> Mapping[str, type]:
        """Short name -> class."""

    def unknown(self, role: str, name: str) -> str:
        """Say that there is none of that name, and which there are."""


class SentenceEncoder:
    """An encoder and a pooling, with the `encode` of a bundle.

    Args:
        encoder: Its weights are read here.
        pooling: From token states to one vector.
        max_length: Tokens a text keeps at most; None for as many as the encoder has positions for.
        device: Where to compute, such as "cpu" or "cuda".
        lower_case: Whether texts are lower-cased first, as a few older sentence-transformers folders ask.
        unit_length: Whether vectors are divided by their length.

    Raises:
        ConfigError: The weights cannot be read, or `max_length` is missing, below 1 or over the encoder's positions.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        *,
        max_length: int | None = None,
        device: str = "cpu",
        lower_case: bool = False,
        unit_length: bool = False,
    ) -> None:
        encoder.load()
        pooling.build(encoder.config)
        most = encoder.max_tokens
        if max_length is None and most is None:
            raise ConfigError(
                "The encoder says no length that it can read; give a number of tokens (--max-length)."
            )
        wanted = max_length if max_length is not None else most
        assert wanted is not None
        if wanted < 1 or (most is not None and wanted > most):
            raise ConfigError(f"max_length is {wanted}; 1 to {most or 'any number of'} tokens are wanted.")
        self.lower_case, self.unit_length = lower_case, unit_length
        self.predictor = Predictor(encoder, None, pooling, 0, wanted, device)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(N, D)` float32 of texts as they are, but for the encoder's prompt before each."""
        vectors_ND = self.predictor.vectors([text.lower() if self.lower_case else text for text in texts])
        if self.unit_length:
            vectors_ND /= np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
        return vectors_ND


def open_encoder(
    name: str, registry: EncoderFinder, device: str = "cpu", max_length: int | None = None
) -> SentenceEncoder:
    """Open an encoder with its pooling.

    An encoder by short name, and a folder of transformers', are pooled by the mean of the token states; a folder of
    sentence-transformers' says itself how it pools, its length, prompt and whether vectors have length one.

    Args:
        name: Short name of an encoder on offer that needs no arguments (E5SmallMultilingual), or a folder.
        registry: Knows the encoders on offer.
        device: Where to compute.
        max_length: Tokens a text keeps at most; None as the folder says, else all that the encoder can read.

    Raises:
        ConfigError: No such encoder or folder, one that needs arguments, a folder that cannot be read, or one that
            holds a module that Tocsin has no counterpart of.
    """
    offered = registry.components("encoder")
    if name in offered:
        try:
            encoder = offered[name]()
        except TypeError as error:
            raise ConfigError(
                f"The encoder {name} wants arguments ({error}). Give the model's folder instead, or a bundle."
            ) from error
        return SentenceEncoder(encoder, MeanPooling(), max_length=max_length, device=device)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{registry.unknown('encoder', name)}\nNor is there a folder {name!r}.")
    if (folder / "tocsin.json").is_file():
        raise ConfigError(f"{folder} is a bundle: give it with --bundle, which checks its canaries.")
    if not (folder / "modules.json").is_file():
        return SentenceEncoder(
            TransformerEncoder(str(folder)), MeanPooling(), max_length=max_length, device=device
        )
    says = _read_modules(folder)
    return SentenceEncoder(
        TransformerEncoder(str(says.transformer), prompt=says.prompt),
        says.pooling,
        max_length=max_length if max_length is not None else says.max_length,
        device=device,
        lower_case=says.lower_case,
        unit_length=says.unit_length,
    )


@dataclass(frozen=True)
class _Modules:
    transformer: Path
    pooling: Pooling
    prompt: str
    max_length: int | None
    lower_case: bool
    unit_length: bool


def _read_modules(folder: Path) -> _Modules:
    """What the JSON files of a sentence-transformers folder say; only names are compared, nothing is imported."""
    modules = _read_json(folder / "modules.json", list)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ConfigError(
            f"{folder / 'modules.json'} lists the modules {', '.join(kinds) or 'none'}; Tocsin reads Transformer, "
            "Pooling and, after them, Normalize: with others its vectors would not be the model's."
        )
    transformer, pooled = (folder / str(module.get("path", "")) for module in modules[:2])
    settings = _read_json(folder / "config_sentence_transformers.json", dict, optional=True)
    default = settings.get("default_prompt_name")
    prompt = str((settings.get("prompts") or {}).get(default, "")) if default else ""
    pooling_settings = _read_json(pooled / "config.json", dict)
    if prompt and pooling_settings.get("include_prompt") is False:
        raise ConfigError(
            f"{pooled} leaves the prompt's tokens out of the pooling; Tocsin has no such pooling."
        )
    limits = _read_json(transformer / "sentence_bert_config.json", dict, optional=True)
    length = limits.get("max_seq_length")
    return _Modules(
        transformer,
        _pooling(pooling_settings, pooled),
        prompt,
        None if length is None else int(length),
        bool(limits.get("do_lower_case", False)),
        "Normalize" in kinds,
    )


def _pooling(settings: Mapping[str, Any], where: Path) -> Pooling:
    given = settings.get("pooling_mode")
    if given is None:
        given = [mode for switch, mode in _SWITCHES.items() if settings.get(switch)] or "mean"
    modes = [given] if isinstance(given, str) else list(given)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ConfigError(f"{where} pools by {', '.join(modes)}; Tocsin knows one of {', '.join(_POOLINGS)}.")
    return _POOLINGS[modes[0]]()


def _read_json(path: Path, kind: Callable[[], Any], optional: bool = False) -> Any:
    if optional and not path.is_file():
        return kind()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); is the sentence-transformers folder whole?"
        ) from error
    if not isinstance(content, type(kind())):
        raise ConfigError(f"{path} holds {type(content).__name__}; {type(kind()).__name__} is wanted.")
    return content
