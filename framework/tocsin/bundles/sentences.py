"""Vectors of sentences from an encoder that is no bundle: one by its short name, or any folder of transformers' or
sentence-transformers' own.

Axes: N texts, D width of the vectors.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tocsin.errors import ConfigError
from tocsin.models.encoders import Encoder, TransformerEncoder
from tocsin.models.pooling import Pooling
from tocsin.models.sentence_encoder import SentenceEncoder
from tocsin.models.teacher import Teacher
from tocsin.text.inputs import as_texts

__all__ = ["Encodes", "EncoderFinder", "SentenceModel", "open_encoder"]


class Encodes(Protocol):
    """Whatever turns texts into vectors: a bundle, or a `SentenceModel`."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(N, D)` float32 of texts, in their order."""


class EncoderFinder(Protocol):
    """Whoever knows encoders by short name: the registry of the plugin manager."""

    def components(self, role: str) -> Mapping[str, type]:
        """Short name -> class."""

    def unknown(self, role: str, name: str) -> str:
        """Say that there is none of that name, and which there are."""


class SentenceModel:
    """An encoder, its pooling and what follows it, with the `encode` of a bundle.

    Args:
        encoder: Its weights are read here; it is left as it is.
        pooling: From token states to one vector; None for a `SentenceEncoder`'s own, with the dense layers and the
            normalisation that follow it in its folder, else the mean of the token states.
        max_length: Tokens a text keeps at most; None for what a `SentenceEncoder`'s folder says, else as many as the
            encoder has positions for.
        device: Where to compute, such as "cpu" or "cuda".

    Raises:
        ConfigError: The weights cannot be read, the pooling is learnt in training, or `max_length` is missing, below 1
            or over the encoder's positions.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling | None = None,
        *,
        max_length: int | None = None,
        device: str = "cpu",
    ) -> None:
        most = encoder.max_tokens
        wanted = max_length
        if wanted is None and isinstance(encoder, SentenceEncoder):
            wanted = encoder.max_length
        if wanted is None:
            wanted = most
        if wanted is None:
            raise ConfigError(
                "The encoder says no length that it can read; give a number of tokens (--max-length)."
            )
        if wanted < 1 or (most is not None and wanted > most):
            raise ConfigError(f"max_length is {wanted}; 1 to {most or 'any number of'} tokens are wanted.")
        teacher = Teacher(encoder, pooling, wanted)
        self._width = teacher.width
        self._loaded = teacher.load(device)
        if any(True for _ in self._loaded.pooling.parameters()):
            raise ConfigError(
                f"{type(pooling).__name__} has weights of its own, which only a training gives it. Take MeanPooling, "
                "ClsPooling or MaxPooling, or the bundle of a fit (--bundle)."
            )
        self._tokens_per_pass = 1024 if device == "cpu" else 16384

    def encode(self, texts: Any) -> np.ndarray:
        """Vectors `(N, D)` float32 of texts as they are, but for the encoder's prompt before each.

        Args:
            texts: A list, an array, a column, any iterable with an order; one str is one text.

        Raises:
            DataError: It is no container of texts, or one of them is none; names its position.
        """
        checked = as_texts(texts)
        if not checked:
            return np.zeros((0, self._width), dtype=np.float32)
        return self._loaded.vectors(checked, self._tokens_per_pass)


def open_encoder(
    name: str, registry: EncoderFinder, device: str = "cpu", max_length: int | None = None
) -> SentenceModel:
    """Open an encoder with its pooling.

    An encoder by short name, and a folder of transformers', are pooled by the mean of the token states; a folder of
    sentence-transformers' says itself how it pools, what follows, its length, prompt and case.

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
        return SentenceModel(encoder, max_length=max_length, device=device)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{registry.unknown('encoder', name)}\nNor is there a folder {name!r}.")
    if (folder / "tocsin.json").is_file():
        raise ConfigError(f"{folder} is a bundle: give it with --bundle, which checks its canaries.")
    kind = SentenceEncoder if (folder / "modules.json").is_file() else TransformerEncoder
    return SentenceModel(kind(str(folder)), max_length=max_length, device=device)
