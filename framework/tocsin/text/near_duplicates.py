"""Messages that say almost the same: groups by MinHash, each pair verified by its exact Jaccard similarity.

Source: Broder (1997), "On the resemblance and containment of documents" (shingles, MinHash); Leskovec, Rajaraman
and Ullman (2020), "Mining of Massive Datasets", section 3.4 (banding).

Axes: N messages, U distinct texts among them, P permutations (bands times rows of a band).
"""

from __future__ import annotations

import functools
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from tocsin.errors import ConfigError
from tocsin.text.duplicates import group_numbers, normalise, text_digest

__all__ = [
    "SHINGLE",
    "THRESHOLD",
    "bands_for",
    "comparable",
    "jaccard",
    "near_duplicate_groups",
    "shingles",
]

THRESHOLD = 0.7
"""Jaccard similarity from which two texts are near-duplicates, where nothing else is said."""
SHINGLE = 4
"""Characters of a shingle."""

_RECALL = 0.99
_PERMUTATIONS = 160
_NEIGHBOURS = 16
# Standard error of the estimate at P = 100 is at most .05: below threshold less this, a pair is not looked at again.
_SLACK = 0.15
_PAIRS = 1 << 16
_READ = 1 << 14
_SEED = 1
_ODD = np.uint64(0x9E3779B97F4A7C15)

_NOT_COMPARED = re.compile(r"https?\S*|@[\w:]+|^(?:rt\b[ :]*)+")


def comparable(text: str) -> str:
    """Return the part of a text that near-duplicates share: normalised, without links, user names and "RT" in front.

    A text of nothing else is compared as it is, normalised.
    """
    folded = normalise(text)
    # Twice: a retweet mark stands in front of a name, a name in front of another mark.
    for _ in range(2):
        bare = " ".join(_NOT_COMPARED.sub(" ", folded).split())
        if not bare:
            return folded
        folded = bare
    return folded


def shingles(text: str) -> set[bytes]:
    """Return the runs of 4 characters of a comparable text, with one space before and one after it.

    Characters and not words: Chinese, Japanese and Thai write no spaces, a message of Finnish or Turkish has few
    words, and one misspelt letter changes four shingles instead of a whole word. A shorter text is one shingle.

    Args:
        text: What `comparable` returned.

    Returns:
        Shingles as UTF-32 bytes.
    """
    coded = f" {text} ".encode("utf-32-le", "surrogatepass")
    width = 4 * SHINGLE
    return {coded[start : start + width] for start in range(0, max(len(coded) - width, 0) + 1, 4)}


def jaccard(first: set[bytes], second: set[bytes]) -> float:
    """Return the share of shingles that two sets have in common, 0 to 1."""
    common = len(first & second)
    return common / (len(first) + len(second) - common)


@functools.lru_cache
def bands_for(threshold: float) -> tuple[int, int]:
    """Return the number of bands and the rows of a band for a threshold, of at most 160 permutations in all.

    Two texts of similarity s are compared with probability 1 - (1 - s^rows)^bands. The bands hold as many rows as
    they can (fewer unlike texts are compared) while that is .99 for two texts exactly at the threshold.

    Args:
        threshold: Jaccard similarity, .4 to 1.
    """
    chosen = (_PERMUTATIONS, 1)
    for rows in range(1, _PERMUTATIONS):
        miss = 1 - threshold**rows
        bands = 1 if miss <= 0 else math.ceil(math.log(1 - _RECALL) / math.log(miss))
        if bands * rows > _PERMUTATIONS:
            break
        chosen = (bands, rows)
    return chosen


