"""Splitters: which message is trained on, which is validated and which is tested.

No splitter goes by a row's position. Those here go by single rows or groups alone, so that adding or sorting rows
moves no other row to another split; `tocsin.text.temporal` and `tocsin.text.stratified` look at the whole table.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tocsin.errors import ConfigError, DataError
from tocsin.text.duplicates import duplicate_groups
from tocsin.text.groups import (
    DUPLICATES,
    NEAR_DUPLICATES,
    check_grouping,
    group_digests,
    oversized,
    value_digest,
)
from tocsin.text.messages import iterate_strings
from tocsin.text.near_duplicates import THRESHOLD
from tocsin.text.splitting import (
    SPLITS,
    Split,
    Splitter,
    check_shares,
    coded,
    crossing_of_groups,
    crossing_texts,
    empty_splits,
    listed,
)

__all__ = ["SPLITS", "GivenSplit", "GroupedSplit", "RandomSplit", "Split", "Splitter", "crossing_texts"]


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
        codes, values = coded(table, self.column)
        of_value = {value: name for name, meaning in self.values.items() for value in meaning}
        names = np.array([*(of_value.get(value, "") for value in values), ""], "U10")[codes]
        counts = np.bincount(codes, minlength=len(values) + 1)
        if not (names != "").any():
            wanted = "; ".join(
                f"{name}: {', '.join(map(repr, meaning))}" for name, meaning in self.values.items()
            )
            raise DataError(
                f"GivenSplit: no value of column {self.column!r} means a split. It holds {listed(values)}; "
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
        crossing = crossing_of_groups(names, groups)
        if self.drop_crossing and crossing:
            held_out = np.zeros(groups.max() + 1, bool)
            held_out[groups[(names == "validation") | (names == "test")]] = True
            dropped = (names == "train") & held_out[groups]
            names = np.where(dropped, "", names)
            sentences.append(
                f"{np.count_nonzero(dropped):,} training messages left out: "
                "their text also stands in validation or test"
            )
            crossing = crossing_of_groups(names, groups)
        return Split(names, [*sentences, *crossing])


class GroupedSplit(Splitter):
    """Splits at random by groups, so that no group stands in more than one split.

    A group's split follows from a seeded hash of its value alone, never from its position: the same message
    falls into the same split in every file, and new rows move no old one. Hence the shares hold on average,
    not exactly. Near-duplicates are the exception: a new text can join two groups that stood in two splits.

    Args:
        by: "duplicates" groups messages whose normalised text is equal. "near_duplicates" groups those whose texts
            are almost equal once links, user names and "RT" are left out (see `threshold`; needs the extra
            near-duplicates), which also holds retweets together. Any other value names a column:
            messages with equal values form a group (a user, an event, the English side of a translation), and
            texts that cross splits are counted. A message without a value is a group of its own, placed by
            its text.
        validation: Share of the groups in validation, 0 to 1.
        test: Share of the groups in test, 0 to 1.
        seed: Another seed gives another split.
        threshold: Jaccard similarity of the runs of 4 characters, 0.4 to 1, from which two texts are near-duplicates;
            nothing else uses it.
    """

    def __init__(
        self,
        by: str = "duplicates",
        validation: float = 0.1,
        test: float = 0.1,
        seed: int = 42,
        threshold: float = THRESHOLD,
    ) -> None:
        check_shares("GroupedSplit", validation, test)
        check_grouping("GroupedSplit", by, threshold)
        self.by = by
        self.validation = validation
        self.test = test
        self.seed = seed
        self.threshold = threshold

    @property
    def columns(self) -> tuple[str, ...]:
        """The column to group by; none for duplicates and near-duplicates."""
        return () if self.by in (DUPLICATES, NEAR_DUPLICATES) else (self.by,)

    @property
    def whole_table(self) -> bool:
        """True for near-duplicates: which texts form a group depends on all of them."""
        return self.by == NEAR_DUPLICATES

    def split(self, table: pa.Table) -> Split:
        """Return a split by groups; see `Splitter.split`."""
        digests, sentences = group_digests(table, self.by, _key(self.seed), self.threshold)
        names = _placed(digests / 2.0**64, self.validation, self.test)
        shares = _shares(self.validation, self.test)
        sentences += empty_splits(names, shares, "too few groups; raise the share")
        for group in oversized(table, self.by, digests, min(shares.values(), default=1.0)):
            split = str(names[group.first])
            if group.share > shares.get(split, 1.0):
                sentences.append(
                    f"{group} is alone more than the share of {split} ({shares[split]:.0%}), into which it fell: take "
                    "another seed, a finer grouping or other shares"
                )
        if self.by != DUPLICATES:
            sentences += crossing_texts(table, names)
        return Split(names, sentences)


class RandomSplit(Splitter):
    """Splits at random by row. Every kind of repetition crosses: prefer any other splitter.

    Retweets and repeated texts, messages of one user, one event or one day, and translations of one sentence stand in
    training and in test at once, so that scores say how well a model remembers rather than how well it will do on
    what comes next. It is here to repeat published results that were made so, and to show the difference; it is never
    chosen by default.

    A message's split follows from a seeded hash of its id (of its file and row where it has none, or where its id
    repeats), so that the shares hold on average.

    Args:
        seed: Another seed gives another split.
        validation: Share of the messages in validation, 0 to 1.
        test: Share of the messages in test, 0 to 1.
    """

    def __init__(self, seed: int, validation: float = 0.1, test: float = 0.1) -> None:
        check_shares("RandomSplit", validation, test)
        self.seed = seed
        self.validation = validation
        self.test = test

    @property
    def columns(self) -> tuple[str, ...]:
        """None beside the id, which every table has."""
        return ()

    def split(self, table: pa.Table) -> Split:
        """Return a split by row, and what leaks; see `Splitter.split`.

        Raises:
            DataError: The table has no column `id`.
        """
        if "id" not in table.column_names:
            raise DataError("RandomSplit: the table has no column 'id'; read the messages with read_messages")
        key = _key(self.seed)
        ids = table["id"].to_pylist()
        digests = np.fromiter((value_digest(one, key) for one in ids), np.uint64, len(ids))
        names = _placed(digests / 2.0**64, self.validation, self.test)
        leaks = (
            "RandomSplit divides by row: repeated texts, retweets, users, events and days stand in training and in "
            "test at once, and scores flatter the model"
        )
        shares = _shares(self.validation, self.test)
        empty = empty_splits(names, shares, "too few messages; raise the share")
        return Split(names, [leaks, *empty, *crossing_texts(table, names)])


def _key(seed: int) -> bytes:
    return f"tocsin split {seed}".encode()


def _placed(places: np.ndarray, validation: float, test: float) -> np.ndarray:
    """Return (N,) splits of places between 0 and 1."""
    names = np.full(len(places), "train", "U10")
    names[places < validation + test] = "test"
    names[places < validation] = "validation"
    return names


def _shares(validation: float, test: float) -> dict[str, float]:
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    return {name: share for name, share in shares.items() if share > 0}
