"""The teacher's vectors of a DataModule's English sentences: computed once, then read from the store.

Axes: B sentences of a pass, n sentences of the fit, D width.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from tocsin.batches.protocols import ServesPairs
from tocsin.cache_entries import cache_room
from tocsin.files import cache_folder, reserve
from tocsin.models.teacher import LoadedTeacher, Teacher
from tocsin.models.vector_store import VectorStore, sentence_keys
from tocsin.text.progress import progress_bar

__all__ = ["TeacherVectors"]

_CHUNK = 1 << 14  # sentences that are hashed together
_BLOCK = 1024  # sentences of a block: what an interrupted fit computes again, at most


class TeacherVectors:
    """Vectors by English number.

    Each distinct English sentence is computed once over all languages, sources and fits with this teacher; a fit that
    is interrupted goes on where it stopped. What a fit needs beside the store is 8 bytes a sentence and its numbers.

    Args:
        data: Serves the sentences.
        teacher: Not loaded; it is while something is computed, and to make its key.
        show: Whether to show a progress bar.
    """

    def __init__(self, data: ServesPairs, teacher: Teacher, show: bool) -> None:
        self.data, self.teacher, self.show = data, teacher, show
        self.computed = 0
        self._numbers = np.zeros(0, dtype=np.int64)
        self._places = np.zeros(0, dtype=np.int64)
        self._vectors = np.zeros((0, teacher.width), dtype=np.float16)

    def prepare(self, splits: Sequence[str], device: torch.device | str) -> None:
        """Find or compute the vectors of these splits; afterwards no weight of the teacher is in memory.

        Raises:
            ConfigError: The teacher gives what float16 cannot hold.
            DataError: The cache cannot be written.
        """
        rows = [np.asarray(self.data.english_rows(split), dtype=np.int64) for split in splits]
        numbers = np.unique(np.concatenate(rows)) if rows else np.zeros(0, dtype=np.int64)
        teacher = self.teacher.load(device)
        store = VectorStore(cache_folder("teachers", teacher.key()), self.teacher.width)
        places = _scratch(len(numbers), np.dtype(np.int64))
        english = _Texts(self.data.english())
        keys = _scratch(len(numbers), sentence_keys([""]).dtype)
        for start in range(0, len(numbers), _CHUNK):
            keys[start : start + _CHUNK] = sentence_keys(english[numbers[start : start + _CHUNK]])
        store.find(keys, places)
        if store.damaged:
            rank_zero_warn(
                f"{store.damaged} blocks of the teacher's vectors in {store.folder} are damaged; they are computed "
                "again."
            )
        if (places < 0).any():
            self._compute(store, teacher, english, numbers, keys, places)
        self._numbers, self._places, self._vectors = numbers, places, store.vectors()
        self.teacher.encoder.release_tokenizer()  # its length may have asked for it

    def _compute(
        self,
        store: VectorStore,
        teacher: LoadedTeacher,
        english: "_Texts",
        numbers: np.ndarray,
        keys: np.ndarray,
        places: np.ndarray,
    ) -> None:
        budget = 1024 if torch.device(teacher.device).type == "cpu" else 16384
        with store.writing() as append:
            store.find(keys, places)  # another fit may have computed some while this one waited
            missing = np.flatnonzero(places < 0)
            with progress_bar("teacher's vectors", len(missing), unit="sentences", show=self.show) as advance:
                for start in range(0, len(missing), _BLOCK):
                    chosen = missing[start : start + _BLOCK]
                    sentences = english[numbers[chosen]]
                    places[chosen] = append(sentences, teacher.vectors(sentences, budget))
                    self.computed += len(chosen)
                    advance(len(chosen))

    def of(self, english_B: Tensor) -> Tensor:
        """Vectors `(B, D)` float32 of English numbers, on their device.

        Raises:
            KeyError: A number that no split of `prepare` has.
        """
        wanted = english_B.cpu().numpy()
        at = np.searchsorted(self._numbers, wanted).clip(max=max(0, len(self._numbers) - 1))
        if not len(self._numbers) or not np.array_equal(self._numbers[at], wanted):
            raise KeyError("an English number that the split does not list in english_rows()")
        found = np.asarray(self._vectors[self._places[at]], dtype=np.float32)
        return torch.from_numpy(found).to(english_B.device)


class _Texts:
    """Sentences by ascending numbers, chunk by chunk: arrow's own `take` may join all chunks first."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._chunks = column.chunks
        self._starts = np.cumsum([0, *map(len, self._chunks)])

    def __getitem__(self, numbers: np.ndarray) -> list[str]:
        texts: list[str] = []
        edges = np.searchsorted(numbers, self._starts)
        for chunk, start, low, high in zip(self._chunks, self._starts, edges, edges[1:], strict=False):
            if high > low:
                texts += chunk.take(pa.array(numbers[low:high] - start)).to_pylist()
        return texts


def _scratch(count: int, dtype: np.dtype) -> np.ndarray:
    """An array in a file that is gone with the process: pages that memory has no room for go to the disk."""
    if count * dtype.itemsize < 1 << 26:
        return np.zeros(count, dtype=dtype)
    folder = cache_folder("teachers")
    with cache_room(folder / "places"):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".places.", dir=folder)
        os.close(handle)
        path = Path(name)
        try:
            reserve(path, count * dtype.itemsize)
            made = np.memmap(path, dtype=dtype, mode="r+", shape=(count,))
        except OSError:
            path.unlink()
            raise
    with suppress(OSError):  # Windows keeps a mapped file
        path.unlink()
    return made
