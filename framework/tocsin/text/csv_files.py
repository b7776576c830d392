"""The reader of delimited files: CSV, TSV and their kin."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from tocsin.errors import ConfigError, DataError
from tocsin.text.csv_checks import BACKSLASH, RowShapes
from tocsin.text.csv_stream import END, CsvDialect, CsvStream, lines_of_row
from tocsin.text.reading import (
    BadRows,
    DataWarning,
    OnBadRow,
    Reader,
    check_not_empty,
    count_lines,
    find_columns,
    one_line,
    stripped_names,
    valid_strings,
    warn_of_header,
)
from tocsin.text.streams import LINE_BYTES, MARK, check_encoding, unmarked

__all__ = ["CsvReader"]

_BLOCK_BYTES = LINE_BYTES  # one row must fit into a block
_SIGNS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_QUOTES_OFF = (
    "if quotes are ordinary characters in this file, the reader's option `quotes: false` reads it so"
)


class CsvReader(Reader):
    r"""Reads delimited files (.csv, .tsv, .tab, .txt; also packed: .csv.gz, .csv.zst), by their header.

    Every value is read as a string, as it stands, so that a wrong one can be named by its row. White space around the
    names of columns is dropped. Quoted values may hold newlines; blank lines are passed over and not counted. A row may
    hold at most 16 MB. A carriage return that ends no line belongs to its value, unless the header ends in one.

    A value is refused that holds what looks like rows of the file: one row opened a quote and another one closed it.

    Args:
        delimiter: The sign between two fields, such as ";", "\t" or tab. Null takes a comma for .csv, a tab for .tsv,
            and for other endings what the header holds.
        quotes: Whether `"` opens and closes a value that may hold the delimiter or newlines. False takes it for an
            ordinary character, as TSV files of messages often do. True also takes values that look like several rows.
        escape: The sign that makes an ordinary character of a quote inside a quoted value, mostly a backslash. Null:
            quotes inside values are doubled. It is dropped before a quote, the delimiter, a newline and itself alone.
        encoding: How the file is written, such as cp1252 or utf-16. Null: UTF-8, with or without a byte-order mark.
        column_names: Names of the columns of a file without a header, in its order. Null: the first row holds them.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab", ".txt")

    def __init__(
        self,
        delimiter: str | None = None,
        quotes: bool | None = None,
        escape: str | None = None,
        encoding: str | None = None,
        column_names: list[str] | None = None,
    ) -> None:
        sign = _SIGNS.get(delimiter, delimiter) if isinstance(delimiter, str) else delimiter
        if sign is not None and not _is_sign(sign):
            raise ConfigError(
                f"delimiter is {delimiter!r}; it must be one character, such as ',' or ';', or tab"
            )
        escape = "\\" if escape == "\\\\" else escape
        if escape is not None and not (_is_sign(escape) and escape != sign):
            raise ConfigError(f"escape is {escape!r}; it must be one character, mostly a backslash")
        if quotes not in (None, True, False):
            raise ConfigError(f"quotes is {quotes!r}; it must be true, false or null")
        if column_names is not None and not _are_names(column_names):
            raise ConfigError(
                f"column_names is {column_names!r}; wanted was a name for each column, each once"
            )
        self.delimiter, self.quotes, self.escape = sign, quotes, escape
        self.encoding = check_encoding(encoding)
        self.column_names = column_names
        names = None if column_names is None else tuple(column_names)
        self._dialect = CsvDialect(sign, quotes is not False, escape, self.encoding, names)

    def columns(self, path: Path) -> list[str]:
        """Return the names in the header."""
        with CsvStream(path, self._dialect) as stream:
            return stripped_names(stream.names)

    def approximate_rows(self, path: Path) -> int | None:
        """Return the number of lines less the header; quoted newlines make it too high. None for a packed file."""
        lines = count_lines(path)
        return None if lines is None else max(lines - (self.column_names is None), 0)

    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of 16 MB, all values strings; see `Reader.batches`."""
        with CsvStream(path, self._dialect) as stream:
            bad = BadRows(path, on_bad_row)
            places = find_columns(path, columns, stream.names)
            warn_of_header(path, stream.names)
            rows = 0
            for batch in self._batches(stream, bad):
                arrays = [
                    valid_strings(
                        batch.column(place),
                        path=path,
                        column=name,
                        first_row=rows + 1,
                        on_bad_row=bad.hook,
                        encoding=self.encoding,
                    )
                    for name, place in zip(columns, places, strict=True)
                ]
                rows += batch.num_rows
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            if stream.stray is not None and stream.stray.count:
                warnings.warn(
                    f"{path}: {stream.stray.count:,} lines or more hold a quoted value that goes on after its closing "
                    f'quote, as in "Help" she said; its quotes are dropped. {_QUOTES_OFF[0].upper()}{_QUOTES_OFF[1:]}',
                    DataWarning,
                    stacklevel=2,
                )
            check_not_empty(path, rows)
            bad.check(rows)

    def _batches(self, stream: CsvStream, bad: BadRows) -> Iterator[pa.RecordBatch]:
        """Yield whole batches of binary columns, in the file's order, bad rows as nulls."""
        shapes = RowShapes(stream.delimiter, len(stream.names)) if self.quotes is None else None
        rows = 0
        ended = False
        for batch in self._parsed(stream, bad):
            if batch.num_rows and batch.column(0)[-1].as_py() == END:
                batch, ended = batch.slice(0, batch.num_rows - 1), True
            batch = bad.with_nulls(batch, rows)
            _check_sizes(batch, stream.path, rows)
            if not ended and batch.num_rows and END in (batch.column(-1)[-1].as_py() or b""):
                raise self._torn(stream, rows + batch.num_rows)
            if shapes is not None and (found := shapes.swallowed(batch)):
                raise self._swallowed(stream, batch, rows, *found)
            rows += batch.num_rows
            if batch.num_rows:
                yield _restored(batch) if stream.changed else batch
        if not ended:
            raise self._torn(stream, rows + 1)

    def _parsed(self, stream: CsvStream, bad: BadRows) -> Iterator[pa.RecordBatch]:
        faults: list[DataError] = []

        def on_invalid(row: arrow_csv.InvalidRow) -> str:
            if END.decode() in row.text:
                faults.append(self._torn(stream, row.number))
                return "error"
            fault = DataError(self._wrong_count(row, stream), file=stream.path, row=row.number)
            if bad.hook is None:
                faults.append(fault)
                return "error"
            bad.add(fault)
            return "skip"

        names = [str(number) for number in range(len(stream.names))]
        rows = 0
        try:
            for batch in arrow_csv.open_csv(
                pa.PythonFile(stream, mode="r"),
                # One thread: only then does Arrow know the number of a row it refuses.
                read_options=arrow_csv.ReadOptions(
                    block_size=_BLOCK_BYTES, use_threads=False, column_names=names
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=stream.delimiter,
                    quote_char='"' if self.quotes is not False else False,
                    escape_char=self.escape or False,
                    newlines_in_values=self.quotes is not False or self.escape is not None,
                    invalid_row_handler=on_invalid,
                ),
                # Every column: a row may be swallowed by any. Binary: valid_strings names the row that is no UTF-8.
                convert_options=arrow_csv.ConvertOptions(column_types={name: pa.binary() for name in names}),
            ):
                rows += batch.num_rows
                yield batch
        except pa.ArrowException as error:
            if faults:
                raise faults[0] from None
            if "straddling" in str(error):
                raise self._too_long(stream, rows) from None
            raise DataError(
                f"cannot be read as CSV after row {rows}: {one_line(error)}", file=stream.path
            ) from None

    def _wrong_count(self, row: arrow_csv.InvalidRow, stream: CsvStream) -> str:
        # The text is not quoted back: it may be a private message, and it may be 16 MB long.
        source = "the header" if self.column_names is None else "column_names"
        said = f"{row.actual_columns} fields, {source} has {row.expected_columns}; "
        if f"{MARK}R" in row.text:
            return (
                f"{said}the row holds a carriage return (\\r) that ends no line in this file. Where it should end one, "
                "write all ends of lines alike; in a value it does no harm"
            )
        if '\\"' in row.text and self.quotes is not False and self.escape is None:
            return f"{said}{BACKSLASH}"
        quoted = f"; {_QUOTES_OFF}" if '"' in row.text and self.quotes is not False else ""
        return f"{said}a value that holds {stream.delimiter!r} or a newline needs quotes around it{quoted}"

    def _torn(self, stream: CsvStream, row: int) -> DataError:
        line, _ = lines_of_row(stream.path, self._dialect, row)
        return DataError(
            f"the file ends inside a quoted value{f', of a row that begins in line {line}' if line else ''}: it is "
            f"torn, or a quote is not closed. Write or fetch it again; {_QUOTES_OFF}",
            file=stream.path,
            row=row,
        )

    def _too_long(self, stream: CsvStream, rows: int) -> DataError:
        return DataError(
            f"a row after row {rows} is longer than {_BLOCK_BYTES >> 20} MB: most likely a quote is not closed; "
            f"{_QUOTES_OFF}",
            file=stream.path,
        )

    def _swallowed(
        self, stream: CsvStream, batch: pa.RecordBatch, rows: int, at: int, column: int
    ) -> DataError:
        start, _ = lines_of_row(stream.path, self._dialect, rows + at + 1)
        before = sum((batch.column(number)[at].as_py() or b"").count(b"\n") for number in range(column))
        count = batch.column(column)[at].as_py().count(b"\n")
        first = start + before
        return DataError(
            f"the quote that opens in line {first} is closed in line {first + count}, and the lines between look like "
            f"rows of the file: {count + 1} lines would be one row. Close the quote; or, "
            f"{_QUOTES_OFF}, and `quotes: true` takes the lines for one text",
            file=stream.path,
            row=rows + at + 1,
        )


def _is_sign(sign: object) -> bool:
    return isinstance(sign, str) and len(sign) == 1 and sign.isascii() and sign not in '"\r\n'


def _are_names(names: object) -> bool:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        return False
    return 0 < len(set(names)) == len(names)


def _check_sizes(batch: pa.RecordBatch, path: Path, rows: int) -> None:
    """Refuse a row beyond the limit that Arrow let pass: it may take up two blocks."""
    if batch.nbytes <= _BLOCK_BYTES:
        return
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    if len(sizes) and sizes.max() > _BLOCK_BYTES:
        raise DataError(
            f"the row is longer than {_BLOCK_BYTES >> 20} MB: most likely a quote is not closed; {_QUOTES_OFF}",
            file=path,
            row=rows + int(np.argmax(sizes > _BLOCK_BYTES)) + 1,
        )


def _restored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the bytes that the stream had to replace."""
    columns = []
    for column in batch.columns:
        mask = pc.match_substring(column, MARK.encode()).fill_null(False)
        if pc.any(mask).as_py():
            values = [unmarked(value) for value in column.filter(mask).to_pylist()]
            column = pc.replace_with_mask(column, mask, pa.array(values, pa.binary()))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
