"""Texts to logits and vectors with a loaded encoder, pooling and head.

Axes: N texts, T tokens, D width, E width of projected vectors, L labels.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tocsin.batches.passes import MessagePass, collate, cut_passes
from tocsin.batches.unknown import unknown_and_spaces
from tocsin.models import network
from tocsin.models.encoders import Encoder
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.pooling import Pooling

__all__ = ["Predictor", "TextRunner", "TokenCounts", "VectorRunner"]


@dataclass(frozen=True)
class TokenCounts:
    """What a tokenizer made of N texts.

    Args:
        tokens: `(N,)` int64, without special tokens, the prompt's and those that are white space alone, which a
            tokenizer may put before each word that it does not know.
        unknown: `(N,)` int64, those of them that the tokenizer does not know.
        readable: `(N,)` bool, whether any token is known and more than white space.
    """

    tokens: np.ndarray
    unknown: np.ndarray
    readable: np.ndarray


class TextRunner:
    """Runs texts through a network in float32, sorted by length into passes; results come in the order of the texts.

    Args:
        encoder: Loaded.
        max_length: Tokens a text keeps at most.
        device: Where to compute, such as "cpu" or "cuda".
        tokens_per_pass: Budget of a pass, padding included; changes results by rounding alone (about 1e-6).
    """

    def __init__(
        self, encoder: Encoder, max_length: int, device: str = "cpu", tokens_per_pass: int | None = None
    ) -> None:
        self.encoder = encoder.to(device).eval()
        self.max_length, self.device = max_length, device
        self.tokens_per_pass = tokens_per_pass or (1024 if device == "cpu" else 16384)
        self._backend: Any = None

    def token_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of cleaned texts, prompt and special tokens included, at most `max_length`."""
        return _ids(self._encodings(texts))

    def _encodings(self, texts: Sequence[str]) -> list[Any]:
        if self._backend is None:
            from tokenizers import Tokenizer

            self._backend = Tokenizer.from_str(self.encoder.tokenizer.backend_tokenizer.to_str())
            self._backend.no_padding()
            self._backend.enable_truncation(self.max_length)
        encodings: list[Any] = self._backend.encode_batch([self.encoder.prompt + text for text in texts])
        return encodings

    def _counts(self, encodings: Sequence[Any], ids: Sequence[np.ndarray]) -> TokenCounts:
        unknown_ids, space_ids = unknown_and_spaces(self.encoder.tokenizer)
        prompt = self._backend.encode(self.encoder.prompt, add_special_tokens=False).ids
        special = self._backend.num_special_tokens_to_add(False)
        lengths_N = np.array([len(row) for row in ids], dtype=np.int64)
        rows = np.repeat(np.arange(len(ids)), lengths_N)
        flat = np.concatenate([*ids, np.zeros(0, dtype=np.int32)])
        unknown_N = np.bincount(rows[np.isin(flat, unknown_ids)], minlength=len(ids))
        spaces_N = np.bincount(rows[np.isin(flat, space_ids)], minlength=len(ids))
        lengths_N -= special + spaces_N
        # A prompt may share a token with the text: where little is known, the tokens' places tell whose they are.
        readable_N = lengths_N - unknown_N > len(prompt)
        for row in np.flatnonzero(~readable_N).tolist():
            readable_N[row] = self._knows_any(encodings[row], [*unknown_ids, *space_ids])
        unknown_N -= sum(each in unknown_ids for each in prompt)
        known = len(prompt) - sum(each in space_ids for each in prompt)
        return TokenCounts((lengths_N - known).clip(0), unknown_N.clip(0), readable_N)

    def _knows_any(self, encoding: Any, blank_ids: Sequence[int]) -> bool:
        begin = len(self.encoder.prompt)
        return any(
            not special and end > begin and token not in blank_ids
            for token, special, (_, end) in zip(
                encoding.ids, encoding.special_tokens_mask, encoding.offsets, strict=True
            )
        )

    @staticmethod
    def tokens_digest(ids: np.ndarray) -> str:
        """SHA-256 of token ids, hexadecimal."""
        return hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()

    def _passes(self, tokens: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, MessagePass]]:
        pad = self.encoder.tokenizer.pad_token_id
        lengths = np.array([len(ids) for ids in tokens], dtype=np.int64)
        for chosen in cut_passes(lengths, self.tokens_per_pass):
            nothing = np.full((len(chosen), 1), np.nan, dtype=np.float32)
            part = collate([tokens[i] for i in chosen], nothing, chosen, 0 if pad is None else pad)
            yield chosen, MessagePass(*(tensor.to(self.device) for tensor in part))

    def _run(
        self,
        tokens: Sequence[np.ndarray],
        network: Callable[[MessagePass], Tensor],
        width: int,
        advance: Callable[[int], None],
    ) -> np.ndarray:
        result = np.zeros((len(tokens), width), dtype=np.float32)
        with torch.inference_mode():
            for chosen, part in self._passes(tokens):
                result[chosen] = network(part).float().cpu().numpy()
                advance(len(chosen))
        return result


