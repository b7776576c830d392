"""The split that keeps groups together and labels in proportion.

Axes: N messages, G groups, L labels, S splits, E entries (pairs of a group and a label that occur together).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tocsin.errors import ConfigError, DataError
from tocsin.text.groups import (
    DUPLICATES,
    NEAR_DUPLICATES,
    check_grouping,
    group_digests,
    oversized,
)
from tocsin.text.near_duplicates import THRESHOLD
from tocsin.text.splitting import (
    SPLITS,
    Split,
    Splitter,
    check_shares,
    coded,
    crossing_texts,
    empty_splits,
    listed,
)

__all__ = ["StratifiedGroupedSplit", "iterative_stratification"]

_ABSENT = {"0", "0.0", "false"}


class StratifiedGroupedSplit(Splitter):
    """Splits by groups so that every split holds its share of each label, the rarest label seen to first.

    Iterative stratification of multilabel data, here of whole groups: while labels are left, take the one that the
    fewest undivided messages have, and give its groups, the largest first, each to the split that still lacks most
    messages of that label; then the groups without any label, to the split that lacks most messages. The shares hold
    as nearly as groups allow. A group that is larger than a split's whole share never goes there and is named.

    All messages are looked at: new ones can move old ones to another split. `GroupedSplit` does not do that.

    Source: Sechidis, Tsoumakas and Vlahavas (2011), "On the stratification of multi-label data", algorithm 1.

    Args:
        labels: The columns to keep in proportion. In a column of 0 and 1 (or true and false) the 1 is a label; in any
            other, such as a language, each value is one. Null is none.
        by: What is kept together, as for GroupedSplit: "duplicates", "near_duplicates" (needs the extra
            near-duplicates) or a column.
        validation: Share of the messages in validation, 0 to 1.
        test: Share of the messages in test, 0 to 1.
        seed: Another seed breaks ties otherwise, which gives another split.
        threshold: Jaccard similarity of the runs of 4 characters, 0.4 to 1, from which two texts are near-duplicates;
            nothing else uses it.
    """

    def __init__(
        self,
        labels: list[str],
        by: str = "duplicates",
        validation: float = 0.1,
        test: float = 0.1,
        seed: int = 42,
        threshold: float = THRESHOLD,
    ) -> None:
        check_shares("StratifiedGroupedSplit", validation, test)
        check_grouping("StratifiedGroupedSplit", by, threshold)
        if isinstance(labels, str) or not labels:
            raise ConfigError(
                f"StratifiedGroupedSplit: labels is {labels!r}; a list of the columns to keep in proportion was wanted"
            )
        self.labels = tuple(dict.fromkeys(labels))
        self.by = by
        self.shares = {"train": 1 - validation - test, "validation": validation, "test": test}
        self.seed = seed
        self.threshold = threshold

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels' columns, and the column to group by."""
        by = () if self.by in (DUPLICATES, NEAR_DUPLICATES) else (self.by,)
        return tuple(dict.fromkeys([*self.labels, *by]))

    @property
    def whole_table(self) -> bool:
        """True: shares are shares of this table."""
        return True

    def split(self, table: pa.Table) -> Split:
        """Return a split by groups that keeps labels in proportion; see `Splitter.split`.

        Raises:
            DataError: A group holds more messages than the share of every split; names it.
        """
        key = f"tocsin stratified split {self.seed}".encode()
        digests, sentences = group_digests(table, self.by, key, self.threshold)
        if table.num_rows > 1:  # a single message is larger than any share
            sentences += self._large_groups(table, digests)
        # Groups are numbered in the order of their digests: that of the rows plays no part.
        _, group_N, sizes_G = np.unique(digests, return_inverse=True, return_counts=True)
        names, label_rows = _label_rows(table, self.labels)
        counts = _counts(group_N, label_rows, len(sizes_G))
        shares_S = np.array([self.shares[name] for name in SPLITS])
        split_N = iterative_stratification(sizes_G, counts, shares_S)[group_N]
        for split, name in enumerate(SPLITS):
            inside = split_N == split
            lacking = [label for label, rows in zip(names, label_rows, strict=True) if not inside[rows].any()]
            if lacking and self.shares[name] > 0 and inside.any():
                sentences.append(f"no message of {name} has {listed(lacking)}: too few groups hold it")
        split_names = np.array(SPLITS, "U10")[split_N]
        sentences += empty_splits(split_names, self.shares, "too few groups; raise the share")
        if self.by != DUPLICATES:
            sentences += crossing_texts(table, split_names)
        return Split(split_names, sentences)

    def _large_groups(self, table: pa.Table, digests: np.ndarray) -> list[str]:
        shares = {name: share for name, share in self.shares.items() if share > 0}
        sentences = []
        for group in oversized(table, self.by, digests, min(shares.values())):
            beyond = [f"{name} ({share:.0%})" for name, share in shares.items() if group.share > share]
            if len(beyond) == len(shares):
                raise DataError(
                    f"StratifiedGroupedSplit: {group} is alone more than the share of every split: "
                    f"{', '.join(beyond)}. Group by something finer, or change the shares"
                )
            sentences.append(
                f"{group} is alone more than the share of {' and of '.join(beyond)}: kept out of it"
            )
        return sentences


