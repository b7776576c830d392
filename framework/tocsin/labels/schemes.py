"""Label schemes: which labels there are, in which order, and what the columns of a message file say about
them.

Legend: N messages, L labels. A target is 1, 0 or NaN; NaN is null, "unknown", and is masked in losses and
    metrics.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa

from tocsin.errors import DataError, LabelError, did_you_mean
from tocsin.text.messages import source_column
from tocsin.text.readers import resolve_data_path

__all__ = ["Columns", "LabelScheme", "check_same_labels", "label_digest"]


class LabelScheme(ABC):
    """Gives the labels of a task their names and order, and reads the targets of a table of messages."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns of a message file from which the targets are made."""

    @abstractmethod
    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32: 0, 1, or NaN for unknown.

        Raises:
            LabelError: A column is missing or a value is no label; names file, row, column and value when the
                table comes from `read_messages`.
        """

    @property
    def digest(self) -> str:
        """SHA-256 of the names in order; travels in scores, checkpoints and bundles."""
        return label_digest(self.names)


class Columns(LabelScheme):
    """One column a label, with the values 0, 1 or null (unknown).

    Numbers, true and false, and their spelling as strings (CSV) are taken; an empty string and NaN are null.

    Args:
        names: The labels in the order of the logits, each the name of a column; or the path of a text file
            with one name a line (blank lines are passed over), looked for as given, then in data/, then in
            $TOCSIN_DATA. Quote names that YAML takes for something else, such as "yes", "on" or "007".
        unknown_values: Further values that mean unknown, for instance [2].
    """

    def __init__(self, names: list[str] | str, unknown_values: list[int] = []) -> None:  # noqa: B006 (never changed)
        if not isinstance(names, str):
            _check_names(names, "labels")
        for value in unknown_values:
            if value in (0, 1):
                raise LabelError(
                    f"unknown_values holds {value}, but 0 and 1 are what a label is; leave it out"
                )
        self._given = names
        self._unknown = tuple(float(value) for value in unknown_values)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return _names_of_file(self._given) if isinstance(self._given, str) else tuple(self._given)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        return self._names

    @property
    def columns(self) -> tuple[str, ...]:
        """The same names: each label is a column."""
        return self._names

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32; see `LabelScheme.targets`."""
        targets_NL = np.full((table.num_rows, len(self.names)), np.nan, np.float32)
        faults: list[tuple[str, np.ndarray]] = []
        for label, name in enumerate(self.names):
            try:
                column = source_column(table, name)
            except DataError as error:
                known = list(table.column_names)
                raise LabelError(f"label {name!r}:{did_you_mean(name, known)} {error}") from None
            start = 0
            bad: list[np.ndarray] = []
            for chunk in column.chunks:
                values = self._values(chunk, name)
                wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
                if wrong.any():
                    bad.append(np.flatnonzero(wrong) + start)
                targets_NL[start : start + len(chunk), label] = values
                start += len(chunk)
            if bad:
                faults.append((name, np.concatenate(bad)))
        if faults:
            self._refuse(table, faults)
        return targets_NL

    def _values(self, chunk: pa.Array, name: str) -> np.ndarray:
        """Return values as float64, NaN for null and for the unknown values, inf for what is no number."""
        if pa.types.is_null(chunk.type):
            return np.full(len(chunk), np.nan)
        if pa.types.is_string_view(chunk.type):
            chunk = chunk.cast(pa.string())
        if pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
            chunk = chunk.dictionary_encode()  # few strings are different: each is looked at once
        if pa.types.is_dictionary(chunk.type):
            meaning = np.array([*map(_number, chunk.dictionary.to_pylist()), np.nan])
            return self._known(meaning[chunk.indices.fill_null(len(meaning) - 1).to_numpy()])
        if not (
            pa.types.is_boolean(chunk.type)
            or pa.types.is_integer(chunk.type)
            or pa.types.is_floating(chunk.type)
            or pa.types.is_decimal(chunk.type)
        ):
            raise LabelError(f"label column {name!r} holds {chunk.type}; 0, 1 or null were wanted")
        if pa.types.is_boolean(chunk.type):
            chunk = chunk.cast(pa.uint8())
        return self._known(chunk.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))

    def _known(self, values: np.ndarray) -> np.ndarray:
        return np.where(np.isin(values, self._unknown), np.nan, values) if self._unknown else values

    @staticmethod
    def _refuse(table: pa.Table, faults: list[tuple[str, np.ndarray]]) -> NoReturn:
        name, rows = faults[0]
        at = int(rows[0])
        value = source_column(table, name)[at].as_py()
        where = f"row {at + 1}"
        if {"file", "row"} <= set(table.column_names):
            where = f"{table['file'][at].as_py()}, row {table['row'][at].as_py()}"
        others = [f"{len(rows) - 1} more in this column"] if len(rows) > 1 else []
        others += [f"{len(more)} in {column!r}" for column, more in faults[1:]]
        text = f"{where}: label column {name!r} holds {value!r}; 0, 1 or null (unknown) were wanted."
        if others:
            text += f" Likewise {', '.join(others)}."
        number = _number(value)
        if np.isfinite(number) and number == int(number):
            text += f" If {int(number)} means unknown, add it: unknown_values: [{int(number)}]"
        else:
            text += " Write 0, 1, or nothing for unknown"
        raise LabelError(text)


