"""Categorical columns as labels. N messages, L labels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from tocsin.errors import LabelError, did_you_mean
from tocsin.labels.cells import Blank, Faults, is_text, label_column, refuse
from tocsin.labels.list_cells import looks_like_a_list, readings
from tocsin.labels.names import check_names, file_of_names, names_of_file
from tocsin.labels.schemes import LabelScheme

__all__ = ["Categories"]

_UNKNOWN, _NEGATIVE, _UNLISTED = -1, -2, -3


class Categories(LabelScheme):
    """Categorical columns: each listed value of a column becomes a label, called "column=value".

    A message has 1 for the value of its column and 0 for the column's other values. Null, an empty cell and the
    `null_values` leave all labels of the column unknown. A value that stands in none of the lists is refused, not
    taken for 0: the labels are those of the lists, whatever the files hold, so that a category that training never
    saw cannot pass unseen. Values are compared as text, without white space at their ends: 3, 3.0 and "3.0" are "3",
    true and "True" are "true".

    Args:
        values: The columns, and of each the values that become labels; their order is that of the logits. Instead of a
            list, the path of a text file with one value a line, looked for as the file of `Columns` is. Quote what YAML
            takes for something else, such as "yes" or "3".
        null_values: Values that mean unknown: "n/a" in every column, or "severity=n/a" in the column `severity`
            alone.
        negative_values: Values that are known but get no label, such as "not_humanitarian": every label of their
            column is 0. Written as `null_values` are.
        blank: What null and an empty cell mean: unknown, or 0 for each label of the column.
    """

    def __init__(
        self,
        values: dict[str, list[str] | str],
        null_values: list[str] = [],  # noqa: B006 (never changed)
        negative_values: list[str] = [],  # noqa: B006 (never changed)
        blank: Blank = "unknown",
    ) -> None:
        if not values:
            raise LabelError("Categories: values names no column; wanted such as {kind: [flood, fire]}")
        for column, listed in values.items():
            if not isinstance(listed, str):
                check_names(listed, f"values of column {column!r}", "value")
        both = sorted(set(null_values) & set(negative_values))
        if both:
            raise LabelError(f"{both[0]!r} stands in null_values and in negative_values; leave out one")
        if blank not in ("unknown", 0) or isinstance(blank, bool):
            raise LabelError(f"Categories: blank is {blank!r}; it must be unknown or 0")
        self._blank = _UNKNOWN if blank == "unknown" else _NEGATIVE
        self._given = dict(values)
        self._null, self._negative = tuple(null_values), tuple(negative_values)

    @cached_property
    def _values(self) -> dict[str, tuple[str, ...]]:
        """The values of each column, in order."""
        listed = {
            column: names_of_file(values, "value") if isinstance(values, str) else tuple(values)
            for column, values in self._given.items()
        }
        for column, values in listed.items():
            if len({_text(value) for value in values}) < len(values):
                raise LabelError(
                    f"Categories: two values of column {column!r} mean the same (3 and 3.0, true and True); "
                    "leave out one"
                )
            for setting, others in (("null_values", self._null), ("negative_values", self._negative)):
                for value in self._of(column, others):
                    if _text(value) in map(_text, values):
                        raise LabelError(
                            f"{value!r} is a label of column {column!r} and stands in {setting}; leave out one"
                        )
        return listed

    @cached_property
    def _names(self) -> tuple[str, ...]:
        names = [f"{column}={value}" for column, values in self._values.items() for value in values]
        check_names(names, "Categories")  # "a=b" with the value "c" gives the name that "a" gives with "b=c"
        return tuple(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, "column=value", in the order of the logits."""
        return self._names

    @property
    def columns(self) -> tuple[str, ...]:
        """The categorical columns."""
        return tuple(self._given)

    @property
    def files(self) -> tuple[Path, ...]:
        """The text files of values."""
        return tuple(
            file_of_names(values, "value") for values in self._given.values() if isinstance(values, str)
        )

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32; see `LabelScheme.targets`."""
        targets_NL = np.zeros((table.num_rows, len(self.names)), np.float32)
        faults: Faults = []
        first = 0
        for column, values in self._values.items():
            codes_N = self._codes(label_column(table, column, "categorical column"), column, values)
            if (codes_N == _UNLISTED).any():
                faults.append((column, np.flatnonzero(codes_N == _UNLISTED)))
            for code in range(len(values)):
                targets_NL[:, first + code] = codes_N == code
            targets_NL[codes_N == _UNKNOWN, first : first + len(values)] = np.nan
            first += len(values)
        if faults:
            column = faults[0][0]
            refuse(table, faults, self._wanted(column), lambda value, _: self._hint(column, value))
        return targets_NL

    def _codes(self, column: pa.ChunkedArray, name: str, values: tuple[str, ...]) -> np.ndarray:
        """Return (N,) the number of each cell's value in the list, or one of the three negative codes."""
        code_of = {_text(value): code for code, value in enumerate(values)}
        code_of.update(dict.fromkeys(map(_text, self._of(name, self._negative)), _NEGATIVE))
        code_of.update(dict.fromkeys(map(_text, self._of(name, self._null)), _UNKNOWN))
        for empty in ("", "nan", "NaN"):  # as pandas writes what it does not know
            code_of.setdefault(empty, self._blank)
        codes_N = np.full(len(column), self._blank, np.int32)
        start = 0
        for chunk in column.chunks:
            if not pa.types.is_null(chunk.type):
                encoded = _encoded(chunk, name)
                # One more for null, which has no place in the dictionary.
                meaning = np.array(
                    [
                        *(code_of.get(_text(value), _UNLISTED) for value in encoded.dictionary.to_pylist()),
                        self._blank,
                    ]
                )
                codes_N[start : start + len(chunk)] = meaning[
                    encoded.indices.fill_null(len(meaning) - 1).to_numpy(zero_copy_only=False)
                ]
            start += len(chunk)
        return codes_N

    def _of(self, column: str, entries: Iterable[str]) -> list[str]:
        """Return those of the entries that hold for a column, without its name."""
        found = []
        for entry in entries:
            named = next((name for name in self._given if entry.startswith(f"{name}=")), None)
            if named is None:
                found.append(entry)
            elif named == column:
                found.append(entry.removeprefix(f"{column}="))
        return found

    def _wanted(self, column: str) -> str:
        values = self._values[column]
        listed = ", ".join(map(repr, values[:12])) + (
            f" and {len(values) - 12} more" if len(values) > 12 else ""
        )
        return f"{listed} or null (unknown)"

    def _hint(self, column: str, value: object) -> str:
        text = _text(value)
        if looks_like_a_list(text) and set(readings(text)[0][-1]) & set(self._values[column]):
            return (
                "Several labels in one column are read by the label scheme Lists: labels: {class_path: Lists, "
                f"init_args: {{column: {column}, names: […]}}}}"
            )
        return (
            f"It stands in none of the lists.{did_you_mean(text, list(self._values[column]))} Add it to the values of "
            f"{column!r} for a label of its own, to null_values if it means unknown, or to negative_values if none of "
            "the labels holds"
        )


def _encoded(chunk: pa.Array, name: str) -> pa.DictionaryArray:
    if pa.types.is_dictionary(chunk.type):
        return chunk
    kind = chunk.type
    if pa.types.is_string_view(kind):
        chunk = chunk.cast(pa.string())
    elif not (
        is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ):
        raise LabelError(
            f"categorical column {name!r} holds {kind}; text, whole numbers or true and false were wanted"
        )
    return chunk.dictionary_encode()


def _text(value: object) -> str:
    """Return a cell's value as it is compared: "" for null."""
    if value is None or value != value:  # NaN alone differs from itself
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with nulls is often stored as float
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text  # what pandas writes of whole numbers beside empty cells


_WHOLE = re.compile(r"(-?\d+)\.0+")