class Predictor(TextRunner):
    """A classifier's network: logits and vectors of texts.

    Args:
        encoder: Loaded.
        head: Built and filled.
        pooling: Built and filled; None for heads that read tokens.
        labels: L.
        max_length: Tokens a text keeps at most.
        device: Where to compute, such as "cpu" or "cuda".
        tokens_per_pass: Budget of a pass, padding included; changes results by rounding alone (about 1e-6).
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        pooling: Pooling | None,
        labels: int,
        max_length: int,
        device: str = "cpu",
        tokens_per_pass: int | None = None,
    ) -> None:
        super().__init__(encoder, max_length, device, tokens_per_pass)
        self.head = head.to(device).eval()
        self.pooling = None if pooling is None else pooling.to(device).eval()
        self.labels = labels

    def logits(self, texts: Sequence[str], advance: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Logits `(N, L)` float32 of cleaned texts."""
        return self._logits(self.token_ids(texts), advance)

    def counted_logits(
        self, texts: Sequence[str], advance: Callable[[int], None] = lambda done: None
    ) -> tuple[np.ndarray, TokenCounts]:
        """Logits `(N, L)` float32 of cleaned texts, and what the tokenizer made of these."""
        encodings = self._encodings(texts)
        tokens = _ids(encodings)
        counts = self._counts(encodings, tokens)
        del encodings
        return self._logits(tokens, advance), counts

    def _logits(self, tokens: Sequence[np.ndarray], advance: Callable[[int], None]) -> np.ndarray:
        def run(part: MessagePass) -> Tensor:
            return network.logits(self.encoder, self.pooling, self.head, part.input_ids_BT, part.mask_BT)

        return self._run(tokens, run, self.labels, advance)

    def vectors(self, texts: Sequence[str], advance: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Vectors `(N, D)` float32: pooled, or for a head that reads the first token, that token's state."""

        def run(part: MessagePass) -> Tensor:
            hidden_BTD = self.encoder(part.input_ids_BT, part.mask_BT)
            if self.pooling is not None:
                return self.pooling(hidden_BTD, part.mask_BT)
            if isinstance(self.head, FeatureHead):
                return self.head.features(hidden_BTD, part.mask_BT, None)
            return hidden_BTD[:, 0]

        return self._run(self.token_ids(texts), run, self.encoder.width, advance)


class VectorRunner(TextRunner):
    """An encoder's network alone: vectors of texts.

    Args:
        encoder: Loaded.
        pooling: Built and filled.
        projection: What follows it; None for nothing.
        max_length: Tokens a text keeps at most.
        device: Where to compute, such as "cpu" or "cuda".
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        projection: nn.Linear | None,
        max_length: int,
        device: str = "cpu",
    ) -> None:
        super().__init__(encoder, max_length, device)
        self.pooling = pooling.to(device).eval()
        self.projection = None if projection is None else projection.to(device).eval()

    @property
    def width(self) -> int:
        """E of the vectors."""
        return self.encoder.width if self.projection is None else self.projection.out_features

    def vectors(self, texts: Sequence[str], advance: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Vectors `(N, E)` float32."""

        def run(part: MessagePass) -> Tensor:
            pooled_BD: Tensor = self.pooling(self.encoder(part.input_ids_BT, part.mask_BT), part.mask_BT)
            return pooled_BD if self.projection is None else self.projection(pooled_BD)

        return self._run(self.token_ids(texts), run, self.width, advance)


def _ids(encodings: Sequence[Any]) -> list[np.ndarray]:
    return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