def near_duplicate_groups(
    texts: pa.ChunkedArray | pa.Array | Sequence[str],
    threshold: float = THRESHOLD,
    advance: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """Return group numbers, (N,) int64, equal for texts that a chain of near-duplicates joins.

    Two texts are near-duplicates when their `comparable` forms are equal, or when the Jaccard similarity of their
    `shingles` is at least the threshold. MinHash and banding propose pairs, each is verified exactly, and verified
    pairs are joined into groups, so that the ends of a group may be less alike. Groups are numbered from 0 in the
    order of their first text; which texts form a group does not depend on their order.

    Held in memory beside the texts: 16 bytes a text, and 4 P bytes a distinct one (520 at a threshold of .7). Within
    a band a text is compared with at most 16 others of its bucket, so that work grows as the texts do.

    Args:
        texts: (N,) texts, none null.
        threshold: Jaccard similarity from which texts belong together, .4 to 1.
        advance: Called with a number of texts whenever so many more were read; all of them are read twice.

    Raises:
        ConfigError: The threshold is out of its range, or the library datasketch is not installed.
    """
    check_threshold(threshold, "near_duplicate_groups")
    column = texts if isinstance(texts, pa.ChunkedArray | pa.Array) else pa.array(texts, pa.large_string())
    if not len(column):
        return np.zeros(0, np.int64)
    first_U, code_N = _distinct(column, advance)
    bands, rows = bands_for(threshold)
    signatures_UP = _signatures(column, first_U, bands * rows, advance)
    joined = _Joined(len(first_U))
    for band in range(bands):
        keys_U = _bucket_keys(signatures_UP[:, band * rows : (band + 1) * rows])
        for one, other in _candidates(keys_U, joined.roots(), signatures_UP, threshold - _SLACK):
            if joined.root(one) != joined.root(other):
                first, second = (_shingles_at(column, int(first_U[at])) for at in (one, other))
                if jaccard(first, second) >= threshold:
                    joined.join(one, other)
    return group_numbers(joined.roots()[code_N])


def check_threshold(threshold: float, asked_by: str) -> None:
    """Refuse a similarity that banding cannot serve.

    Raises:
        ConfigError: The threshold is not between .4 and 1.
    """
    if not 0.4 <= threshold <= 1:
        raise ConfigError(
            f"{asked_by}: threshold is {threshold}; a Jaccard similarity from 0.4 to 1 is wanted (two texts that share "
            "less than that are not near-duplicates, and nearly all pairs would have to be compared)"
        )


def _distinct(
    column: pa.ChunkedArray | pa.Array, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (U,) rows that hold each comparable text once, and (N,) which of them a row holds.

    Their order is that of the texts' digests, and not of rows: nothing after it can depend on the rows' order.
    """
    digests = bytearray()
    for text in _strings(column, np.arange(len(column)), advance):
        digests += text_digest(comparable(text))
    pairs = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    ordered = pairs[order]
    starts = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    code_N = np.empty(len(pairs), np.int64)
    code_N[order] = np.cumsum(starts) - 1
    return order[starts], code_N


def _signatures(
    column: pa.ChunkedArray | pa.Array, first_U: np.ndarray, permutations: int, advance: Callable[[int], None]
) -> np.ndarray:
    """Return MinHash signatures (U, P) uint32."""
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise ConfigError(
            "near-duplicates need the library datasketch: pip install 'tocsin[near-duplicates]'"
        ) from error
    signatures_UP = np.empty((len(first_U), permutations), np.uint32)
    order = np.argsort(first_U)  # texts are read in the order of their rows
    sets = (shingles(comparable(text)) for text in _strings(column, first_U[order], advance))
    # crc32 and not the library's SHA-1: three times as fast, and nobody plans a collision here. The library's
    # 32-bit scheme is named so that another default cannot change groups.
    made = MinHash.generator(sets, num_perm=permutations, seed=_SEED, hashfunc=zlib.crc32, scheme="affine32")
    for at, one in zip(order, made, strict=True):
        signatures_UP[at] = one.hashvalues
    return signatures_UP


def _bucket_keys(signatures_UR: np.ndarray) -> np.ndarray:
    """Return (U,) uint64, equal where a band's rows are."""
    keys_U = np.zeros(len(signatures_UR), np.uint64)
    for row in range(signatures_UR.shape[1]):
        keys_U ^= signatures_UR[:, row]
        keys_U *= _ODD
        keys_U ^= keys_U >> np.uint64(29)
    return keys_U


def _candidates(
    keys_U: np.ndarray, roots_U: np.ndarray, signatures_UP: np.ndarray, least: float
) -> Iterator[tuple[int, int]]:
    """Yield pairs of one bucket that are not joined and whose estimated similarity is at least `least`."""
    order = np.lexsort((roots_U, keys_U))
    new = np.append(
        True, (keys_U[order][1:] != keys_U[order][:-1]) | (roots_U[order][1:] != roots_U[order][:-1])
    )
    order = order[new]  # one text of each group in each bucket
    keys = keys_U[order]
    for distance in range(1, _NEIGHBOURS + 1):
        starts = np.flatnonzero(keys[distance:] == keys[:-distance])
        if not len(starts):
            return
        for block in range(0, len(starts), _PAIRS):
            chosen = starts[block : block + _PAIRS]
            one, other = order[chosen], order[chosen + distance]
            likeness = (signatures_UP[one] == signatures_UP[other]).mean(axis=1)
            kept = likeness >= least
            yield from zip(one[kept].tolist(), other[kept].tolist(), strict=True)


def _shingles_at(column: pa.ChunkedArray | pa.Array, row: int) -> set[bytes]:
    return shingles(comparable(column[row].as_py()))


def _strings(
    column: pa.ChunkedArray | pa.Array, rows: np.ndarray, advance: Callable[[int], None]
) -> Iterator[str]:
    """Yield the texts of some rows, which ascend, some thousands of them in memory at a time."""
    for start in range(0, len(column), _READ):
        part = column.slice(start, _READ)
        first, last = np.searchsorted(rows, (start, start + _READ))
        yield from part.take(pa.array(rows[first:last] - start)).to_pylist()
        advance(len(part))


class _Joined:
    """Groups that grow by joining two at a time (union-find with path halving); a root is a group's least member."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, member: int) -> int:
        parents = self._parents
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    def join(self, one: int, other: int) -> None:
        first, second = self.root(one), self.root(other)
        self._parents[max(first, second)] = min(first, second)

    def roots(self) -> np.ndarray:
        """Return (U,) the root of each member."""
        roots = np.array(self._parents, np.int64)
        while True:
            above = roots[roots]
            if (above == roots).all():
                return roots
            roots = above
