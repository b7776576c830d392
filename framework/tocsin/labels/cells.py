"""What the cells of a message file say, and how a cell that says nothing of use is named. N messages.

One meaning has one value, whatever file type carried it: 1, 1.0, true, "1", " yes " and "1,0" are all 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn

import numpy as np
import pyarrow as pa

from tocsin.errors import DataError, LabelError, did_you_mean
from tocsin.text.messages import source_column

__all__ = [
    "Blank",
    "Faults",
    "Spellings",
    "Value",
    "is_text",
    "label_column",
    "place",
    "quoted",
    "refuse",
    "shown",
    "word",
]

Faults = list[tuple[str, np.ndarray]]
"""Columns with the positions of their faulty rows, ascending; none is empty."""

Value = int | float | str | None
"""What an option names as a cell's value; None stands for the word "null"."""

Blank = Literal["unknown", 0]
"""What an empty cell, null and NaN mean."""

_POSITIVE = ("true", "t", "yes", "y", "on", "x", "✓", "✔")
_NEGATIVE = ("false", "f", "no", "n", "off")
_EMPTY = ("", "nan")  # pandas writes NaN for what it does not know
_SHOWN = 80  # characters that a message quotes of a cell: it may hold a private text
_LISTED = 5  # values that a hint lists


class Spellings:
    """Reads a cell as 1, 0 or unknown, by its value alone.

    Args:
        where: The name of the scheme, for messages.
        unknown: Further values that mean unknown.
        positive: Further values that mean 1.
        negative: Further values that mean 0.
        blank: What an empty cell, null and NaN mean.

    Raises:
        LabelError: A value is given twice, or has a meaning already.
    """

    def __init__(
        self,
        where: str,
        unknown: Sequence[Value] = (),
        positive: Sequence[Value] = (),
        negative: Sequence[Value] = (),
        blank: Blank = "unknown",
    ) -> None:
        if blank not in ("unknown", 0) or isinstance(blank, bool):
            raise LabelError(f"{where}: blank is {blank!r}; it must be unknown or 0")
        self.blank = np.nan if blank == "unknown" else float(blank)
        self._words = dict.fromkeys(_EMPTY, self.blank)
        self._words |= {**dict.fromkeys(_POSITIVE, 1.0), **dict.fromkeys(_NEGATIVE, 0.0)}
        self._numbers: dict[float, float] = {}
        taken: dict[float | str, str] = {1.0: "1", 0.0: "0"}
        options = (
            ("unknown_values", unknown, np.nan),
            ("positive_values", positive, 1.0),
            ("negative_values", negative, 0.0),
        )
        for option, values, meaning in options:
            for value in values:
                self._add(where, option, value, meaning, taken)

    def _add(
        self, where: str, option: str, value: Value, meaning: float, taken: dict[float | str, str]
    ) -> None:
        text = "null" if value is None else word(value)
        known = self._words.get(text)
        key: float | str = text
        if known is None and np.isfinite(given := _decimal(text)):
            key = given
        if key in taken and taken[key] in ("0", "1"):
            raise LabelError(
                f"{where}: {option} holds {value!r}, but 0 and 1 are what a label is; leave it out"
            )
        if key in taken and taken[key] != option:
            raise LabelError(f"{where}: {value!r} stands in {taken[key]} and in {option}; leave out one")
        if known is not None and key not in taken:
            said = "blank; set the option `blank`" if text in _EMPTY else f"{known:g}; leave it out"
            raise LabelError(f"{where}: {option} holds {value!r}, which is read as {said}")
        taken[key] = option
        if isinstance(key, str):
            self._words[key] = meaning
        else:
            self._numbers[key] = meaning

    def number(self, value: object) -> float:
        """Return what a cell says as a number: NaN for unknown, inf for what is no number."""
        if value is None:
            return self.blank
        text = word(value)
        if text in self._words:
            return self._words[text]
        given = _decimal(text)
        if np.isnan(given):
            return self.blank
        return self._numbers.get(given, given)

    def numbers(self, column: pa.ChunkedArray, name: str, wanted: str) -> np.ndarray:
        """Return the (N,) numbers of a column as float64: NaN for unknown, inf for what is no number.

        Raises:
            LabelError: The column's type holds no numbers; says what was `wanted`.
        """
        values_N = np.empty(len(column), np.float64)
        start = 0
        for chunk in column.chunks:
            values_N[start : start + len(chunk)] = self._numbers_of_chunk(chunk, name, wanted)
            start += len(chunk)
        return values_N

    def _numbers_of_chunk(self, chunk: pa.Array, name: str, wanted: str) -> np.ndarray:
        kind = chunk.type
        if pa.types.is_null(kind):
            return np.full(len(chunk), self.blank)
        if pa.types.is_string_view(kind):
            chunk = chunk.cast(pa.string())
        if is_text(chunk.type):
            chunk = chunk.dictionary_encode()  # few strings are different: each is looked at once
        if pa.types.is_dictionary(chunk.type):
            meaning = np.array([*map(self.number, chunk.dictionary.to_pylist()), self.blank])
            return meaning[chunk.indices.fill_null(len(meaning) - 1).to_numpy()]
        if not (
            pa.types.is_boolean(kind)
            or pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_decimal(kind)
        ):
            several = (
                ". Several labels in one column are read by the label scheme Lists"
                if _holds_lists(kind)
                else ""
            )
            raise LabelError(f"label column {name!r} holds {kind}; {wanted} were wanted{several}")
        if pa.types.is_boolean(kind):
            chunk = chunk.cast(pa.uint8())
        values_N = chunk.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        blank_N = np.isnan(values_N)
        if self._numbers or (blank_N.any() and not np.isnan(self.blank)):
            values_N = values_N.copy()
            for special, meant in self._numbers.items():
                values_N[values_N == special] = meant
            values_N[blank_N] = self.blank
        return values_N