@dataclass(frozen=True)
class _Counts:
    """Messages of a group that have a label, as entries sorted by group.

    Attributes:
        starts: (G + 1,) where each group's entries begin.
        labels: (E,) label of each entry.
        messages: (E,) how many messages of the group have it.
        number: L.
    """

    starts: np.ndarray
    labels: np.ndarray
    messages: np.ndarray
    number: int


def iterative_stratification(sizes_G: np.ndarray, counts: _Counts, shares_S: np.ndarray) -> np.ndarray:
    """Return the split of each group, (G,).

    A group that is larger than a split's share of all messages goes there only when it is larger than every share.
    Ties are broken by which split lacks most messages, then by the groups' and splits' order.

    Args:
        sizes_G: (G,) messages of each group, in an order that is as good as random.
        counts: Messages of each group by label.
        shares_S: (S,) shares that add up to 1.
    """
    groups, total = len(sizes_G), int(sizes_G.sum())
    lacking_S = shares_S * total
    allowed_GS = (sizes_G[:, None] <= lacking_S[None] + 1e-9) & (shares_S > 0)[None]
    allowed_GS[~allowed_GS.any(axis=1)] = shares_S > 0
    left_L = np.bincount(counts.labels, counts.messages, counts.number)
    lacking_SL = shares_S[:, None] * left_L[None]
    split_G = np.full(groups, -1)

    def give(group: int, wanted_S: np.ndarray) -> None:
        wanted_S = np.where(allowed_GS[group], wanted_S, -np.inf)
        best = np.flatnonzero(wanted_S >= wanted_S.max() - 1e-9)
        split = int(best[np.argmax(lacking_S[best])])
        entries = slice(counts.starts[group], counts.starts[group + 1])
        split_G[group] = split
        lacking_S[split] -= sizes_G[group]
        lacking_SL[split, counts.labels[entries]] -= counts.messages[entries]
        left_L[counts.labels[entries]] -= counts.messages[entries]

    by_label = np.argsort(counts.labels, kind="stable")
    ends = np.searchsorted(counts.labels[by_label], np.arange(counts.number + 1))
    group_of_entry = np.repeat(np.arange(groups), np.diff(counts.starts))
    while (left_L > 0).any():
        label = int(np.argmin(np.where(left_L > 0, left_L, np.inf)))
        entries = by_label[ends[label] : ends[label + 1]]
        for entry in entries[np.argsort(-counts.messages[entries], kind="stable")]:
            if split_G[group_of_entry[entry]] < 0:
                give(int(group_of_entry[entry]), lacking_SL[:, label])
    rest = np.flatnonzero(split_G < 0)
    for group in rest[np.argsort(-sizes_G[rest], kind="stable")]:
        give(int(group), lacking_S)
    return split_G


def _label_rows(table: pa.Table, columns: tuple[str, ...]) -> tuple[list[str], list[np.ndarray]]:
    """Return the labels that occur, and for each the rows that have it."""
    names: list[str] = []
    rows: list[np.ndarray] = []
    for column in columns:
        codes, values = coded(table, column)
        flags = {value.lower() for value in values if value} <= {*_ABSENT, "1", "1.0", "true"}
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(values) + 1))
        for code in sorted(range(len(values)), key=values.__getitem__):
            value = values[code]
            if value and not (flags and value.lower() in _ABSENT) and ends[code] < ends[code + 1]:
                names.append(column if flags else f"{column} {value}")
                rows.append(order[ends[code] : ends[code + 1]])
    return names, rows


def _counts(group_N: np.ndarray, label_rows: list[np.ndarray], groups: int) -> _Counts:
    labels = len(label_rows)
    keys = [group_N[rows].astype(np.int64) * labels + label for label, rows in enumerate(label_rows)]
    entries, messages = np.unique(np.concatenate([*keys, np.zeros(0, np.int64)]), return_counts=True)
    starts = (
        np.searchsorted(entries, np.arange(groups + 1) * labels) if labels else np.zeros(groups + 1, np.int64)
    )
    return _Counts(starts, entries % max(labels, 1), messages, labels)
