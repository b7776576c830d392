"""Tokens that a tokenizer does not know: of a corpus that is mostly such tokens nothing can be learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from tocsin.batches.cache import TokenStore
from tocsin.errors import DataError

__all__ = ["check_unknown", "unknown_and_spaces", "unknown_share"]

_SPACES = ("▁", "Ġ")  # of SentencePiece, and of byte-level BPE


def unknown_and_spaces(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that stand for what a tokenizer does not know, and those of white space alone.

    Args:
        tokenizer: A fast transformers tokenizer. One that knows everything, byte by byte, has no unknown id; nor has
            one whose unknown token is a special token too.
    """
    unknown = tokenizer.unk_token_id
    special = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "pad")]
    spaces = [tokenizer.backend_tokenizer.token_to_id(token) for token in _SPACES]
    return (
        [] if unknown is None or unknown in special else [int(unknown)],
        [each for each in spaces if each is not None],
    )


def unknown_share(store: TokenStore, tokenizer: Any, prompt: str = "") -> float:
    """Return the share of unknown tokens among a corpus's own: 0 of an empty one.

    Special tokens, the prompt's, and those that are white space alone do not count: a tokenizer may put one of these
    before each word that it does not know.
    """
    unknown_ids, space_ids = unknown_and_spaces(tokenizer)
    if not unknown_ids:
        return 0.0
    backend = tokenizer.backend_tokenizer
    ours = backend.encode(prompt, add_special_tokens=False).ids if prompt else []
    beside = backend.num_special_tokens_to_add(False) + sum(each not in space_ids for each in ours)
    tokens, unknown = 0, -len(store) * sum(each in unknown_ids for each in ours)
    for ids in store.chunk_ids():
        tokens += len(ids) - sum(int(np.count_nonzero(ids == each)) for each in space_ids)
        unknown += sum(int(np.count_nonzero(ids == each)) for each in unknown_ids)
    tokens -= len(store) * beside
    return max(unknown, 0) / tokens if tokens > 0 else 0.0


def check_unknown(
    share: float, most: float, what: str, tokenizer: Any, option: str = "data.init_args.max_unknown"
) -> None:
    """Refuse a corpus of which too large a share of tokens is unknown.

    Args:
        share: Of unknown tokens.
        most: That is allowed.
        what: What messages call the corpus.
        tokenizer: That read it.
        option: That allows more.

    Raises:
        DataError: Says both shares and the option.
    """
    if share > most:
        raise DataError(
            f"the encoder's tokenizer, of {len(tokenizer):,} tokens, does not know {share:.0%} of the tokens of {what} "
            f"(at most {most:.0%} are taken). Does the encoder's folder hold its own tokenizer, is it made for these "
            f"languages and scripts, and are text column and encoding the right ones? {option}: 1 allows any share."
        )
