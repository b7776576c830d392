"""Parallel sentences on disk, memory-mapped: what `pair_building` wrote.

Axes: E distinct English sentences, N training pairs, H held-out pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.batches.pair_counts import PairCounts
from tocsin.errors import DataError

__all__ = ["FACTS", "PairCorpus", "mapped"]

FACTS = "corpus.json"
"""The file that says what the others are; written last."""


def mapped(path: Path, kind: str) -> np.ndarray:
    """A file of numbers, memory-mapped, read only; numpy maps no empty file."""
    if not path.stat().st_size:
        return np.zeros(0, kind)
    return np.memmap(path, kind, "r")


class PairCorpus:
    """What `build_pairs` wrote, memory-mapped.

    English sentences that a training pair needs have the numbers from 0 to `english_train`, those of held-out pairs the
    numbers from there to E: no sentence is in both.

    Args:
        folder: The folder, checked (`tocsin.cache_entries.cached_folder`).

    Attributes:
        counts: Pairs by source, language and filter.
        groups: (source, language, training pairs), in the order of sources, then of codes.
        train_english: Number of the English sentence of each training pair, `(N,)`.
        train_order: Rows of the training pairs group by group, `(N,)`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be read ({error}); delete the folder", file=folder / FACTS) from None
        self.counts = PairCounts.from_rows(facts["sources"], facts["counts"])
        self.groups = [(source, lang, int(pairs)) for source, lang, pairs in facts["groups"]]
        self.english_train = int(facts["english"]["train"])
        self.english_total = self.english_train + int(facts["english"]["validation"])
        self.english_digest = hashlib.sha256("".join(facts["english_digest"]).encode()).hexdigest()
        self.train_english = mapped(folder / "train-english.i64", "<i8")
        self.train_order = mapped(folder / "train-order.i64", "<i8")

    def english(self) -> pa.ChunkedArray:
        """The distinct English sentences `(E,)`, memory-mapped."""
        tables = [self._mapped(f"english-{split}") for split in ("train", "validation")]
        return pa.chunked_array(
            [chunk for table in tables for chunk in table["text"].chunks], pa.large_string()
        )

    def english_rows(self, split: str) -> np.ndarray:
        """Numbers of the English sentences that a split needs, ascending, memory-mapped."""
        rows = mapped(self.folder / "english-rows.i64", "<i8")
        return rows[: self.english_train] if split == "train" else rows[self.english_train :]

    def english_pairs(self, split: str) -> np.ndarray:
        """For each English sentence of a split, in the order of their numbers, how many of its pairs share it."""
        name = "english-pairs.i32" if split == "train" else "english-pairs-validation.i32"
        return mapped(self.folder / name, "<i4")

    def validation_pairs(self) -> pa.Table:
        """The held-out pairs `(H,)`: lang, source, text and english (number)."""
        table = self._mapped("validation")
        numbers = pc.add(table["english"], self.english_train)
        return table.set_column(table.schema.get_field_index("english"), "english", numbers)

    def texts(self, name: str, rows: int) -> Iterator[list[str]]:
        """Yield the strings of english, text-train or validation, some thousands at a time, read rather than mapped."""
        names = ("english-train", "english-validation") if name == "english" else (name,)
        for one in names:
            path = self.folder / f"{one}.arrow"
            with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
                for number in range(reader.num_record_batches):
                    column = reader.get_batch(number).column("text")
                    for start in range(0, len(column), rows):
                        yield column.slice(start, rows).to_pylist()

    def _mapped(self, name: str) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self.folder / f"{name}.arrow"))).read_all()
