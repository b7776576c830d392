"""Vectors of sentences on disk, float16, each found by its sentence: append-only, checked, shared by all data mixes.

A store is a folder for one teacher (its name is the teacher's content key) with three files that only grow:

    vectors   one record a sentence, D float16 numbers
    keys      in the same order, 16 bytes each: BLAKE2b of the sentence
    blocks    32 bytes each: first record and number of records (uint64), BLAKE2b over them, the keys and the vectors

A block counts once its line in `blocks` is whole, which is written last: what a kill leaves beyond it is nobody's. A
block whose checksum fails is struck out, and its sentences are computed again. No file but `blocks` ever shrinks, so
that who reads is not disturbed.

float16 keeps 11 bits: a component is off by at most 2^-11 (4.9e-4) of itself, or by 3e-8 where it is below 6e-5. Over
a vector that is at most 2.4e-7 of its squared length, below which the squared error to the true teacher cannot fall.
Axes: n sentences, N records, D width.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tocsin.checksums import Problem
from tocsin.errors import ConfigError, DataError
from tocsin.files import lock_handle, whole_file

__all__ = ["LARGEST", "VectorStore", "sentence_keys", "verify_store"]

LARGEST = 65504.0
"""The largest number that float16 holds."""

_KEY = np.dtype([("high", ">u8"), ("low", ">u8")])
_LINE = np.dtype([("first", "<u8"), ("count", "<u8"), ("digest", "V16")])
_PART = 1 << 22  # records that are matched at once: 100 MB of keys and places


def sentence_keys(sentences: Iterable[str]) -> np.ndarray:
    """128-bit keys `(n,)` of sentences; lone surrogates are no fault here."""
    joined = b"".join(
        hashlib.blake2b(sentence.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for sentence in sentences
    )
    return np.frombuffer(joined, dtype=_KEY)


class VectorStore:
    """The vectors of one teacher.

    Args:
        folder: Made where it is missing.
        width: D.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._damaged: set[bytes] = set()

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _blocks(self) -> np.ndarray:
        """Lines `(K,)` of whole blocks, but those known to be damaged: what lacks records is found here."""
        try:
            content = self._path("blocks").read_bytes()
        except FileNotFoundError:
            return np.zeros(0, dtype=_LINE)
        lines = np.frombuffer(content[: len(content) // _LINE.itemsize * _LINE.itemsize], dtype=_LINE)
        held = min(
            _size(self._path("vectors")) // (2 * self.width), _size(self._path("keys")) // _KEY.itemsize
        )
        first, count = lines["first"].astype(np.int64), lines["count"].astype(np.int64)
        whole = (count > 0) & (first >= 0) & (first <= held) & (count <= held - np.minimum(first, held))
        # A line is written after its records: where they are not there, something was cut off later.
        self._damaged |= {line.tobytes() for line in lines[~whole]}
        return lines[[line.tobytes() not in self._damaged for line in lines]]

    def vectors(self) -> np.ndarray:
        """All records `(N, D)` float16, memory-mapped; those of no block among them."""
        records = _size(self._path("vectors")) // (2 * self.width)
        if not records:
            return np.zeros((0, self.width), dtype=np.float16)
        return np.memmap(self._path("vectors"), dtype=np.float16, mode="r", shape=(records, self.width))

    def _keys(self) -> np.ndarray:
        records = _size(self._path("keys")) // _KEY.itemsize
        if not records:
            return np.zeros(0, dtype=_KEY)
        return np.memmap(self._path("keys"), dtype=_KEY, mode="r", shape=(records,))

    # Reading ---------------------------------------------------------------------------------------------------------

    def find(self, wanted: np.ndarray, places: np.ndarray) -> None:
        """Fill `places` `(n,)` int64 with the records of these keys `(n,)`, -1 where there is none.

        Every block that is used has been compared with its checksum before. Keys are matched in parts by their first
        bits, so that memory does not grow with the store.
        """
        keys = self._keys()
        while True:
            places[:] = -1
            lines = self._blocks()
            if not len(lines) or not len(wanted):
                return
            self._match(wanted, places, keys, lines)
            bad = self._damaged_among(lines, places)
            if not bad:
                return
            self._damaged |= bad  # and look again without them: a sentence may stand in a sound block, too

    def _match(self, wanted: np.ndarray, places: np.ndarray, keys: np.ndarray, lines: np.ndarray) -> None:
        """Fill `places` with records of these blocks whose key is wanted."""
        counted = np.zeros(len(keys), dtype=bool)
        for line in lines:
            counted[int(line["first"]) : int(line["first"]) + int(line["count"])] = True
        parts = 1 << max(0, int(np.ceil(np.log2(max(1, max(len(keys), len(wanted)) / _PART)))))
        shift = np.uint64(64 - (parts.bit_length() - 1)) if parts > 1 else None
        for part in range(parts):
            mine = np.flatnonzero(counted & _in_part(keys["high"], shift, part))
            asked = np.flatnonzero(_in_part(wanted["high"], shift, part))
            if not len(mine) or not len(asked):
                continue
            held = np.array(keys[mine]).view(_BYTES).ravel()
            order = np.argsort(held, kind="stable")
            held, mine = held[order], mine[order]
            asked_keys = np.ascontiguousarray(wanted[asked]).view(_BYTES).ravel()
            at = np.searchsorted(held, asked_keys).clip(max=len(held) - 1)
            found = held[at] == asked_keys
            places[asked[found]] = mine[at[found]]

    def _damaged_among(self, lines: np.ndarray, places: np.ndarray) -> set[bytes]:
        """Those of the blocks that `places` lie in whose checksum fails."""
        used = np.unique(places[places >= 0])
        vectors, keys = self.vectors(), self._keys()
        bad = set()
        for line in lines:
            first, count = int(line["first"]), int(line["count"])
            low = np.searchsorted(used, first)
            block = slice(first, first + count)
            asked = low < len(used) and used[low] < first + count
            if asked and bytes(line["digest"]) != _digest(first, keys[block], vectors[block]):
                bad.add(line.tobytes())
        return bad

    @property
    def damaged(self) -> int:
        """Blocks that were found damaged and not been struck out yet."""
        return len(self._damaged)

    # Writing ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[Callable[[Sequence[str], np.ndarray], np.ndarray]]:
        """Hold the store for writing, alone; yields what appends a block of sentences and vectors `(n, D)` float32.

        It gives back their records `(n,)`. A second writer waits.

        Raises:
            DataError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self._path("lock"), "a") as lock:
                lock_handle(lock.fileno(), wait=True)
                self._strike_out()
                self._align()
                yield self._append
        except OSError as error:
            raise DataError(
                f"the teacher's vectors cannot be kept ({error.strerror or error}). Set TOCSIN_CACHE to a folder with "
                "room that can be written.",
                file=self.folder,
            ) from error

    def _strike_out(self) -> None:
        """Write `blocks` anew without those that are damaged."""
        if self._damaged:
            with whole_file(self._path("blocks")) as part:
                part.write_bytes(self._blocks().tobytes())
            self._damaged = set()

    def _align(self) -> None:
        """Bring both files to one number of records where a kill left them apart; cut off half a line of `blocks`."""
        sizes = {"vectors": 2 * self.width, "keys": _KEY.itemsize}
        records = max(-(-_size(self._path(name)) // size) for name, size in sizes.items())
        for name, size in sizes.items():
            if records > 0 and _size(self._path(name)) < records * size:
                self._path(name).touch()
                os.truncate(self._path(name), records * size)
        whole = _size(self._path("blocks")) // _LINE.itemsize * _LINE.itemsize
        if _size(self._path("blocks")) > whole:
            os.truncate(self._path("blocks"), whole)

    def _append(self, sentences: Sequence[str], vectors_ND: np.ndarray) -> np.ndarray:
        if vectors_ND.shape != (len(sentences), self.width):
            raise ConfigError(
                f"The teacher gave vectors of shape {vectors_ND.shape} for {len(sentences)} sentences; wanted the "
                f"width {self.width}."
            )
        if not np.abs(vectors_ND).max(initial=0.0) <= LARGEST:
            row = int(np.flatnonzero(~(np.abs(vectors_ND).max(1) <= LARGEST))[0])
            raise ConfigError(
                f"The teacher's vector of the sentence {sentences[row][:60]!r} holds a number that is not finite or "
                f"above {LARGEST:.0f}, the largest that float16 holds. Is it a sound teacher, in float32?"
            )
        halves, keys = vectors_ND.astype(np.float16), sentence_keys(sentences)
        first = _size(self._path("vectors")) // (2 * self.width)
        for name, content in (("vectors", halves), ("keys", keys)):
            _extend(self._path(name), content.tobytes())
        line = np.zeros(1, dtype=_LINE)
        line["first"], line["count"] = first, len(sentences)
        line["digest"] = np.void(_digest(first, keys, halves))
        _extend(self._path("blocks"), line.tobytes())
        return np.arange(first, first + len(sentences))


def verify_store(folder: Path) -> list[Problem]:
    """Compare all blocks of a store with their checksums; what fails is computed again when it is next wanted.

    Args:
        folder: Of one teacher, in `teachers/` of the cache.
    """
    records = _size(folder / "keys") // _KEY.itemsize
    if not records:
        return []
    store = VectorStore(folder, max(1, round(_size(folder / "vectors") / records / 2)))
    content = (folder / "blocks").read_bytes() if (folder / "blocks").exists() else b""
    lines = np.frombuffer(content[: len(content) // _LINE.itemsize * _LINE.itemsize], dtype=_LINE)
    bad = store._damaged_among(store._blocks(), np.arange(records)) | store._damaged
    covered = int(lines["count"].astype(np.int64).sum()) if not bad else records
    found = (
        [Problem(str(folder), f"has {len(bad)} damaged blocks of vectors, of {len(lines)}")] if bad else []
    )
    sizes = {"vectors": 2 * store.width, "keys": _KEY.itemsize, "blocks": _LINE.itemsize}
    torn = [name for name, size in sizes.items() if _size(folder / name) % size]
    if torn:
        found.append(Problem(str(folder / torn[0]), "ends in half a record; nothing reads that", fatal=False))
    if covered < records:
        text = f"holds {records - covered:,} vectors of no block, which an interrupted run left; nothing reads them"
        found.append(Problem(str(folder), text, fatal=False))
    return found


_BYTES = np.dtype("S16")


def _in_part(high: np.ndarray, shift: np.uint64 | None, part: int) -> np.ndarray:
    if shift is None:
        return np.ones(len(high), dtype=bool)
    return (high.astype(np.uint64) >> shift) == part


def _digest(first: int, keys: np.ndarray, vectors: np.ndarray) -> bytes:
    digest = hashlib.blake2b(np.array([first, len(keys)], dtype="<u8").tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(keys).tobytes())
    digest.update(np.ascontiguousarray(vectors).tobytes())
    return digest.digest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _extend(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
