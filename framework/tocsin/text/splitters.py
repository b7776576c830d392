"""Splitters: which message is trained on, which is validated and which is tested.

A splitter never goes by a row's position, so that adding or sorting rows moves no other row to another split.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tocsin.errors import ConfigError, DataError
from tocsin.text.duplicates import duplicate_groups, text_digest
from tocsin.text.messages import iterate_strings, source_column

__all__ = ["SPLITS", "GivenSplit", "GroupedSplit", "Split", "Splitter", "crossing_texts"]

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
    """Assigns each message of a table to a split, by what the message holds and never by its position.

    Adding or sorting rows moves no other row from one split to another (it may take a row out of every split).
    """

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The extra columns of a message file that the splitter reads."""

    @abstractmethod
    def split(self, table: pa.Table) -> Split:
        """Return the split of each row of a table as `read_messages` gives it, and what crosses.

        Raises:
            DataError: The table does not hold what the splitter needs.
        """


class GivenSplit(Splitter):
    """Takes the splits that a column of the file states.

    Rows with another value, or none, are in no split. Texts that stand in more than one split are counted.

    Args:
        column: The column that states the split.
        train: Its values that mean train.
        validation: Its values that mean validation.
        test: Its values that mean test.
        drop_crossing: Take a training message out of the fit when its normalised text also stands in
            validation or test.
    """

    def __init__(
        self,
        column: str = "split",
        train: list[str] = ["train"],  # noqa: B006 (never changed)
        validation: list[str] = ["validation", "dev", "val"],  # noqa: B006
        test: list[str] = ["test"],  # noqa: B006
        drop_crossing: bool = False,
    ) -> None:
        self.column = column
        self.values = dict(zip(SPLITS, (tuple(train), tuple(validation), tuple(test)), strict=True))
        self.drop_crossing = drop_crossing
        every = [value for values in self.values.values() for value in values]
        if repeated := sorted({value for value in every if every.count(value) > 1}):
            raise ConfigError(
                f"GivenSplit: {', '.join(map(repr, repeated))} stands for more than one split; "
                "name each value once"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that states the split."""
        return (self.column,)

    def split(self, table: pa.Table) -> Split:
        """Return the splits that the column states; see `Splitter.split`."""
        codes, values = _coded(table, self.column)
        of_value = {value: name for name, meaning in self.values.items() for value in meaning}
        names = np.array([*(of_value.get(value, "") for value in values), ""], "U10")[codes]
        counts = np.bincount(codes, minlength=len(values) + 1)
        if not (names != "").any():
            wanted = "; ".join(
                f"{name}: {', '.join(map(repr, meaning))}" for name, meaning in self.values.items()
            )
            raise DataError(
                f"GivenSplit: no value of column {self.column!r} means a split. It holds {_listed(values)}; "
                f"wanted were {wanted}"
            )
        sentences = [
            f"{counts[code]:,} messages have {self.column} {value!r}, which stands for no split: left out"
            for code, value in list(enumerate(values))[:20]
            if value not in of_value and counts[code]
        ]
        if counts[-1]:
            sentences.append(f"{counts[-1]:,} messages have no {self.column}: left out")
        groups = duplicate_groups(iterate_strings(table["text"]))
        crossing = _crossing_texts(names, groups)
        if self.drop_crossing and crossing:
            held_out = np.zeros(groups.max() + 1, bool)
            held_out[groups[(names == "validation") | (names == "test")]] = True
            dropped = (names == "train") & held_out[groups]
            names = np.where(dropped, "", names)
            sentences.append(
                f"{np.count_nonzero(dropped):,} training messages left out: "
                "their text also stands in validation or test"
            )
            crossing = _crossing_texts(names, groups)
        return Split(names, [*sentences, *crossing])


class GroupedSplit(Splitter):
    """Splits at random by groups, so that no group stands in more than one split.

    A group's split follows from a seeded hash of its value alone, never from its position: the same message
    falls into the same split in every file, and new rows move no old one. Hence the shares hold on average,
    not exactly.

    Args:
        by: "duplicates" groups messages whose normalised text is equal. Any other value names a column:
            messages with equal values form a group (a user, an event, the English side of a translation), and
            texts that cross splits are counted. A message without a value is a group of its own, placed by
            its text.
        validation: Share of the groups in validation, 0 to 1.
        test: Share of the groups in test, 0 to 1.
        seed: Another seed gives another split.
    """

    def __init__(
        self, by: str = "duplicates", validation: float = 0.1, test: float = 0.1, seed: int = 42
    ) -> None:
        if not (validation >= 0 and test >= 0 and validation + test < 1):
            raise ConfigError(
                f"GroupedSplit: validation is {validation}, test is {test}; both must be "
                "shares of at least 0 that leave something to train on (their sum under 1)"
            )
        self.by = by
        self.validation = validation
        self.test = test
        self.seed = seed

    @property
    def columns(self) -> tuple[str, ...]:
        """The column to group by; none for duplicates."""
        return () if self.by == "duplicates" else (self.by,)

    def split(self, table: pa.Table) -> Split:
        """Return a split by groups; see `Splitter.split`."""
        sentences: list[str] = []
        if self.by == "duplicates":
            places = self._places_of_texts(table["text"])
        else:
            codes, values = _coded(table, self.by)
            places = np.array([*(self._place(value) for value in values), np.nan])[codes]
            alone = np.flatnonzero(codes == len(values))
            if len(alone):
                sentences.append(
                    f"{len(alone):,} messages have no {self.by}: "
                    "each is a group of its own, placed by its text"
                )
                places[alone] = self._places_of_texts(table["text"].take(pa.array(alone)))
        names = np.full(len(places), "train", "U10")
        names[places < self.validation + self.test] = "test"
        names[places < self.validation] = "validation"
        for name, share in (("validation", self.validation), ("test", self.test)):
            if share > 0 and not (names == name).any():
                sentences.append(
                    f"no message fell into {name} (share {share:g}): too few groups; raise the share"
                )
        if self.by != "duplicates":
            sentences += crossing_texts(table, names)
        return Split(names, sentences)

    @property
    def _key(self) -> bytes:
        return f"tocsin split {self.seed}".encode()

    def _place(self, value: str) -> float:
        """Return a group's place between 0 and 1."""
        digest = hashlib.blake2b(value.encode("utf-8"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") / 2**64

    def _places_of_texts(self, texts: pa.ChunkedArray) -> np.ndarray:
        digests = bytearray()
        for text in iterate_strings(texts):
            digests += text_digest(text, self._key)[:8]
        return np.frombuffer(digests, "<u8") / 2.0**64


def crossing_texts(table: pa.Table, names: np.ndarray) -> list[str]:
    """Return a sentence that counts the normalised texts standing in more than one split, or nothing.

    For splits that no splitter made, such as one file each.

    Args:
        table: The messages, (N,), with a column `text`.
        names: (N,) split of each message, "" for none.
    """
    return _crossing_texts(names, duplicate_groups(iterate_strings(table["text"])))


def _coded(table: pa.Table, column: str) -> tuple[np.ndarray, list[str]]:
    """Return (N,) codes into a column's distinct values, and these as strings; null has the code after."""
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


def _crossing_texts(names: np.ndarray, groups: np.ndarray) -> list[str]:
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
    return [f"{np.count_nonzero(crossing):,} texts stand in more than one split (messages: {listed})"]


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - 10} more" if len(values) > 10 else ""
    return (", ".join(map(repr, values[:10])) or "nulls only") + more
