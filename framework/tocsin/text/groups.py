"""Groups of messages that must not be parted: equal texts, near-duplicates, or equal values of a column.

Axes: N messages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tocsin.text.duplicates import text_digest
from tocsin.text.messages import iterate_strings
from tocsin.text.near_duplicates import check_threshold, comparable, near_duplicate_groups
from tocsin.text.splitting import coded, row_place

__all__ = [
    "DUPLICATES",
    "NEAR_DUPLICATES",
    "Group",
    "check_grouping",
    "group_digests",
    "oversized",
    "value_digest",
]

DUPLICATES = "duplicates"
NEAR_DUPLICATES = "near_duplicates"


@dataclass(frozen=True)
class Group:
    """A group of messages, as users are told of it.

    Attributes:
        name: The column and its value, or the file and row of a message of the group; never a text.
        first: Position of its first message in the table.
        messages: How many messages it holds.
        share: Share of all messages that it holds.
    """

    name: str
    first: int
    messages: int
    share: float

    def __str__(self) -> str:
        return f"{self.name} ({self.messages:,} messages, {self.share:.1%})"


def check_grouping(splitter: str, by: str, threshold: float) -> None:
    """Refuse what no group can be made of.

    Raises:
        ConfigError: `by` is "near_duplicates" and the threshold is out of range.
    """
    if by == NEAR_DUPLICATES:
        check_threshold(threshold, splitter)


def group_digests(table: pa.Table, by: str, key: bytes, threshold: float) -> tuple[np.ndarray, list[str]]:
    """Return (N,) uint64 that are equal within a group, and sentences about messages without one.

    They follow from a group's value, or its texts, and the key alone.

    Args:
        table: The messages, (N,), with a column `text`.
        by: "duplicates", "near_duplicates" or the name of a column.
        key: At most 64 bytes; another key gives other digests.
        threshold: Jaccard similarity from which texts are near-duplicates.

    Raises:
        DataError: The table lacks the column, or it holds neither strings nor numbers.
        ConfigError: Near-duplicates are asked for and their library is not installed.
    """
    if by == DUPLICATES:
        return _digests_of_texts(table["text"], key), []
    if by == NEAR_DUPLICATES:
        return _digests_of_near_duplicates(table["text"], key, threshold), []
    codes, values = coded(table, by)
    digests = np.array([*(value_digest(value, key) for value in values), 0], np.uint64)[codes]
    alone = np.flatnonzero(codes == len(values))
    if not len(alone):
        return digests, []
    digests[alone] = _digests_of_texts(table["text"].take(pa.array(alone)), key)
    return digests, [f"{len(alone):,} messages have no {by}: each is a group of its own, placed by its text"]


def value_digest(value: str, key: bytes) -> int:
    """Return a number of 64 bits that follows from a value and the key."""
    digest = hashlib.blake2b(value.encode("utf-8", "replace"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little")


def oversized(table: pa.Table, by: str, digests: np.ndarray, share: float) -> list[Group]:
    """Return the groups of two messages or more that hold more than a share of all, the largest first.

    Args:
        table: The messages, (N,).
        by: What they are grouped by, for the groups' names.
        digests: (N,) as `group_digests` returns them.
        share: 0 to 1.
    """
    _, firsts, sizes = np.unique(digests, return_index=True, return_counts=True)
    found = np.flatnonzero((sizes > share * len(digests)) & (sizes > 1))
    found = found[np.lexsort((firsts[found], -sizes[found]))]
    column = coded(table, by) if len(found) and by not in (DUPLICATES, NEAR_DUPLICATES) else None
    return [
        Group(_group_name(table, by, column, int(first)), int(first), int(size), float(size / len(digests)))
        for first, size in zip(firsts[found], sizes[found], strict=True)
    ]


def _group_name(table: pa.Table, by: str, column: tuple[np.ndarray, list[str]] | None, first: int) -> str:
    if column is not None and column[0][first] < len(column[1]):
        return f"the group {by} {column[1][column[0][first]]!r}"
    file, row = row_place(table, first)
    kind = "near-duplicates" if by == NEAR_DUPLICATES else "equal texts"
    return f"the group of {kind} that holds {'row' if file is None else f'{file}, row'} {row}"


def _digests_of_texts(texts: pa.ChunkedArray, key: bytes) -> np.ndarray:
    digests = bytearray()
    for text in iterate_strings(texts):
        digests += text_digest(text, key)[:8]
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _digests_of_near_duplicates(texts: pa.ChunkedArray, key: bytes, threshold: float) -> np.ndarray:
    groups = near_duplicate_groups(texts, threshold)
    digests = bytearray()
    for text in iterate_strings(texts):
        digests += text_digest(comparable(text), key)[:8]
    least = np.full(groups.max(initial=-1) + 1, np.iinfo(np.uint64).max, np.uint64)
    # The least is the same whatever the order of the rows, but small where a group is large: hashed once more,
    # lest large groups all fall into the split whose places begin at 0.
    np.minimum.at(least, groups, np.frombuffer(digests, "<u8"))
    return np.array([value_digest(f"{one:016x}", key) for one in least.tolist()], np.uint64)[groups]
