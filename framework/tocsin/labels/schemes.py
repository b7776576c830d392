"""Label schemes: which labels there are, in which order, and what the columns of a message file say about
them.

Legend: N messages, L labels. A target is 1, 0, with soft labels a probability in between, or NaN; NaN is null,
    "unknown", and is masked in losses and metrics.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from tocsin.errors import LabelError
from tocsin.labels.cells import Blank, Faults, Spellings, label_column, quoted, refuse
from tocsin.labels.list_cells import looks_like_a_list
from tocsin.labels.names import check_names, check_same_labels, file_of_names, label_digest, names_of_file
from tocsin.text.readers import Reader, reader_for

__all__ = ["NOT_FOUND_YET", "Columns", "LabelScheme", "check_same_labels", "label_digest"]

NOT_FOUND_YET = (
    "are found when the train files are read, and these were not read yet. Read the data first "
    "(LabelledMessages.corpus with the same scheme), or write the names out"
)


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
    def unnamed(self) -> bool:
        """Whether the names have still to be found in the train files, by `find_names`."""
        return False

    def find_names(self, paths: Sequence[Path], reader: Reader | None, taken: Sequence[str]) -> None:
        """Find the names in the train files and keep them; called where `unnamed`, before anything asks for `names`.

        The command line writes them into the option `names` of the config that a run saves, so that nothing is looked
        for twice.

        Args:
            paths: The train files, at least one.
            reader: Reads them; None chooses by the ending of each file's name.
            taken: Columns that the config names otherwise: text, id, language, slices, the splitter's.

        Raises:
            LabelError: No name is found, or one that cannot be.
            DataError: A file cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__} has its names, or has to say how it finds them")

    @property
    def digest(self) -> str:
        """SHA-256 of the names in order; travels in scores, checkpoints and bundles."""
        return label_digest(self.names)


class Columns(LabelScheme):
    """One column a label, with the values 0, 1 or null (unknown).

    Numbers, true and false, yes and no, their first letters, on and off, an x for 1, and all of these as text (CSV, in
    any case, with white space around them, 1.0 or 1,0 for 1) are taken. Anything else is refused, with file and row.

    Args:
        names: The labels in the order of the logits, each the name of a column; or the path of a text file
            with one name a line (blank lines are passed over), looked for as given, then in data/, then in
            $TOCSIN_DATA. Quote names that YAML takes for something else, such as "yes", "on" or "007". Or a pattern
            with * (any characters) or ? (one), such as "label_*": the columns of the train file that match and that
            nothing else in the config names, in the file's order. A run's config records the names found.
        unknown_values: Further values that mean unknown, numbers or text in any case, for instance [2, NA, "-"].
        blank: What an empty cell, null, NaN and a key left out of JSON lines mean: unknown, or 0 in files that write
            1 (or x) and nothing else.
        positive_values: Further values that mean 1, such as [ja].
        negative_values: Further values that mean 0, such as [nein].
    """

    def __init__(
        self,
        names: list[str] | str,
        unknown_values: list[int | float | str | None] = [],  # noqa: B006 (never changed)
        blank: Blank = "unknown",
        positive_values: list[int | float | str | None] = [],  # noqa: B006 (never changed)
        negative_values: list[int | float | str | None] = [],  # noqa: B006 (never changed)
    ) -> None:
        if not isinstance(names, str):
            check_names(names, "labels")
        self._given = names
        self._found: tuple[str, ...] | None = None
        self._spellings = Spellings("Columns", unknown_values, positive_values, negative_values, blank)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return names_of_file(self._given) if isinstance(self._given, str) else tuple(self._given)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        if not self._is_pattern:
            return self._names
        if self._found is None:
            raise LabelError(f"Columns: the columns that match {self._given!r} {NOT_FOUND_YET}")
        return self._found

    @property
    def columns(self) -> tuple[str, ...]:
        """The same names: each label is a column."""
        return self.names

    @property
    def files(self) -> tuple[Path, ...]:
        """The text file of the names, where they stand in one."""
        return (file_of_names(self._given),) if isinstance(self._given, str) and not self._is_pattern else ()

    @property
    def _is_pattern(self) -> bool:
        return isinstance(self._given, str) and any(sign in self._given for sign in "*?")

    @property
    def unnamed(self) -> bool:
        """Whether `names` is a pattern whose columns were not looked for yet."""
        return self._is_pattern and self._found is None

    def find_names(self, paths: Sequence[Path], reader: Reader | None, taken: Sequence[str]) -> None:
        """Take the columns of the first file that match the pattern, in its order; see `LabelScheme.find_names`."""
        existing = (reader or reader_for(paths[0])).columns(paths[0])
        # Not fnmatch: brackets stand in label names.
        signs = {"*": ".*", "?": "."}
        pattern = "".join(signs.get(sign, re.escape(sign)) for sign in str(self._given))
        found = [name for name in existing if name not in taken and re.fullmatch(pattern, name, re.DOTALL)]
        if not found:
            raise LabelError(
                f"Columns: no column of {paths[0]} matches {self._given!r}. Its columns, but for those that the config "
                f"names otherwise: {', '.join(name for name in existing if name not in taken)}"
            )
        check_names(found, f"columns of {paths[0]} that match {self._given!r}")
        self._found = tuple(found)

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32; see `LabelScheme.targets`."""
        targets_NL = np.full((table.num_rows, len(self.names)), np.nan, np.float32)
        faults: Faults = []
        for label, name in enumerate(self.names):
            values_N = self._spellings.numbers(label_column(table, name), name, "0, 1 or null")
            wrong_N = ~(np.isnan(values_N) | (values_N == 0) | (values_N == 1))
            if wrong_N.any():
                faults.append((name, np.flatnonzero(wrong_N)))
            targets_NL[:, label] = values_N
        if faults:
            refuse(table, faults, "0, 1 or null (unknown)", self._hint)
        return targets_NL

    def _hint(self, value: object, values: list[object]) -> str:
        given = self._spellings.number(value)
        if np.isfinite(given) and given == int(given):
            return (
                f"If {int(given)} means unknown, add it: unknown_values: [{int(given)}]; if it means 0 or 1: "
                f"negative_values: [{int(given)}] or positive_values: [{int(given)}]"
            )
        if 0 < given < 1:
            return "Write 0, 1, or nothing for unknown; the label scheme that takes probabilities is Soft"
        if isinstance(value, str) and looks_like_a_list(value):
            return (
                "Several labels in one column are read by the label scheme Lists: labels: {class_path: Lists, "
                "init_args: {column: …, names: […]}}"
            )
        listed = quoted([each for each in values if not np.isfinite(self._spellings.number(each))])
        return (
            f"If such values mean unknown, name them: unknown_values: {listed}. What else means 1 or 0 goes into "
            "positive_values or negative_values; names of labels in cells are read by the label scheme Lists"
        )
