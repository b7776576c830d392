"""The data sets behind the loaders of pairs, and passes over a whole side of a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from tocsin.batches.cache import TokenStore
from tocsin.batches.pair_corpus import PairCorpus
from tocsin.batches.pair_sampler import Sentences
from tocsin.batches.passes import padded
from tocsin.batches.sentences import PairStep, SentencePass

__all__ = ["PairRows", "longest_first", "side_passes", "side_sentences"]


class PairRows(Dataset[Any]):
    """Pairs by row; an item is a whole optimiser step or pass, because lengths decide what belongs together.

    Args:
        text: Tokens of the translations, by row.
        english: Tokens of the English sentences, by number.
        pairs: How many rows there are.
        pad_id: The tokenizer's padding id.
    """

    def __init__(self, text: TokenStore, english: TokenStore, pairs: int, pad_id: int) -> None:
        self.text, self.english, self.pairs, self.pad_id = text, english, pairs, pad_id

    def __len__(self) -> int:
        return self.pairs

    def __getitem__(self, chosen: Any) -> Any:
        return chosen

    def sentence_pass(self, part: Sentences) -> SentencePass:
        """Pad the sentences of a pass."""
        tokens = [
            self.text[int(row)] if row >= 0 else self.english[int(number)]
            for row, number in zip(part.rows_B, part.english_B, strict=True)
        ]
        return SentencePass(
            *padded(tokens, self.pad_id),
            torch.from_numpy(part.english_B.astype(np.int64)),
            torch.from_numpy(part.weight_B.astype(np.float32)),
            torch.from_numpy(part.rows_B.astype(np.int64)),
        )

    def step(self, parts: list[Sentences]) -> PairStep:
        """Return all passes of this rank in an optimiser step."""
        return PairStep([self.sentence_pass(part) for part in parts], parts[0].pairs)

    def only_pass(self, parts: list[Sentences]) -> SentencePass:
        """Return the one pass of an evaluation batch."""
        return self.sentence_pass(parts[0])


def side_sentences(
    corpus: PairCorpus, tokens: TokenStore, split: str, side: str, tokens_per_pass: int
) -> Iterator[Sentences]:
    """Yield passes over a whole side of a split, each sentence once, longest first.

    Args:
        corpus: Gives the English sentence of each pair, and the pairs of each English sentence.
        tokens: Of that side: the split's translations, or all English sentences.
        split: "train" or "validation".
        side: "text" or "english".
        tokens_per_pass: Tokens of a pass, padding included.
    """
    if side == "text":
        numbers = (
            corpus.train_english if split == "train" else corpus.validation_pairs()["english"].to_numpy()
        )
        for rows in side_passes(tokens, 0, len(tokens), tokens_per_pass):
            yield Sentences(rows, np.asarray(numbers[rows]), np.ones(len(rows), np.float32))
    else:
        first = 0 if split == "train" else corpus.english_train
        stop = corpus.english_train if split == "train" else corpus.english_total
        shared = corpus.english_pairs(split)
        for rows in side_passes(tokens, first, stop, tokens_per_pass):
            weight = np.asarray(shared[rows - first], dtype=np.float32)
            yield Sentences(np.full(len(rows), -1), rows, weight)


def side_passes(tokens: TokenStore, start: int, stop: int, tokens_per_pass: int) -> Iterator[np.ndarray]:
    """Cut the rows from start to stop into passes, longest first, as `cut_passes` does, without holding them all.

    Args:
        tokens: Their tokens.
        start: First row.
        stop: Row after the last.
        tokens_per_pass: Tokens of a pass, padding included; a longer sentence gets a pass of its own.
    """
    waiting = np.zeros(0, np.int64)
    longest = 1
    for length, rows in longest_first(tokens, start, stop):
        while len(rows):
            if not len(waiting):
                longest = max(1, length)
            room = max(1, tokens_per_pass // longest) - len(waiting)
            waiting, rows = np.concatenate([waiting, rows[:room]]), rows[room:]
            if len(waiting) == max(1, tokens_per_pass // longest):
                yield waiting
                waiting = np.zeros(0, np.int64)
    if len(waiting):
        yield waiting


def longest_first(tokens: TokenStore, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield rows from start to stop by falling length, equal ones in order, with their length; a part at a time."""
    histogram = np.zeros(1, np.int64)
    for _, lengths in tokens.chunk_lengths(start, stop):
        found = np.bincount(lengths)
        histogram = np.pad(histogram, (0, max(0, len(found) - len(histogram))))
        histogram[: len(found)] += found
    for length in np.flatnonzero(histogram)[::-1]:
        left = histogram[length]
        for first, lengths in tokens.chunk_lengths(start, stop):
            rows = np.flatnonzero(lengths == length)
            if len(rows):
                yield int(length), rows + first
            left -= len(rows)
            if not left:
                break