def label_digest(names: Sequence[str]) -> str:
    """Return the SHA-256, in hexadecimal, of label names in their order (a JSON list in UTF-8)."""
    return hashlib.sha256(json.dumps(list(names), ensure_ascii=False).encode("utf-8")).hexdigest()


def check_same_labels(given: Sequence[str], wanted: Sequence[str], *, where: str) -> None:
    """Refuse labels that differ from those wanted, in name or in order.

    Args:
        given: The labels at hand.
        wanted: The labels that `where` was made with.
        where: What the wanted labels belong to, such as "checkpoint runs/a/last.ckpt".

    Raises:
        LabelError: Holds both lists and says how they differ.
    """
    if tuple(given) == tuple(wanted):
        return
    absent = [name for name in wanted if name not in given]
    added = [name for name in given if name not in wanted]
    if not absent and not added:
        what = "the same labels in another order" if len(given) == len(wanted) else "a label given twice"
    else:
        parts = [f"missing {absent}"] if absent else []
        parts += [f"added {added}"] if added else []
        what = ", ".join(parts)
    raise LabelError(
        f"the labels are not those of {where}: {what}.\n  given:  {list(given)}\n  wanted: {list(wanted)}\n"
        "Put the names into the wanted order, or use another file"
    )


def _check_names(names: Sequence[object], where: str) -> None:
    """Refuse names that are no strings, empty, padded or repeated."""
    if not names:
        raise LabelError(f"{where}: no label is named; at least one is needed")
    for position, name in enumerate(names, start=1):
        if not isinstance(name, str):
            raise LabelError(
                f"{where}: name {position} is {name!r} ({type(name).__name__}), not a string. "
                "YAML reads yes, no, on, off, null and numbers as values: put quotes around the name "
                '("…"), or keep names in a text file'
            )
        if not name.strip():
            raise LabelError(f"{where}: name {position} is empty; give it the name of its column")
        if name != name.strip():
            raise LabelError(f"{where}: name {position}, {name!r}, has white space at an end; remove it")
    repeated = sorted({str(name) for name in names if list(names).count(name) > 1})
    if repeated:
        raise LabelError(
            f"{where}: {', '.join(map(repr, repeated))} named more than once; name each label once"
        )


def _names_of_file(given: str) -> tuple[str, ...]:
    path = Path(given).expanduser()
    try:
        path = path if path.is_file() else resolve_data_path(given)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except DataError as error:
        raise LabelError(
            f"names: {given!r} is taken for a text file with one label a line. {error} "
            f"For a single label write it as a list: [{given}]"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"the label file {path} cannot be read as UTF-8 text: {error}") from None
    names = [line.strip() for line in lines if line.strip()]
    _check_names(names, f"label file {path}")
    return tuple(names)


def _number(value: object) -> float:
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
