"""The reader role, and the checks that every reader shares.

A row is counted from 1, header not counted, so that an error can be looked up in the file.
"""

from __future__ import annotations

import difflib
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
    "OnBadRow",
    "Reader",
    "check_columns",
    "check_file",
    "check_not_empty",
    "count_lines",
    "one_line",
    "valid_strings",
    "wrong_delimiter",
]

BATCH_ROWS = 16_384

OnBadRow = Callable[[DataError], None]
"""Receives the error of one bad row, which is then yielded as nulls; without it the error is raised."""


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
    ending = path.suffix.lower()
    return wrong_delimiter(header, {".tsv": "\t"}.get(ending, ",")) if ending in (".csv", ".tsv") else None


def check_columns(path: Path, wanted: Sequence[str], existing: Sequence[str]) -> None:
    """Refuse wanted columns that a file lacks or holds twice.

    Raises:
        DataError: Names the file, the columns, names close to them and the columns that exist.
    """
    missing = [name for name in dict.fromkeys(wanted) if name not in existing]
    if missing and len(existing) == 1 and (fault := _wrong_delimiter_of(path, existing[0])):
        raise DataError(fault, file=path)
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
        raise DataError(f"{text} Its columns: {shown}", file=path)
    counts = Counter(existing)
    repeated = [name for name in dict.fromkeys(wanted) if counts[name] > 1]
    if repeated:
        raise DataError(
            f"has more than one column called {', '.join(map(repr, repeated))}; rename all but one", file=path
        )


def valid_strings(
    array: pa.Array, *, path: Path, column: str, first_row: int, on_bad_row: OnBadRow | None
) -> pa.Array:
    """Return a binary or string array as strings that are proper UTF-8.

    Args:
        array: (n,) values as they stand in the file.
        path: The file, for the error.
        column: The column, for the error.
        first_row: Number of the array's first row in the file.
        on_bad_row: As in `Reader.batches`; a value that is not UTF-8 becomes null.

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
                fault = DataError(
                    f"column {column!r} is not UTF-8 text (byte {value[error.start]:#04x} at position "
                    f"{error.start}); save the file as UTF-8",
                    file=path,
                    row=first_row + offset,
                )
                if on_bad_row is None:
                    raise fault from None
                on_bad_row(fault)
                values.append(None)
        return pa.array(values, string)


def count_lines(path: Path) -> int:
    """Return the number of newlines in a file."""
    check_file(path)
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def one_line(error: BaseException) -> str:
    """Return what an error of Arrow says, short enough to stand inside a sentence of ours."""
    return " ".join(str(error).split())[:200]