def word(value: object) -> str:
    """Return a cell's value as it is compared: text without white space at its ends, in lower case."""
    return str(value).strip().casefold()


def _decimal(text: str) -> float:
    """Return the number that a text is, with a point or a comma before its decimals; inf for what is none."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(text.replace(",", ".")) if text.count(",") == 1 and "." not in text else np.inf
    except ValueError:
        return np.inf


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


def refuse(
    table: pa.Table, faults: Faults, wanted: str, hint: Callable[[object, list[object]], str]
) -> NoReturn:
    """Raise a LabelError that names the first faulty row, its value, and how many more there are.

    Args:
        table: The messages.
        faults: At least one.
        wanted: What a cell may hold.
        hint: The likely fix, told by the first faulty value and by all different ones (five at most).
    """
    name, rows = faults[0]
    value = source_column(table, name)[int(rows[0])].as_py()
    others = [f"{len(rows) - 1} more in this column"] if len(rows) > 1 else []
    others += [f"{len(more)} in {column!r}" for column, more in faults[1:]]
    likewise = f" Likewise {', '.join(others)}." if others else ""
    raise LabelError(
        f"{place(table, int(rows[0]))}: label column {name!r} holds {shown(value)}; {wanted} were wanted."
        f"{likewise} {hint(value, _different(table, faults))}"
    )


def _different(table: pa.Table, faults: Faults) -> list[object]:
    found: dict[str, object] = {}
    for name, rows in faults:
        column = source_column(table, name)
        for row in rows[:1000]:
            value = column[int(row)].as_py()
            found.setdefault(word(value), value)
            if len(found) == _LISTED:
                return list(found.values())
    return list(found.values())


def shown(value: object) -> str:
    """Return a cell's value as a message quotes it: not more than 80 characters of it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def quoted(values: Sequence[object]) -> str:
    """Return values as a YAML list that reads back as it was."""
    listed = [value if isinstance(value, int | float) else str(value).strip()[:_SHOWN] for value in values]
    return json.dumps(listed, ensure_ascii=False)


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column holds strings, of any of Arrow's three kinds."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _holds_lists(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
