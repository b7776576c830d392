"""Which pairs are held out, and which fit under a cap: those with the smallest seeded hashes, never by position.

Axes: n pairs of a part, G groups (source and language).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

__all__ = ["HeldOut", "mixed", "thresholds"]

_DIGITS = (11, 11, 11, 11, 11, 9)  # bits of a key that one reading settles; 64 in all
_WEYL = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """A seeded bijection of 64-bit keys, `(n,)` uint64, whose outputs look random.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), after Stafford's variant 13.
    """
    offset = np.uint64(((seed + 1) * _WEYL) & _MASK)
    with np.errstate(over="ignore"):
        x = keys.astype(np.uint64) + offset
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


class HeldOut:
    """Draws the held-out pairs of each language in one reading: those whose English sentence has the smallest hash.

    The hash is of the English sentence, so that languages that share sentences hold out the same ones, and few are lost
    to the others' training.

    Args:
        rows: Pairs of a language at most.
        share: Of a language's pairs at most, in [0, 1].
        seed: Of the hash.
    """

    def __init__(self, rows: int, share: float, seed: int) -> None:
        self.rows, self.share, self.seed = rows, share, seed
        self._counts: dict[int, int] = {}
        self._best: dict[int, np.ndarray] = {}

    def see(self, languages: np.ndarray, english_keys: np.ndarray, pair_keys: np.ndarray) -> None:
        """Look at pairs: numbers of their languages and their digests, `(n,)` each."""
        if not len(languages):
            return
        order = np.argsort(languages, kind="stable")
        ordered = languages[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        keys = np.stack(
            [mixed(english_keys, self.seed), mixed(pair_keys, self.seed), english_keys, pair_keys], axis=1
        )
        for start, end in zip(starts, [*starts[1:], len(ordered)], strict=True):
            language = int(ordered[start])
            self._counts[language] = self._counts.get(language, 0) + int(end - start)
            if not self.rows:
                continue
            known = self._best.get(language)
            found = keys[order[start:end]]
            found = found if known is None else np.concatenate([known, found])
            self._best[language] = found[np.lexsort((found[:, 1], found[:, 0]))[: self.rows]]

    def chosen(self) -> tuple[np.ndarray, np.ndarray]:
        """Digests of the English sentences of all held-out pairs, each once, sorted; and of these pairs, sorted."""
        parts = [
            best[: int(self.share * self._counts[language] + 1e-9)] for language, best in self._best.items()
        ]
        rows = np.concatenate(parts) if parts else np.zeros((0, 4), np.uint64)
        return np.unique(rows[:, 2]), np.unique(rows[:, 3])


def thresholds(
    parts: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]], counts_G: np.ndarray, cap: int
) -> np.ndarray:
    """The cap-th smallest key of each group that holds more than `cap`: keys up to it fit under the cap.

    The keys are never held: they are read once for each few bits of the thresholds, which a histogram settles.

    Args:
        parts: Yields keys `(n,)` uint64 and their groups `(n,)`, the same each time it is called. The keys of a group
            differ.
        counts_G: Keys of each group.
        cap: At least 1.

    Returns:
        `(G,)` uint64; the greatest number for groups that hold no more than `cap`.
    """
    limits = np.full(len(counts_G), np.iinfo(np.uint64).max)
    over = np.flatnonzero(counts_G > cap)
    if not len(over):
        return limits
    number = np.full(len(counts_G), -1)
    number[over] = np.arange(len(over))
    prefix = np.zeros(len(over), np.uint64)
    left = np.full(len(over), cap)
    below = 64
    for width in _DIGITS:
        below -= width
        histogram = np.zeros((len(over), 1 << width), np.int64)
        for keys, groups in _of_groups(parts(), number):
            # Two shifts: numpy leaves a shift by all 64 bits undefined.
            open_ = (
                (keys >> np.uint64(below) >> np.uint64(width) == prefix[groups])
                if below + width < 64
                else ...
            )
            keys, groups = keys[open_], groups[open_]
            digits = (keys >> np.uint64(below)).astype(np.int64) & ((1 << width) - 1)
            histogram += np.bincount(groups * (1 << width) + digits, minlength=histogram.size).reshape(
                histogram.shape
            )
        reached = np.cumsum(histogram, axis=1)
        digit = np.argmax(reached >= left[:, None], axis=1)
        rows = np.arange(len(over))
        left = left - (reached[rows, digit] - histogram[rows, digit])
        prefix = (prefix << np.uint64(width)) | digit.astype(np.uint64)
    limits[over] = prefix
    return limits


def _of_groups(
    parts: Iterable[tuple[np.ndarray, np.ndarray]], number: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for keys, groups in parts:
        mine = number[groups] >= 0
        yield keys[mine], number[groups[mine]]
