"""Pairs divided over files by the digest of their English sentence, each file small enough to be sorted in memory.

Equal English sentences meet in one file, and so do equal pairs. Files are in the order of the digest and each is sorted
by it: read one after the other they give one order, which depends on the pairs alone, not on the order of reading nor
on the number of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["PARTITION", "Partitions", "partition_bits"]

PARTITION = pa.schema(
    [
        ("english_key", pa.uint64()),
        ("pair_key", pa.uint64()),
        ("group", pa.int32()),
        ("english", pa.large_string()),
        ("text", pa.large_string()),
    ]
)
"""Columns of a partition; `group` numbers (source, language)."""

_PAIRS = 1 << 18  # of a partition, about: some 100 MB while it is sorted
_MOST_BITS = 10  # 1,024 open files
_UNKNOWN_BITS = 8
_BUFFER_BYTES = 1 << 26
_ROWS = 1 << 16  # of a record batch in a sorted partition


def partition_bits(pairs: int | None) -> int:
    """How many bits of a digest choose the partition, for so many pairs; None: nobody knows how many."""
    if pairs is None:
        return _UNKNOWN_BITS
    return min(_MOST_BITS, max(0, int(pairs - 1) // _PAIRS).bit_length())


class Partitions:
    """Files of pairs in a folder.

    Args:
        folder: Where; exists.
        bits: Of the English digest that choose the file.
    """

    def __init__(self, folder: Path, bits: int) -> None:
        self.folder, self.bits = folder, bits
        self._buffer: list[pa.RecordBatch] = []
        self._bytes = 0
        self._writers: dict[int, tuple[pa.OSFile, pa.ipc.RecordBatchStreamWriter]] = {}
        self._filled: set[int] = set()

    def numbers(self) -> list[int]:
        """The partitions that hold pairs, in order."""
        return sorted(self._filled)

    def add(
        self,
        english: Sequence[str],
        text: Sequence[str],
        groups: np.ndarray,
        english_keys: np.ndarray,
        pair_keys: np.ndarray,
    ) -> None:
        """Add pairs; all arguments have their length."""
        arrays = [english_keys, pair_keys, groups.astype(np.int32), english, text]
        batch = pa.record_batch(
            [pa.array(values, kind.type) for values, kind in zip(arrays, PARTITION, strict=True)],
            schema=PARTITION,
        )
        self._buffer.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._buffer:
            return
        table = pa.Table.from_batches(self._buffer, PARTITION).combine_chunks()
        self._buffer, self._bytes = [], 0
        numbers = self._number(table["english_key"].to_numpy())
        order = np.argsort(numbers, kind="stable")
        table, numbers = table.take(pa.array(order)), numbers[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
            self._writer(int(numbers[start])).write_table(table.slice(start, end - start))

    def _number(self, keys: np.ndarray) -> np.ndarray:
        if not self.bits:
            return np.zeros(len(keys), np.int64)
        return (keys >> np.uint64(64 - self.bits)).astype(np.int64)

    def _writer(self, number: int) -> pa.ipc.RecordBatchStreamWriter:
        if number not in self._writers:
            sink = pa.OSFile(str(self._raw(number)), "wb")
            self._filled.add(number)
            self._writers[number] = sink, pa.ipc.new_stream(sink, PARTITION)
        return self._writers[number][1]

    def close(self) -> None:
        """Write what is still held and close all files."""
        self._flush()
        for sink, writer in self._writers.values():
            writer.close()
            sink.close()
        self._writers = {}

    def _raw(self, number: int) -> Path:
        return self.folder / f"{number:04d}.raw"

    def _sorted(self, number: int) -> Path:
        return self.folder / f"{number:04d}.arrow"

    def deduplicate(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sort a partition and drop all but the first of equal pairs.

        The first is that of the earliest group (so of the earliest source), then by the texts as they are.

        Returns:
            Groups, English digests and pair digests of what is kept, `(n,)` each, and groups of what is dropped.
        """
        table = self._read_raw(number)
        by = [(name, "ascending") for name in ("english_key", "pair_key", "group", "english", "text")]
        table = table.take(pc.sort_indices(table, sort_keys=by))
        english, pair = table["english_key"].to_numpy(), table["pair_key"].to_numpy()
        first = np.ones(len(pair), dtype=bool)
        first[1:] = (english[1:] != english[:-1]) | (pair[1:] != pair[:-1])
        groups = table["group"].to_numpy()
        with (
            pa.OSFile(str(self._sorted(number)), "wb") as sink,
            pa.ipc.new_file(sink, PARTITION) as writer,
        ):
            kept = table if first.all() else table.filter(pa.array(first))
            writer.write_table(kept, max_chunksize=_ROWS)
        self._raw(number).unlink()
        return groups[first], english[first], pair[first], groups[~first]

    def _read_raw(self, number: int) -> pa.Table:
        with pa.OSFile(str(self._raw(number))) as source, pa.ipc.open_stream(source) as reader:
            return reader.read_all().combine_chunks()

    def table(self, number: int) -> pa.Table:
        """A sorted partition, whole, in memory."""
        return self._columns(number, range(len(PARTITION)))

    def digests(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield English digests, pair digests and groups of each sorted partition; the texts are not read."""
        for number in self.numbers():
            table = self._columns(number, range(3))
            english, pairs, groups = (table[name].to_numpy() for name in ("english_key", "pair_key", "group"))
            yield english, pairs, groups

    def _columns(self, number: int, fields: Sequence[int]) -> pa.Table:
        options = pa.ipc.IpcReadOptions(included_fields=list(fields))
        # Not mapped: pages of files that are read once would count as this process's memory.
        with (
            pa.OSFile(str(self._sorted(number))) as source,
            pa.ipc.open_file(source, options=options) as reader,
        ):
            return reader.read_all()

    def drop(self, number: int) -> None:
        """Delete a sorted partition."""
        self._sorted(number).unlink()
