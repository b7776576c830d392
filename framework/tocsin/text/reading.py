"""The reader role, and the checks that every reader shares.

A row is counted from 1, header not counted, so that an error can be looked up in the file.
"""

from __future__ import annotations

import difflib
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from tocsin.arguments import RemembersArguments
from tocsin.errors import DataError

__all__ = [
    "BATCH_ROWS",
    "PACKED_ENDINGS",
    "BadRows",
    "DataWarning",
    "OnBadRow",
    "Reader",
    "check_columns",
    "check_file",
    "check_not_empty",
    "count_lines",
    "find_columns",
    "holds_bytes",
    "one_line",
    "stripped_names",
    "valid_strings",
    "warn_of_header",
    "wrong_delimiter",
]

BATCH_ROWS = 16_384

PACKED_ENDINGS = (".gz", ".bz2", ".zst")
"""Endings of packed files; the one before says what they hold."""

OnBadRow = Callable[[DataError], None]
"""Receives the error of one bad row, which is then yielded as nulls; without it the error is raised."""


class DataWarning(UserWarning):
    """Something in a message file that is read all the same, and may not be what was meant."""


class BadRows:
    """Takes the faults of a file's rows, and refuses a file that has no other rows.

    Args:
        path: The file.
        on_bad_row: What each fault is handed to; None: they are raised.

    Attributes:
        hook: What takes a fault, or None where faults are raised.
    """

    def __init__(self, path: Path, on_bad_row: OnBadRow | None) -> None:
        self._path, self._on_bad_row = path, on_bad_row
        self._first: DataError | None = None
        self._rows: set[int] = set()
        self._left_out: set[int] = set()
        self.hook: OnBadRow | None = None if on_bad_row is None else self._take

    def add(self, fault: DataError) -> None:
        """Take the fault of a row that its reader leaves out; `with_nulls` puts it back."""
        self._left_out.add(fault.row or 0)
        self._take(fault)

    def with_nulls(self, batch: pa.RecordBatch, rows_before: int) -> pa.RecordBatch:
        """Put a row of nulls wherever a row was left out, so that the later rows keep their numbers."""
        if not any(row > rows_before for row in self._left_out):
            return batch
        indices: list[int | None] = []
        row = rows_before
        for index in range(batch.num_rows):
            row += 1
            while row in self._left_out:
                indices.append(None)
                row += 1
            indices.append(index)
        return batch.take(pa.array(indices, pa.int64()))

    def check(self, rows: int) -> None:
        """Raise a DataError where each of the file's rows was bad: that is no file of which some rows are left out."""
        if self._first is not None and len(self._rows | self._left_out) >= rows:
            raise DataError(
                f"none of its rows can be read ({len(self._rows):,} were left out); the first fault: {self._first}",
                file=self._path,
            )

    def _take(self, fault: DataError) -> None:
        if fault.row in self._rows:  # a second fault of one row: who counts them counts rows
            return
        self._first = self._first or fault
        self._rows.add(fault.row or 0)
        assert self._on_bad_row is not None
        self._on_bad_row(fault)


