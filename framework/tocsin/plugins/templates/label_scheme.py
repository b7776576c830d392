"""Labels from one column that lists them. N messages, L labels."""

import numpy as np
import pyarrow as pa

from tocsin.plugins import (
    DataError,
    LabelError,
    LabelScheme,
    did_you_mean,
    source_column,
)

__all__ = ["TemplateLabelScheme"]


class TemplateLabelScheme(LabelScheme):
    """Reads all labels of a message from one column, such as `flood;fire`.

    A message without a value is unknown for every label; the word `none` says that no
    label applies.

    Args:
        names: The labels, in the order of the logits.
        column: The column that lists them.
        separator: What stands between two labels.
    """

    def __init__(
        self,
        names: list[str],
        column: str = "labels",
        separator: str = ";",
    ) -> None:
        if not names or len(set(names)) < len(names):
            raise LabelError(
                f"TemplateLabelScheme: names is {names}; wanted at least one label, "
                "and each label once, in the order of the logits."
            )
        if not separator:
            raise LabelError("TemplateLabelScheme: separator is empty.")
        self._names = tuple(names)
        self._column = column
        self._separator = separator

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        return self._names

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that lists the labels."""
        return (self._column,)

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return `(N, L)` float32: 1 for listed labels, 0 for others, NaN for unknown.

        Raises:
            LabelError: The column is missing, or lists something that is no label.
        """
        try:
            values = source_column(table, self._column).to_pylist()
        except DataError as error:
            raise LabelError(str(error)) from None
        targets_NL = np.full((table.num_rows, len(self._names)), np.nan, np.float32)
        position = {name: number for number, name in enumerate(self._names)}
        for row, value in enumerate(values):
            if value is None or not str(value).strip():
                continue
            targets_NL[row] = 0.0
            for part in str(value).split(self._separator):
                name = part.strip()
                if name in position:
                    targets_NL[row, position[name]] = 1.0
                elif name not in ("", "none"):
                    raise LabelError(self._complaint(table, row, name))
        return targets_NL

    def _complaint(self, table: pa.Table, row: int, name: str) -> str:
        where = f"row {row + 1}"
        if {"file", "row"} <= set(table.column_names):
            where = f"{table['file'][row].as_py()}, row {table['row'][row].as_py()}"
        known = list(self._names)
        return (
            f"{where}: column {self._column!r} lists {name!r}, which is no label."
            f"{did_you_mean(name, known)} Labels: {', '.join(known)}; or none."
        )
