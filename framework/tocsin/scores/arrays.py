"""Columns of a scores file as arrays. N messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import DataError

__all__ = ["check_filled", "check_unique", "numbers", "objects", "repeated", "strings"]

_ROWS_SHOWN = 5


def strings(ids: np.ndarray) -> np.ndarray:
    """Return (N,) ids of any type as str objects; DataError for what is no id."""
    given = np.asarray(ids)
    if given.ndim != 1:
        raise DataError(f"ids have shape {given.shape}; one id a message, shape (N,), is wanted.")
    try:
        found = pa.array(given, from_pandas=True).cast(pa.string())
    except (pa.ArrowException, UnicodeError) as error:
        raise DataError(f"ids must be strings or numbers, all of one kind ({error}).") from error
    if found.null_count:
        row = int(np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise DataError(f"{found.null_count:,} messages have no id. Every message needs one.", row=row)
    return found.to_numpy(zero_copy_only=False)


def check_filled(table: pa.Table, label: str, prefix: str, file: str | Path | None) -> None:
    """Refuse empty cells among a label's scores in a table of another program.

    Raises:
        DataError: Names the first message without a score.
    """
    column = table.column(prefix + label)
    if column.null_count:
        row = int(pc.index(pc.is_null(column), True).as_py())
        raise DataError(
            f"The score of message {str(table.column('id')[row])!r} for label {label!r} is missing: the cell is empty "
            f"({column.null_count:,} such cells in column {prefix + label!r}). Every message needs a score for every "
            "label; a target alone may be unknown. Of undecided texts "
            "of tocsin predict, leave the rows out, or predict with --empty score.",
            file=file,
            row=row + 1,
        )


def repeated(ids: pa.Array) -> pa.StructArray:
    """Return the ids that stand in several rows (`values`) and in how many (`counts`)."""
    counts = pc.value_counts(ids)
    return counts.filter(pc.greater(counts.field("counts"), 1))


def check_unique(ids: np.ndarray, file: str | Path) -> None:
    """Refuse ids (N,) that stand in several rows of a file: which score of the message counts, nothing tells.

    Raises:
        DataError: Names the first such id and its rows.
    """
    twice = repeated(pa.array(ids, pa.string()))
    if not len(twice):
        return
    first = twice[0].as_py()
    rows = np.flatnonzero(ids == first["values"]) + 1
    shown = ", ".join(map(str, rows[:_ROWS_SHOWN])) + (", …" if len(rows) > _ROWS_SHOWN else "")
    others = f", and {len(twice) - 1:,} more ids stand in several rows" if len(twice) > 1 else ""
    raise DataError(
        f"The id {first['values']!r} stands in rows {shown}{others}; one row a message is wanted. Give every message "
        "an id of its own, or leave out the rows that repeat.",
        file=file,
    )


def numbers(column: pa.ChunkedArray, name: str, file: str | Path | None) -> np.ndarray:
    """Return a column as (N,) numbers, null as NaN; a column that is empty in every row has no type of its own."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if not (
        pa.types.is_floating(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_boolean(column.type)
    ):
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        row = _first_text(column) if text else None
        if row is None:
            raise DataError(f"Column {name!r} holds {column.type}; numbers are wanted.", file=file)
        value = str(column[row])
        hint = ""
        if name.startswith("target."):
            hint = " A target is 0, 1, a probability in between, or an empty cell."
        if _is_number(value.replace(",", ".", 1)):
            hint = " Decimal numbers are wanted with a point."
        raise DataError(
            f"Column {name!r} holds {value[:40]!r}; numbers are wanted.{hint}", file=file, row=row + 1
        )
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.to_numpy()


def _first_text(column: pa.ChunkedArray) -> int | None:
    """Return the place of the first value that is no number, not even one written as text."""
    for row, value in enumerate(column.to_pylist()):
        if value and not _is_number(value):
            return row
    return None


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def objects(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as (N,) values: numbers without nulls keep their type, the rest becomes objects and None."""
    kind = column.type
    if column.null_count == 0 and (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    ):
        return column.to_numpy()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.to_numpy()
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values
