"""The splitter role, and what splitters share: shares, groups' names, and counts of what crosses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tocsin.errors import ConfigError, DataError
from tocsin.text.duplicates import duplicate_groups
from tocsin.text.messages import iterate_strings, source_column

__all__ = [
    "SPLITS",
    "Split",
    "Splitter",
    "check_shares",
    "coded",
    "crossing_of_groups",
    "crossing_texts",
    "empty_splits",
    "listed",
    "row_place",
]

SPLITS = ("train", "validation", "test")


@dataclass
class Split:
    """The split of each message.

    Attributes:
        names: (N,) strings: "train", "validation", "test", or "" for a message in none of them.
        crossing: Sentences for the user that count what crosses between splits, what was left out and what
            could not be grouped. Empty when there is nothing to say.
    """

    names: np.ndarray
    crossing: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the number of messages of each split, and of those in none under ""."""
        return {name: int(np.count_nonzero(self.names == name)) for name in (*SPLITS, "")}


class Splitter(ABC):
    """Assigns each message of a table to a split, by what the messages hold and never by their position.

    The order of the rows plays no part: the same rows are split alike, however they are sorted. Unless `whole_table`
    is true, other rows play none either: adding or leaving out rows moves no other row from one split to another
    (it may take a row out of every split).
    """

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The extra columns of a message file that the splitter reads."""

    @property
    def whole_table(self) -> bool:
        """Whether a row's split may depend on what other rows hold, as shares of a sorted table do; else false.

        It still must not depend on their order. New rows can then move old ones from one split to another.
        """
        return False

    @abstractmethod
    def split(self, table: pa.Table) -> Split:
        """Return the split of each row of a table as `read_messages` gives it, and what crosses.

        Raises:
            DataError: The table does not hold what the splitter needs.
        """


def check_shares(splitter: str, validation: float, test: float) -> None:
    """Refuse shares that leave nothing to train on.

    Raises:
        ConfigError: A share is negative, or both together are 1 or more.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ConfigError(
            f"{splitter}: validation is {validation}, test is {test}; both must be "
            "shares of at least 0 that leave something to train on (their sum under 1)"
        )


def empty_splits(names: np.ndarray, shares: dict[str, float], advice: str) -> list[str]:
    """Return a sentence for each split that has a share but no message."""
    return [
        f"no message fell into {name} (share {share:g}): {advice}"
        for name, share in shares.items()
        if share > 0 and not (names == name).any()
    ]


def row_place(table: pa.Table, at: int) -> tuple[str | None, int]:
    """Return the file and the row in it, from 1, of a table's row; a table without them gives its own row."""
    if not {"file", "row"} <= set(table.column_names):
        return None, at + 1
    return table["file"][at].as_py(), table["row"][at].as_py()


def crossing_texts(table: pa.Table, names: np.ndarray) -> list[str]:
    """Return a sentence that counts the normalised texts standing in more than one split, or nothing.

    For splits that no splitter made, such as one file each.

    Args:
        table: The messages, (N,), with a column `text`.
        names: (N,) split of each message, "" for none.
    """
    return crossing_of_groups(names, duplicate_groups(iterate_strings(table["text"])))


def coded(table: pa.Table, column: str) -> tuple[np.ndarray, list[str]]:
    """Return (N,) codes into a column's distinct values, and these as strings; null has the code after.

    Raises:
        DataError: The table has no such column, or it holds neither strings nor numbers.
    """
    values = source_column(table, column)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    try:
        strings = values.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"column {column!r} holds {values.type}; a splitter needs strings or numbers"
        ) from None
    encoded = strings.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = (
            encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.large_string()).dictionary_encode()
        )
    # An empty string is how CSV writes a missing value.
    distinct = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(distinct)).to_numpy()
    if "" in distinct:
        codes = np.where(codes == distinct.index(""), len(distinct), codes)
    return codes, distinct


def crossing_of_groups(names: np.ndarray, groups: np.ndarray, what: str = "texts") -> list[str]:
    """Return a sentence that counts the groups standing in more than one split, or nothing.

    Args:
        names: (N,) split of each message, "" for none.
        groups: (N,) group numbers from 0.
        what: What a group is called, in the plural.
    """
    if not len(groups):
        return []
    inside = np.zeros((len(SPLITS), groups.max() + 1), bool)
    for split, name in enumerate(SPLITS):
        inside[split, groups[names == name]] = True
    crossing = inside.sum(axis=0) > 1
    if not crossing.any():
        return []
    rows = {name: np.count_nonzero(crossing[groups] & (names == name)) for name in SPLITS}
    listed = ", ".join(f"{count:,} in {name}" for name, count in rows.items() if count)
    number = int(np.count_nonzero(crossing))
    stand = f"1 {what.removesuffix('s')} stands" if number == 1 else f"{number:,} {what} stand"
    return [f"{stand} in more than one split (messages: {listed})"]


def listed(values: Sequence[str]) -> str:
    """Return the first ten values, quoted, and how many more there are."""
    more = f" and {len(values) - 10} more" if len(values) > 10 else ""
    return (", ".join(map(repr, values[:10])) or "nulls only") + more