class Reader(RemembersArguments, ABC):
    """Reads a message file as a stream of record batches, in file order, never the whole at once."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of the file names this reader takes, in lower case with their dot. They choose among our own readers;
    a plugin's reader is named in the YAML."""

    @abstractmethod
    def columns(self, path: Path) -> list[str]:
        """Return the column names of a file, in its order.

        Raises:
            DataError: The file is absent, empty, torn or of another format.
        """

    @abstractmethod
    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file, in file order, with exactly these columns in this order.

        Args:
            path: The file.
            columns: Names of the columns wanted.
            on_bad_row: Called with the error of a row that cannot be read. The row is then yielded as nulls,
                so that later rows keep their numbers. Without it the error is raised. A fault of the whole
                file (torn, absent, of another format) is raised in either case.

        Raises:
            DataError: Names the file and, where it can be known, the row.
        """

    def approximate_rows(self, path: Path) -> int | None:
        """Return about how many rows a file has, for a progress bar, or None when that costs a parse."""
        return None


def check_file(path: Path) -> None:
    """Refuse what is not a readable file with at least one byte.

    Raises:
        DataError: The file is absent, a folder, unreadable or empty.
    """
    if path.is_dir():
        raise DataError("this is a folder; give the message file inside it", file=path)
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except FileNotFoundError:
        raise DataError("no such file; check the path", file=path) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from None
    if not first:
        raise DataError(
            "the file is empty (0 bytes); write or fetch it again, or take it off the list", file=path
        )


def check_not_empty(path: Path, rows: int) -> None:
    """Refuse a file whose columns are all there but which holds no row."""
    if rows == 0:
        raise DataError(
            "the file has columns but no rows; write or fetch it again, or take it off the list", file=path
        )


def wrong_delimiter(header: str, delimiter: str = ",") -> str | None:
    """Return what is wrong with a header line that holds no delimiter, yet a sign that others put between fields.

    Args:
        header: The line, or the one name that was read of it.
        delimiter: The sign that was looked for.

    Returns:
        A sentence for a message; None where nothing speaks for another sign.
    """
    if delimiter in header:
        return None
    found = next(
        (sign for sign in (";", "\t", "|", ",") if sign != delimiter and sign in header.strip()), None
    )
    if found is None:
        return None
    name = "a tab" if found == "\t" else repr(found)
    wanted = (
        "a tab is wanted in a file that ends in .tsv (a comma in .csv)"
        if delimiter == "\t"
        else "a comma is wanted (or a tab in a file that ends in .tsv)"
    )
    return f"fields are separated by {name}; {wanted}, and a point in decimal numbers. Save the file once more that way"


def _wrong_delimiter_of(path: Path, header: str) -> str | None:
    packed = path.suffix.lower() in PACKED_ENDINGS
    ending = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    return wrong_delimiter(header, {".tsv": "\t"}.get(ending, ",")) if ending in (".csv", ".tsv") else None


def check_columns(path: Path, wanted: Sequence[str], existing: Sequence[str]) -> None:
    """Refuse wanted columns that a file lacks or holds twice.

    Raises:
        DataError: Names the file, the columns, names close to them and the columns that exist.
    """
    missing = [name for name in dict.fromkeys(wanted) if name not in existing]
    if missing and len(existing) == 1 and (fault := _wrong_delimiter_of(path, existing[0])):
        raise DataError(
            f"{fault}, or name the sign in its reader's option `delimiter`, such as `delimiter: ';'` or `delimiter: "
            "tab`",
            file=path,
        )
    if missing:
        hints = [
            f"Did you mean {close[0]!r} for {name!r}?"
            for name in missing
            if (close := difflib.get_close_matches(name, existing, n=1))
        ]
        # A difference in case alone is the commonest slip, and too far for difflib in a short name.
        hints += [
            f"Did you mean {other!r} for {name!r}?"
            for name in missing
            for other in existing
            if other.casefold() == name.casefold() and not any(repr(other) in hint for hint in hints)
        ]
        shown = ", ".join(map(repr, existing[:40])) + (
            f" and {len(existing) - 40} more" if len(existing) > 40 else ""
        )
        plural = "s" if len(missing) > 1 else ""
        text = f"has no column{plural} {', '.join(map(repr, missing))}. {' '.join(hints)}".rstrip()
        headless = (
            " If the file has no header, name its columns in its reader's option `column_names`."
            if any(len(name) > 60 or name.strip().isdigit() for name in existing)
            else ""
        )
        raise DataError(f"{text} Its columns: {shown}.{headless}", file=path)
    counts = Counter(existing)
    repeated = [name for name in dict.fromkeys(wanted) if counts[name] > 1]
    if repeated:
        raise DataError(
            f"has more than one column called {', '.join(map(repr, repeated))}; rename all but one", file=path
        )


def stripped_names(names: Sequence[str]) -> list[str]:
    """Return the names of columns without the white space around them, which is no part of a name."""
    return [name.strip().strip("\ufeff") for name in names]


def warn_of_header(path: Path, names: Sequence[str]) -> None:
    """Say which names had white space around them."""
    spaced = [name for name in names if name != name.strip()]
    if spaced:
        warnings.warn(
            f"{path}: white space around {len(spaced)} names of its columns is dropped: "
            f"{', '.join(map(repr, spaced[:5]))}{' …' if len(spaced) > 5 else ''}",
            DataWarning,
            stacklevel=3,
        )


def find_columns(path: Path, wanted: Sequence[str], existing: Sequence[str]) -> list[int]:
    """Return where the wanted columns stand among those of a file, white space around its names not counted.

    Raises:
        DataError: See `check_columns`.
    """
    names = stripped_names(existing)
    places = [names.index(name) if name in names else -1 for name in wanted]
    # A name that was written with its white space in a config is that column, too.
    places = [
        list(existing).index(name) if place < 0 and name in existing else place
        for name, place in zip(wanted, places, strict=True)
    ]
    check_columns(
        path, [names[at] if at >= 0 else name for name, at in zip(wanted, places, strict=True)], names
    )
    return places


def valid_strings(
    array: pa.Array,
    *,
    path: Path,
    column: str,
    first_row: int,
    on_bad_row: OnBadRow | None,
    encoding: str | None = None,
) -> pa.Array:
    """Return a binary or string array as strings that are proper UTF-8.

    Args:
        array: (n,) values as they stand in the file.
        path: The file, for the error.
        column: The column, for the error.
        first_row: Number of the array's first row in the file.
        on_bad_row: As in `Reader.batches`; a value that is not UTF-8 becomes null.
        encoding: What the file was decoded from, for the error; None: it is said to be UTF-8.

    Raises:
        DataError: A value is not UTF-8; names file, row and column.
    """
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    string, binary = (pa.large_string(), pa.large_binary()) if large else (pa.string(), pa.binary())
    # Arrow trusts what a Parquet file calls a string, so the bytes are looked at in both cases.
    raw = array.view(binary) if array.type == string else array.cast(binary)
    try:
        return raw.cast(string)
    except pa.ArrowInvalid:
        values: list[str | None] = []
        for offset, value in enumerate(raw.to_pylist()):
            try:
                values.append(None if value is None else value.decode("utf-8"))
            except UnicodeDecodeError as error:
                hint = (
                    "; save the file as UTF-8, or name how it is written in its reader's option `encoding`"
                    + (", such as `encoding: cp1252` for files of Windows" if encoding is None else "")
                )
                fault = DataError(
                    f"column {column!r} is not {encoding or 'UTF-8'} text (byte {value[error.start]:#04x} at position "
                    f"{error.start}){hint}",
                    file=path,
                    row=first_row + offset,
                )
                if on_bad_row is None:
                    raise fault from None
                on_bad_row(fault)
                values.append(None)
        return pa.array(values, string)


def holds_bytes(array: pa.Array, sign: bytes) -> bool:
    """Tell whether some value of a binary or string array may hold these bytes, ten times as fast as value by value."""
    data = array.buffers()[2] if len(array.buffers()) > 2 else None
    return data is not None and sign in data.to_pybytes()


def count_lines(path: Path) -> int | None:
    """Return the number of newlines in a file, or None for a packed one."""
    check_file(path)
    if path.suffix.lower() in PACKED_ENDINGS:
        return None
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def one_line(error: BaseException) -> str:
    """Return what an error of Arrow says, short enough to stand inside a sentence of ours."""
    return " ".join(str(error).split())[:200]
