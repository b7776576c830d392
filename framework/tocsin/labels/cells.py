"""What the cells of a message file say, and how a cell that says nothing of use is named. N messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pyarrow as pa

from tocsin.errors import DataError, LabelError, did_you_mean
from tocsin.text.messages import source_column

__all__ = ["Faults", "is_text", "label_column", "number", "numbers", "place", "refuse"]

Faults = list[tuple[str, np.ndarray]]
"""Columns with the positions of their faulty rows, ascending; none is empty."""


def label_column(table: pa.Table, name: str, what: str = "label") -> pa.ChunkedArray:
    """Return a column of the message file; LabelError names it, and one like it, where there is none."""
    try:
        return source_column(table, name)
    except DataError as error:
        known = list(table.column_names)
        raise LabelError(f"{what} {name!r}:{did_you_mean(name, known)} {error}") from None


def place(table: pa.Table, position: int) -> str:
    """Return "FILE, row R" of a row, R counted in its file; "row R" of the table for one without files."""
    if {"file", "row"} <= set(table.column_names):
        return f"{table['file'][position].as_py()}, row {table['row'][position].as_py()}"
    return f"row {position + 1}"


def refuse(table: pa.Table, faults: Faults, wanted: str, hint: Callable[[object], str]) -> NoReturn:
    """Raise a LabelError that names the first faulty row, its value, and how many more there are.

    Args:
        table: The messages.
        faults: At least one.
        wanted: What a cell may hold.
        hint: The likely fix, told by the first faulty value.
    """
    name, rows = faults[0]
    value = source_column(table, name)[int(rows[0])].as_py()
    others = [f"{len(rows) - 1} more in this column"] if len(rows) > 1 else []
    others += [f"{len(more)} in {column!r}" for column, more in faults[1:]]
    likewise = f" Likewise {', '.join(others)}." if others else ""
    raise LabelError(
        f"{place(table, int(rows[0]))}: label column {name!r} holds {value!r}; {wanted} were wanted."
        f"{likewise} {hint(value)}"
    )


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column holds strings, of any of Arrow's three kinds."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def numbers(column: pa.ChunkedArray, name: str, wanted: str) -> np.ndarray:
    """Return the (N,) numbers of a column as float64: NaN for null, inf for what is no number.

    Raises:
        LabelError: The column's type holds no numbers; says what was `wanted`.
    """
    values_N = np.empty(len(column), np.float64)
    start = 0
    for chunk in column.chunks:
        values_N[start : start + len(chunk)] = _numbers_of_chunk(chunk, name, wanted)
        start += len(chunk)
    return values_N


def _numbers_of_chunk(chunk: pa.Array, name: str, wanted: str) -> np.ndarray:
    if pa.types.is_null(chunk.type):
        return np.full(len(chunk), np.nan)
    if pa.types.is_string_view(chunk.type):
        chunk = chunk.cast(pa.string())
    if is_text(chunk.type):
        chunk = chunk.dictionary_encode()  # few strings are different: each is looked at once
    if pa.types.is_dictionary(chunk.type):
        meaning = np.array([*map(number, chunk.dictionary.to_pylist()), np.nan])
        return meaning[chunk.indices.fill_null(len(meaning) - 1).to_numpy()]
    if not (
        pa.types.is_boolean(chunk.type)
        or pa.types.is_integer(chunk.type)
        or pa.types.is_floating(chunk.type)
        or pa.types.is_decimal(chunk.type)
    ):
        raise LabelError(f"label column {name!r} holds {chunk.type}; {wanted} were wanted")
    if pa.types.is_boolean(chunk.type):
        chunk = chunk.cast(pa.uint8())
    return chunk.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def number(value: object) -> float:
    """Return what a value of a label column says as a number: NaN for null, inf for what is no number."""
    if value is None:
        return np.nan
    text = str(value).strip().lower()
    if text in ("", "nan"):
        return np.nan
    if text in ("true", "false"):
        return float(text == "true")
    try:
        return float(text)
    except ValueError:
        return np.inf
