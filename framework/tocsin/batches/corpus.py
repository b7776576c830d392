"""A labelled corpus before any tokenizer: messages, targets, and which split each row belongs to."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from tocsin.labels.targets import hard_targets

__all__ = ["SPLITS", "Corpus", "choose_rows"]

SPLITS = ("train", "validation", "test")


@dataclass
class Corpus:
    """Messages with targets and splits.

    Args:
        table: One row a message: file, row, id, lang, text and the carried columns.
        targets_NL: float32: 0, 1, with soft labels a probability in between, NaN where unknown.
        label_names: L names in order.
        split_names: Split of each row: train, validation, test or "" for none.
        crossing: Sentences that count what crosses the splits.
        facts: Counts made while reading (messages dropped as empty, repeated ids).
        limits: How many rows of a split are used at most; the rest were set to "".
        slices: Carried columns to report by.
    """

    table: pa.Table
    targets_NL: np.ndarray
    label_names: tuple[str, ...]
    split_names: np.ndarray
    crossing: list[str] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    slices: tuple[str, ...] = ()

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        return {split: np.flatnonzero(self.split_names == split) for split in SPLITS}

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, ascending, int64."""
        return self._rows[split]

    @cached_property
    def _prior(self) -> np.ndarray:
        targets = self.targets_NL[self.rows("train")]
        known = np.count_nonzero(~np.isnan(targets), axis=0)
        with np.errstate(invalid="ignore"):
            return np.where(
                known > 0, np.nansum(targets, axis=0, dtype=np.float64) / np.maximum(known, 1), np.nan
            )

    def prior(self) -> np.ndarray:
        """Share of positives of each label among known training labels, `(L,)`; NaN where none is known.

        Of soft labels, the mean probability.
        """
        return self._prior

    @property
    def hard_targets_NL(self) -> np.ndarray:
        """Targets for what cannot use a probability: 0, 1 and NaN, float32; soft ones are 1 from 0.5 up."""
        return hard_targets(self.targets_NL)

    def counts(self) -> dict[str, int]:
        """Messages of each split."""
        return {split: len(self.rows(split)) for split in SPLITS}


def choose_rows(ids: Any, split_names: np.ndarray, limits: Mapping[str, int], seed: int) -> np.ndarray:
    """Keep at most so many rows of each split, drawn by a seeded hash of the message id, never by position.

    Returns:
        Split names with the rest set to "".
    """
    kept = split_names.copy()
    for split, limit in limits.items():
        rows = np.flatnonzero(split_names == split)
        if len(rows) > limit:
            names = (
                ids.take(pa.array(rows)).to_pylist()
                if isinstance(ids, pa.ChunkedArray)
                else [ids[int(i)] for i in rows]
            )
            keys = np.fromiter((_hash(f"{seed}:{name}") for name in names), dtype=np.uint64, count=len(rows))
            kept[rows[np.argsort(keys, kind="stable")[limit:]]] = ""
    return kept


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")
