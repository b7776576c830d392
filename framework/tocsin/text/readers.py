"""Readers of message files: Parquet, CSV and TSV, JSON lines, and Arrow."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from tocsin.errors import ConfigError, DataError
from tocsin.text.arrow_files import ArrowReader, is_dataset_folder
from tocsin.text.hub import HUB, hub_file
from tocsin.text.json_lines import JsonLinesReader
from tocsin.text.reading import (
    BATCH_ROWS,
    OnBadRow,
    Reader,
    check_columns,
    check_file,
    check_not_empty,
    count_lines,
    one_line,
    valid_strings,
)

__all__ = [
    "ArrowReader",
    "CsvReader",
    "JsonLinesReader",
    "ParquetReader",
    "Reader",
    "reader_for",
    "resolve_data_path",
]

_BLOCK_BYTES = 1 << 24  # one CSV row must fit into a block


class ParquetReader(Reader):
    """Reads Parquet files (.parquet, .pq) with their own types."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def columns(self, path: Path) -> list[str]:
        """Return the names of the top-level columns."""
        with self._open(path) as file:
            return list(file.schema_arrow.names)

    def approximate_rows(self, path: Path) -> int | None:
        """Return the exact number of rows, which the file's footer states."""
        with self._open(path) as file:
            return int(file.metadata.num_rows)

    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 16,384 rows; see `Reader.batches`."""
        with self._open(path) as file:
            check_columns(path, columns, file.schema_arrow.names)
            rows = 0
            batches = file.iter_batches(batch_size=BATCH_ROWS, columns=list(dict.fromkeys(columns)))
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, OSError) as error:
                    raise DataError(
                        f"the Parquet file is torn or damaged here ({one_line(error)}); "
                        "write or fetch it again",
                        file=path,
                        row=rows + 1,
                    ) from None
                if batch is None:
                    break
                arrays = [self._checked(batch, name, path, rows + 1, on_bad_row) for name in columns]
                rows += batch.num_rows
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            check_not_empty(path, rows)

    @staticmethod
    def _open(path: Path) -> pq.ParquetFile:
        check_file(path)
        try:
            return pq.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"torn, or not a Parquet file ({one_line(error)}); write or fetch it again", file=path
            ) from None

    @staticmethod
    def _checked(
        batch: pa.RecordBatch, name: str, path: Path, first_row: int, on_bad_row: OnBadRow | None
    ) -> pa.Array:
        array = batch.column(name)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            return valid_strings(array, path=path, column=name, first_row=first_row, on_bad_row=on_bad_row)
        return array


class CsvReader(Reader):
    """Reads comma- or tab-separated files (.csv, .tsv) with a header, UTF-8 with or without a byte-order
    mark.

    Every value is read as a string, as it stands, so that a wrong one can be named by its row. Quoted values
    may hold newlines; blank lines are passed over and not counted. A row may hold at most 16 MB.

    Args:
        delimiter: The character between two fields. Null takes a tab for .tsv, a comma for everything
            else.
        quotes: Whether `"` opens and closes a value that may hold the delimiter or newlines. False takes it
            for an ordinary character, as TSV files of messages often do.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    def __init__(self, delimiter: str | None = None, quotes: bool = True) -> None:
        if delimiter is not None and len(delimiter) != 1:
            raise ConfigError(f"delimiter is {delimiter!r}; it must be one character, such as ',' or ';'")
        self.delimiter = delimiter
        self.quotes = quotes

    def columns(self, path: Path) -> list[str]:
        """Return the names in the header."""
        check_file(path)
        with path.open("rb") as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError("the file is UTF-16; save it as UTF-8", file=path)
        # errors="replace": only the header is read here; a wrong byte in a row is named when that is read.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            try:
                header = next(
                    (
                        row
                        for row in csv.reader(
                            file,
                            delimiter=self._delimiter(path),
                            quoting=csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE,
                        )
                        if row
                    ),
                    None,
                )
            except csv.Error as error:
                raise DataError(f"the header cannot be read as CSV: {error}", file=path) from None
        if header is None:
            raise DataError("the file holds blank lines only; it needs a header and rows", file=path)
        return header

    def approximate_rows(self, path: Path) -> int | None:
        """Return the number of lines less the header; quoted newlines make it too high."""
        return max(count_lines(path) - 1, 0)

    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of 16 MB, all values strings; see `Reader.batches`."""
        header = self.columns(path)
        check_columns(path, columns, header)
        # The last column is read in any case: a file torn inside a quoted value shows only there.
        wanted = list(dict.fromkeys([*columns, *([header[-1]] if header.count(header[-1]) == 1 else [])]))
        faults: dict[int, DataError] = {}
        rows = 0
        last_value: bytes | None = None
        for batch in self._raw_batches(path, wanted, faults, on_bad_row):
            if header[-1] in batch.schema.names and batch.num_rows:
                last_value = batch.column(header[-1])[-1].as_py()
            if any(row > rows for row in faults):
                batch = _with_null_rows(batch, rows, faults)
            arrays = [
                valid_strings(
                    batch.column(name), path=path, column=name, first_row=rows + 1, on_bad_row=on_bad_row
                )
                for name in columns
            ]
            rows += batch.num_rows
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        if self.quotes and last_value is not None and self._ends_inside_quotes(path, last_value):
            raise DataError(
                "the file ends inside a quoted value: it is torn, or a quote is not closed; "
                "write or fetch it again",
                file=path,
                row=rows,
            )
        check_not_empty(path, rows)

    def _raw_batches(
        self, path: Path, columns: Sequence[str], faults: dict[int, DataError], on_bad_row: OnBadRow | None
    ) -> Iterator[pa.RecordBatch]:
        def on_invalid(row: arrow_csv.InvalidRow) -> str:
            number = row.number - 1  # Arrow counts the header as row 1
            # The text is not quoted back: it may be a private message, and it may be 16 MB long.
            faults[number] = DataError(
                f"{row.actual_columns} fields, the header has {row.expected_columns}; a value that holds "
                f"{self._delimiter(path)!r} or a newline needs quotes around it",
                file=path,
                row=number,
            )
            if on_bad_row is None:
                return "error"
            on_bad_row(faults[number])
            return "skip"

        rows = 0
        try:
            batches = arrow_csv.open_csv(
                path,
                # One thread: only then does Arrow know the number of a row it refuses.
                read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self._delimiter(path),
                    quote_char='"' if self.quotes else False,
                    newlines_in_values=self.quotes,
                    invalid_row_handler=on_invalid,
                ),
                # Binary, not string: Arrow names no row for a value that is not UTF-8; valid_strings does.
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=list(columns), column_types={name: pa.binary() for name in columns}
                ),
            )
            for batch in batches:
                rows += batch.num_rows
                yield batch
        except pa.ArrowException as error:
            if faults and on_bad_row is None:
                raise next(iter(faults.values())) from None
            if "straddling" in str(error):
                raise DataError(
                    f"a row after row {rows} is longer than {_BLOCK_BYTES >> 20} MB: "
                    "most likely a quote is not closed",
                    file=path,
                ) from None
            if "cannot infer number of columns" in str(error):
                check_not_empty(path, 0)
            raise DataError(f"cannot be read as CSV after row {rows}: {one_line(error)}", file=path) from None

    def _delimiter(self, path: Path) -> str:
        return self.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")

    def _ends_inside_quotes(self, path: Path, last_value: bytes) -> bool:
        """Tell whether the last field was opened by a quote that nothing closes; Arrow takes it silently."""
        opened = b'"' + last_value.replace(b'"', b'""')
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - len(opened) - 1, 0))
            tail = file.read()
        return tail[1:] == opened and tail[:1] in (self._delimiter(path).encode(), b"\n", b"\r")


def reader_for(path: Path) -> Reader:
    """Return one of our own readers for a file, by the ending of its name, or for a folder that `save_to_disk`
    wrote. A plugin's has to be named, so that what is installed never changes how a file is read.

    Raises:
        DataError: No reader takes this ending; names the endings that are known.
    """
    if path.is_dir():
        if is_dataset_folder(path):
            return ArrowReader()
        raise DataError(
            "is a folder, and not one that save_to_disk of the library datasets wrote (state.json or "
            "dataset_dict.json is missing); name the message files inside it",
            file=path,
        )
    known: list[str] = []
    kinds: tuple[type[Reader], ...] = (ParquetReader, CsvReader, JsonLinesReader, ArrowReader)
    for kind in kinds:
        if path.suffix.lower() in kind.suffixes:
            return kind()
        known += kind.suffixes
    ending = f"the ending {path.suffix!r}" if path.suffix else "no ending"
    raise DataError(f"has {ending}; known are {', '.join(dict.fromkeys(known))}", file=path)


def resolve_data_path(name: str) -> Path:
    """Return the path of a data file named in a config, which may be a folder that `save_to_disk` wrote.

    hf://owner/name@revision is fetched from the Hugging Face hub, once: see `tocsin.text.hub`.
    An absolute path is taken as it is. Any other is looked for as data/NAME in the working folder, then as
    NAME in the folder that the environment variable TOCSIN_DATA gives, then as NAME itself.

    Raises:
        DataError: No such file; names every path tried.
        ConfigError: A data set of the hub is named wrongly or cannot be fetched.
    """
    if name.startswith(HUB):
        return hub_file(name)
    given = Path(name).expanduser()
    if given.is_absolute():
        tried = [given]
    else:
        folder = os.environ.get("TOCSIN_DATA")
        tried = [Path("data") / given, *([Path(folder).expanduser() / given] if folder else []), given]
    for path in tried:
        if path.exists():
            return path
    places = ", ".join(map(str, tried))
    hint = (
        ""
        if given.is_absolute() or folder
        else " Put it into data/, or set TOCSIN_DATA to the folder that holds it."
    )
    raise DataError(f"no data file {name!r}; looked for {places}.{hint}")


def _with_null_rows(batch: pa.RecordBatch, rows_before: int, faults: dict[int, DataError]) -> pa.RecordBatch:
    """Put a row of nulls wherever a row was left out, so that the later rows keep their numbers."""
    indices: list[int | None] = []
    row = rows_before
    for index in range(batch.num_rows):
        row += 1
        while row in faults:
            indices.append(None)
            row += 1
        indices.append(index)
    return batch.take(pa.array(indices, pa.int64()))
