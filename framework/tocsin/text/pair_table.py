"""The reader of tables of sentence pairs: a row a pair, in any file that a message reader takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import ConfigError, DataError
from tocsin.text.pairs import PAIR_COLUMNS, PairReader
from tocsin.text.readers import Reader, reader_for, resolve_data_paths
from tocsin.text.reading import BATCH_ROWS, OnBadRow

__all__ = ["PairTable"]


class PairTable(PairReader):
    """Reads tables with a pair a row: Parquet, CSV, TSV, JSONL or Arrow.

    A row with an empty or null side, or without a language, is a bad row. Rows that `where` leaves out are not looked
    at.

    Args:
        files: File or files, folders of them or patterns such as corpus/*.csv, relative to data/ or to $TOCSIN_DATA.
        english: Column of the English sentence.
        text: Column of its translation.
        lang: Column of the translation's language code.
        lang_value: The language code of every row, in place of a column.
        source: Column that names the corpus; null for none.
        source_value: The name of the corpus of every row, in place of a column.
        where: Keeps the rows in which each of these columns holds this value, such as {domain: health}.
        reader: How files are read; null chooses by the file's ending.
    """

    def __init__(
        self,
        files: str | list[str],
        english: str = "english",
        text: str = "text",
        lang: str = "lang",
        lang_value: str | None = None,
        source: str | None = None,
        source_value: str | None = None,
        where: dict[str, str] | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.names = [files] if isinstance(files, str) else list(files)
        if not self.names:
            raise ConfigError("PairTable: files is empty; name at least one.")
        if source is not None and source_value is not None:
            raise ConfigError("PairTable: source and source_value are both given; leave out one of them.")
        if lang_value is not None and not lang_value.strip():
            raise ConfigError("PairTable: lang_value is empty; wanted a language code such as 'fra'.")
        self.english, self.text = english, text
        self.lang = lang if lang_value is None else None
        self.lang_value = lang_value
        self.source, self.source_value = source, source_value
        self.where = dict(where or {})
        self.reader = reader

    def files(self) -> list[Path]:
        """Return the files, as found now."""
        return [path for name in self.names for path in resolve_data_paths(name, self.reader)]

    def approximate_pairs(self) -> int | None:
        """Return the rows of all files, those that `where` leaves out among them."""
        counts = [(self.reader or reader_for(path)).approximate_rows(path) for path in self.files()]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 16,384 pairs; see `PairReader.batches`."""
        for path in self.files():
            yield from self._pairs(path, self.reader or reader_for(path), on_bad_row)

    def _pairs(self, path: Path, reader: Reader, on_bad_row: OnBadRow | None) -> Iterator[pa.RecordBatch]:
        named = (self.english, self.text, self.lang, self.source, *self.where)
        columns = list(dict.fromkeys(name for name in named if name is not None))
        told: set[int] = set()

        def on_bad(error: DataError) -> None:
            told.add(error.row or 0)
            assert on_bad_row is not None
            on_bad_row(error)

        rows = 0
        # Plugins' readers need not offer to skip.
        whole = reader.batches(path, columns, on_bad) if on_bad_row else reader.batches(path, columns)
        for large in whole:
            for start in range(0, large.num_rows, BATCH_ROWS):
                batch = large.slice(start, BATCH_ROWS)
                yield from self._part(batch, path, rows, told, on_bad_row)
                rows += batch.num_rows

    def _part(
        self, batch: pa.RecordBatch, path: Path, rows: int, told: set[int], on_bad_row: OnBadRow | None
    ) -> Iterator[pa.RecordBatch]:
        keep = np.ones(batch.num_rows, dtype=bool)
        for name, value in self.where.items():
            cells = self._strings(batch.column(name), name, path)
            keep &= pc.fill_null(pc.equal(cells, value), False).to_numpy(zero_copy_only=False)
        sides = {
            name: self._strings(batch.column(name), name, path)
            for name in (self.english, self.text, self.lang)
            if name is not None
        }
        for name, cells in sides.items():
            empty = pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(cells)), 0), True)
            for at in np.flatnonzero(empty.to_numpy(zero_copy_only=False) & keep):
                keep[at] = False
                if (row := rows + int(at) + 1) in told:
                    continue
                told.add(row)
                kind = "empty" if cells[int(at)].is_valid else "null"
                fault = DataError(
                    f"column {name!r} is {kind}; a pair needs both its sides and a language. Mend the row, or leave "
                    "such rows out (on_bad_pair: skip)",
                    file=path,
                    row=row,
                )
                if on_bad_row is None:
                    raise fault
                on_bad_row(fault)
        count = batch.num_rows
        columns = {
            "english": sides[self.english],
            "text": sides[self.text],
            "lang": sides[self.lang]
            if self.lang is not None
            else pa.array([self.lang_value] * count, pa.string()),
            "source": self._sources(batch, path),
        }
        made = pa.RecordBatch.from_arrays([columns[name] for name in PAIR_COLUMNS], names=list(PAIR_COLUMNS))
        if not keep.all():
            made = made.filter(pa.array(keep))
        if made.num_rows:
            yield made

    def _sources(self, batch: pa.RecordBatch, path: Path) -> pa.Array:
        if self.source is None:
            return pa.array([self.source_value or ""] * batch.num_rows, pa.string())
        return pc.fill_null(self._strings(batch.column(self.source), self.source, path), "")

    @staticmethod
    def _strings(array: pa.Array, name: str, path: Path) -> pa.Array:
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            return array
        try:
            return array.cast(pa.string())
        except pa.ArrowException:
            raise DataError(
                f"column {name!r} holds values of type {array.type}; text is wanted", file=path
            ) from None
