"""Whole events (or countries, or years) held out."""

import numpy as np
import pyarrow as pa

from tocsin.plugins import ConfigError, Split, Splitter, crossing_texts, source_column

__all__ = ["TemplateSplitter"]


class TemplateSplitter(Splitter):
    """Holds out whole values of a column, such as events; all the rest is trained on.

    Args:
        column: The column to go by.
        validation: Its values that are validated on.
        test: Its values that are tested on.
    """

    def __init__(
        self,
        column: str = "event",
        validation: list[str] | None = None,
        test: list[str] | None = None,
    ) -> None:
        self.column = column
        self.validation = tuple(validation or ())
        self.test = tuple(test or ())
        both = sorted(set(self.validation) & set(self.test))
        if both:
            raise ConfigError(
                f"TemplateSplitter: {', '.join(both)} stands in validation and in test; "
                "name each value in one of them."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The column to go by."""
        return (self.column,)

    def split(self, table: pa.Table) -> Split:
        """Return each row's split `(N,)`, and how many texts stand in several.

        Raises:
            DataError: The table lacks the column.
        """
        split_of = dict.fromkeys(self.validation, "validation")
        split_of |= dict.fromkeys(self.test, "test")
        values = source_column(table, self.column).to_pylist()
        # "U10" holds the longest name, "validation".
        found = [split_of.get(str(value), "train") for value in values]
        names = np.array(found, "U10")
        return Split(names, crossing_texts(table, names))
