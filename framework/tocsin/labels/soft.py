"""Probabilities as targets: of columns, or what another classifier said. N messages, L labels."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import DataError, LabelError
from tocsin.labels.cells import Blank, Faults, Spellings, label_column, place, quoted, refuse
from tocsin.labels.names import check_names, file_of_names, names_of_file
from tocsin.labels.schemes import LabelScheme
from tocsin.labels.teacher import read_teacher, teacher_labels
from tocsin.text.ids import check_ids_join
from tocsin.text.readers import resolve_data_path

__all__ = ["Soft"]


class Soft(LabelScheme):
    """Probabilities as targets: columns of shares in [0, 1], or the scores of a teacher for the same messages.

    Columns hold, for instance, the share of annotators who gave a label; null is unknown. With `scores` a classifier
    is distilled into a smaller one: binary cross-entropy against the teacher's probabilities (Hinton et al. 2015, arXiv
    1503.02531, at temperature 1, label by label). All splits then have the teacher's word for targets: figures say how
    far the student agrees with it, not how far either is right. To judge the student, test it with a config whose
    labels are of the same names, from people (`Columns`). A teacher says too much of messages that it was trained on;
    score messages that it has not seen.

    Where a figure needs 0 or 1, a target counts as positive from 0.5 up.

    Args:
        names: The labels in the order of the logits, each the name of a column, or of a label of the teacher (which may
            have more); or the path of a text file with one name a line, looked for as that of `Columns` is. null: the
            teacher's labels, in its order.
        scores: A teacher's scores: a Parquet file with `id` and `logit.<label>` or `prob.<label>` (scores/test.parquet
            of a run, or what `tocsin predict` wrote), looked for in data/, then in $TOCSIN_DATA, then as given. Its
            messages are found by id, whatever their order. null: targets are read from columns.
        on_missing: What becomes of a message that the teacher did not score: refuse it, or take its labels as
            unknown.
        unknown_values: Further values of a column that mean unknown, numbers or text, such as [-1, NA].
        blank: What an empty cell, null and NaN of a column mean: unknown, or 0.
    """

    def __init__(
        self,
        names: list[str] | str | None = None,
        scores: str | None = None,
        on_missing: Literal["refuse", "unknown"] = "refuse",
        unknown_values: list[int | float | str | None] = [],  # noqa: B006 (never changed)
        blank: Blank = "unknown",
    ) -> None:
        if names is None and scores is None:
            raise LabelError(
                "Soft: names (of columns) or scores (of a teacher) is needed, and neither is given"
            )
        if names is not None and not isinstance(names, str):
            check_names(names, "labels")
        if on_missing not in ("refuse", "unknown"):
            raise LabelError(f"Soft: on_missing is {on_missing!r}; it must be 'refuse' or 'unknown'")
        self._given, self._scores, self._on_missing = names, scores, on_missing
        self._spellings = Spellings("Soft", unknown_values, blank=blank)

    @cached_property
    def _path(self) -> Path | None:
        try:
            return None if self._scores is None else resolve_data_path(self._scores)
        except DataError as error:
            raise LabelError(f"the teacher's scores: {error}") from None

    @cached_property
    def _names(self) -> tuple[str, ...]:
        if isinstance(self._given, str):
            return names_of_file(self._given)
        if self._given is not None:
            return tuple(self._given)
        assert self._path is not None  # the constructor wants one of the two
        names = teacher_labels(self._path)
        check_names(names, f"labels of the teacher's scores {self._path}")
        return names

    @cached_property
    def _teacher(self) -> tuple[pa.Array, np.ndarray]:
        assert self._path is not None
        return read_teacher(self._path, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        return self._names

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels' columns; none with a teacher, whose scores are found by the messages' ids."""
        return self.names if self._scores is None else ()

    @property
    def soft(self) -> bool:
        """Targets may lie between 0 and 1."""
        return True

    @property
    def files(self) -> tuple[Path, ...]:
        """The teacher's scores, and the text file of the names, where there are such."""
        named = (file_of_names(self._given),) if isinstance(self._given, str) else ()
        return named if self._path is None else (*named, self._path)

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32 in [0, 1], NaN where unknown; see `LabelScheme.targets`.

        Raises:
            LabelError: Also for a probability out of [0, 1], and for a message that the teacher did not score.
        """
        return self._from_columns(table) if self._scores is None else self._from_teacher(table)

    def _from_columns(self, table: pa.Table) -> np.ndarray:
        targets_NL = np.empty((table.num_rows, len(self.names)), np.float32)
        faults: Faults = []
        for label, name in enumerate(self.names):
            column = label_column(table, name)
            values_N = self._spellings.numbers(column, name, "probabilities in [0, 1] or null")
            wrong_N = ~(np.isnan(values_N) | ((values_N >= 0) & (values_N <= 1)))
            if wrong_N.any():
                faults.append((name, np.flatnonzero(wrong_N)))
            targets_NL[:, label] = values_N
        if faults:
            refuse(table, faults, "probabilities in [0, 1] or null (unknown)", self._hint)
        return targets_NL

    def _hint(self, value: object, values: list[object]) -> str:
        given = self._spellings.number(value)
        if np.isinf(given):
            listed = quoted([each for each in values if np.isinf(self._spellings.number(each))])
            return (
                "Write a number from 0 to 1, or nothing for unknown. If such values mean unknown, name them: "
                f"unknown_values: {listed}"
            )
        if 1 < given <= 100:
            return f"If these are percentages, divide them by 100 ({given:g} is {given / 100:g})"
        return "Are these logits? Write probabilities, or give the file as a teacher's scores"

    def _from_teacher(self, table: pa.Table) -> np.ndarray:
        ids_M, probabilities_ML = self._teacher
        if "id" not in table.column_names:
            raise LabelError(
                "a teacher's scores are found by the messages' ids, and the table has no column 'id'"
            )
        try:
            check_ids_join(ids_M, str(self._path))
            check_ids_join(table["id"], "the messages")
        except DataError as error:
            raise LabelError(f"a teacher's scores cannot be joined: {error}") from None
        found = pc.index_in(table["id"].cast(pa.string()), value_set=ids_M)
        missing_N = found.is_null().to_numpy()
        if missing_N.any() and self._on_missing == "refuse":
            first = int(np.flatnonzero(missing_N)[0])
            raise LabelError(
                f"{place(table, first)}: the message {table['id'][first].as_py()!r} is not among the {len(ids_M):,} "
                f"that the teacher scored in {self._path} ({int(missing_N.sum()):,} of {len(missing_N):,} are not). "
                "Score these messages with the teacher, or take their labels as unknown (on_missing: unknown)"
            )
        rows_N = found.fill_null(0).to_numpy()
        if not len(ids_M):
            return np.full((table.num_rows, len(self.names)), np.nan, np.float32)
        targets_NL = probabilities_ML[rows_N]
        targets_NL[missing_N] = np.nan
        return targets_NL
