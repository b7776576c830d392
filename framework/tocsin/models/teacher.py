"""The teacher: English sentences to vectors, without gradient, in nobody's state. Axes: B texts, T tokens, D width."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tocsin.batches.cache import content_key, tokenizer_digest
from tocsin.batches.passes import cut_passes
from tocsin.errors import ConfigError
from tocsin.models.encoders import Encoder
from tocsin.models.pooling import MeanPooling, Pooling
from tocsin.models.sentence_encoder import SentenceEncoder

__all__ = ["LoadedTeacher", "Teacher"]

_LENGTH = (
    128  # tokens, where neither the config nor the teacher's folder says; that of the method's own recipe
)


class Teacher:
    """A teacher that is not loaded. Not a module on purpose: it is in no checkpoint, optimiser or training mode.

    Args:
        encoder: Left as it is: `load` works on a copy.
        pooling: None: the encoder's own where it is a `SentenceEncoder`, with what follows it; else the mean.
        max_length: Tokens of a text at most; None: what the encoder's folder says, else 128, within its positions.
    """

    def __init__(
        self, encoder: Encoder, pooling: Pooling | None = None, max_length: int | None = None
    ) -> None:
        self.encoder = encoder
        self.pooling = pooling
        self._max_length = max_length

    @property
    def width(self) -> int:
        """D of its vectors."""
        if isinstance(self.encoder, SentenceEncoder) and self.pooling is None:
            return self.encoder.vector_width
        return self.encoder.width

    @property
    def max_length(self) -> int:
        """Tokens of a text at most, special tokens included.

        Raises:
            ConfigError: More than the encoder has positions for.
        """
        longest = self.encoder.max_tokens
        if self._max_length is not None:
            if longest is not None and self._max_length > longest:
                raise ConfigError(
                    f"teacher_max_length is {self._max_length} tokens, but the teacher has positions for {longest}."
                )
            return self._max_length
        own = self.encoder.max_length if isinstance(self.encoder, SentenceEncoder) else None
        return min(own or _LENGTH, longest or own or _LENGTH)

    def load(self, device: torch.device | str = "cpu") -> "LoadedTeacher":
        """Read the weights into a copy, which whoever asked lets go again."""
        encoder = copy.deepcopy(self.encoder)
        encoder.load()
        finish: nn.Module = nn.Identity()
        pooling = copy.deepcopy(self.pooling)
        if pooling is None and isinstance(encoder, SentenceEncoder):
            pooling, finish = encoder.own_pooling(), encoder.finish()
        pooling = pooling or MeanPooling()
        pooling.build(encoder.config)
        return LoadedTeacher(encoder, pooling, finish, self.max_length, device)


class LoadedTeacher:
    """A teacher with its weights in memory.

    Args:
        encoder: Loaded.
        pooling: Built.
        finish: What follows the pooling.
        max_length: Tokens of a text at most.
        device: Where to compute.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        finish: nn.Module,
        max_length: int,
        device: torch.device | str,
    ) -> None:
        self.encoder: Encoder = encoder.to(device).eval()
        self.pooling: Pooling = pooling.to(device).eval()
        self.finish = finish.to(device).eval()
        self.max_length = max_length
        self.device = device
        self._backend: Any = None

    def key(self) -> str:
        """Content key of all that its vectors depend on but the sentence.

        Configuration and weights with their type (so the revision too), pooling, what follows it, prompt, tokenizer,
        length. The processor is not among them: two kinds round otherwise, within the float16 that is kept.
        """
        parts = []
        for module in (self.pooling, self.finish):
            state = sorted(module.state_dict().items())
            learned = [
                [name, hashlib.sha256(v.cpu().float().numpy().tobytes()).hexdigest()] for name, v in state
            ]
            parts.append([type(module).__module__, type(module).__qualname__, repr(module), learned])
        arguments = getattr(self.pooling, "arguments", {})
        # Equal weights under another number of heads or another activation give other vectors.
        config = self.encoder.config.to_dict()
        for name in ("_name_or_path", "transformers_version", "architectures"):
            config.pop(name, None)
        return content_key(
            kind="teacher",
            encoder=[type(self.encoder).__module__, type(self.encoder).__qualname__, self.encoder.digest],
            config=config,
            parts=parts,
            pooling=arguments,
            prompt=self.encoder.prompt,
            tokenizer=tokenizer_digest(self.encoder.tokenizer),
            max_length=self.max_length,
        )

    @torch.no_grad()
    def vectors(self, sentences: Sequence[str], tokens_per_pass: int) -> np.ndarray:
        """Vectors `(N, D)` float32 of sentences, in their order."""
        result: np.ndarray | None = None
        for chosen, ids_BT, mask_BT in self._passes(sentences, tokens_per_pass):
            ids_BT, mask_BT = ids_BT.to(self.device), mask_BT.to(self.device)
            pooled_BD = self.pooling(self.encoder(ids_BT, mask_BT), mask_BT)
            vector_BD = self.finish(pooled_BD.float()).cpu().numpy()
            if result is None:
                result = np.empty((len(sentences), vector_BD.shape[1]), dtype=np.float32)
            result[chosen] = vector_BD
        assert result is not None
        return result

    def _passes(self, sentences: Sequence[str], budget: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        if self._backend is None:
            from tokenizers import Tokenizer

            self._backend = Tokenizer.from_str(self.encoder.tokenizer.backend_tokenizer.to_str())
            self._backend.no_padding()
            self._backend.enable_truncation(self.max_length)
        encodings = self._backend.encode_batch([self.encoder.prompt + sentence for sentence in sentences])
        tokens = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        pad = self.encoder.tokenizer.pad_token_id or 0
        for chosen in cut_passes(np.array([len(ids) for ids in tokens]), budget):
            longest = max(1, len(tokens[chosen[0]]))
            ids_BT = np.full((len(chosen), longest), pad, dtype=np.int64)
            mask_BT = np.zeros((len(chosen), longest), dtype=np.int64)
            for place, row in enumerate(chosen):
                ids_BT[place, : len(tokens[row])] = tokens[row]
                mask_BT[place, : len(tokens[row])] = 1
            yield chosen, torch.from_numpy(ids_BT), torch.from_numpy(mask_BT)
