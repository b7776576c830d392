"""Label schemes: which labels there are, in which order, and what the columns of a message file say about
them.

Legend: N messages, L labels. A target is 1, 0, with soft labels a probability in between, or NaN; NaN is null,
    "unknown", and is masked in losses and metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from tocsin.errors import LabelError
from tocsin.labels.cells import Faults, label_column, number, numbers, refuse
from tocsin.labels.names import check_names, check_same_labels, file_of_names, label_digest, names_of_file

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

        A scheme that says so (`soft`) may give any probability from 0 to 1.

        Raises:
            LabelError: A column is missing or a value is no label; names file, row, column and value when the
                table comes from `read_messages`.
        """

    @property
    def soft(self) -> bool:
        """Whether targets may lie between 0 and 1."""
        return False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, beside those of the messages, that names or targets come from; a run records their SHA-256."""
        return ()

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
            check_names(names, "labels")
        for value in unknown_values:
            if value in (0, 1):
                raise LabelError(
                    f"unknown_values holds {value}, but 0 and 1 are what a label is; leave it out"
                )
        self._given = names
        self._unknown = tuple(float(value) for value in unknown_values)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return names_of_file(self._given) if isinstance(self._given, str) else tuple(self._given)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        return self._names

    @property
    def columns(self) -> tuple[str, ...]:
        """The same names: each label is a column."""
        return self._names

    @property
    def files(self) -> tuple[Path, ...]:
        """The text file of the names, where they stand in one."""
        return (file_of_names(self._given),) if isinstance(self._given, str) else ()

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32; see `LabelScheme.targets`."""
        targets_NL = np.full((table.num_rows, len(self.names)), np.nan, np.float32)
        faults: Faults = []
        for label, name in enumerate(self.names):
            values_N = numbers(label_column(table, name), name, "0, 1 or null")
            if self._unknown:
                values_N[np.isin(values_N, self._unknown)] = np.nan
            wrong_N = ~(np.isnan(values_N) | (values_N == 0) | (values_N == 1))
            if wrong_N.any():
                faults.append((name, np.flatnonzero(wrong_N)))
            targets_NL[:, label] = values_N
        if faults:
            refuse(table, faults, "0, 1 or null (unknown)", _hint)
        return targets_NL


def _hint(value: object) -> str:
    given = number(value)
    if np.isfinite(given) and given == int(given):
        return f"If {int(given)} means unknown, add it: unknown_values: [{int(given)}]"
    if 0 < given < 1:
        return "Write 0, 1, or nothing for unknown; the label scheme that takes probabilities is Soft"
    return "Write 0, 1, or nothing for unknown"
