"""Which pairs an epoch shows, and in which order: computed where it is needed, never written out.

An epoch's order is a permutation by arithmetic, so that any step of any epoch is known at once and a hundred million
pairs need no memory. Axes: G groups (source and language), n pairs asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tocsin.batches.pair_selection import mixed

__all__ = ["PairOrder", "Sampling", "permuted", "shares"]

Sampling = Literal["proportional", "equal", "temperature"]
"""How often the pairs of a source and language are drawn; see `shares`."""

_ROUNDS = 8
_LEAST_BITS = 6


def shares(
    groups: Sequence[tuple[str, str, int]], sampling: Sampling, alpha: float, source_alpha: float | None
) -> np.ndarray:
    """The share of an epoch's pairs that each source and language has, `(G,)`, of sum 1.

    With n pairs of source s and language l, and n_l of language l:

    - proportional: p(s, l) ∝ n. Each pair is as likely as every other.
    - equal: p(s, l) is the same for all of them (as sentence-transformers' round-robin over files).
    - temperature: p(l) ∝ n_l^alpha, and within a language p(s | l) ∝ n^source_alpha.

    Args:
        groups: Source, language and n, each above 0.
        sampling: One of the three.
        alpha: Of languages, in [0, 1]: 1 is proportional to their pairs, 0 equal.
        source_alpha: Of sources within a language, likewise; None for alpha.

    Source: Arivazhagan et al. 2019, arXiv 1907.05019 (temperature over languages; alpha is their 1/T).
    """
    sizes = np.array([pairs for _, _, pairs in groups], np.float64)
    if sampling == "proportional":
        return sizes / sizes.sum()
    if sampling == "equal":
        return np.full(len(groups), 1 / len(groups))
    codes = {lang: number for number, lang in enumerate(dict.fromkeys(lang for _, lang, _ in groups))}
    language_G = np.array([codes[lang] for _, lang, _ in groups])
    of_language = np.bincount(language_G, sizes) ** alpha
    within = sizes ** (alpha if source_alpha is None else source_alpha)
    return of_language[language_G] / of_language.sum() * within / np.bincount(language_G, within)[language_G]


def permuted(positions: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Where permutations send positions: for one key and size, 0 … size - 1 go to 0 … size - 1, each once.

    Args:
        positions: `(n,)` int64, each at least 0 and below its size.
        sizes: `(n,)` int64.
        keys: `(n,)` uint64; another key is another permutation.

    Source: a Feistel network walked until it falls inside (Black and Rogaway 2002, "Ciphers with arbitrary finite
    domains").
    """
    # A network of few bits knows few permutations: small sizes are walked in a larger domain.
    bits = np.ceil(np.log2(np.maximum(sizes, 1 << _LEAST_BITS))).astype(np.uint64)
    bits += (np.uint64(1) << bits) < sizes.astype(np.uint64)  # the logarithm may have been rounded
    low = bits // np.uint64(2)
    high = bits - low
    low_mask, high_mask = (np.uint64(1) << low) - np.uint64(1), (np.uint64(1) << high) - np.uint64(1)
    values = positions.astype(np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():
        at = np.flatnonzero(outside)
        right, left = values[at] & low_mask[at], values[at] >> low[at]
        for number in range(_ROUNDS):
            if number % 2:
                right ^= mixed(left ^ keys[at], number) & low_mask[at]
            else:
                left ^= mixed(right ^ keys[at], number) & high_mask[at]
        values[at] = (left << low[at]) | right
        outside[at] = values[at] >= sizes[at].astype(np.uint64)
    return values.astype(np.int64)


class PairOrder:
    """The pairs of each epoch in their order: a function of seed, epoch and position alone.

    An epoch draws `draws` pairs. Of each group it draws its share, rounded down or up by a seeded hash such that over
    epochs the share is met and the sum is always `draws`. A group's pairs come in shuffled rounds that go on from epoch
    to epoch: no pair comes again before all of its group have come.

    Args:
        sizes_G: Pairs of each group, at least 1.
        shares_G: Of an epoch, of sum 1.
        draws: Pairs of an epoch.
        seed: Of the fit.
    """

    def __init__(self, sizes_G: np.ndarray, shares_G: np.ndarray, draws: int, seed: int) -> None:
        self.sizes_G = np.asarray(sizes_G, np.int64)
        self.draws, self.seed = draws, seed
        self.starts_G = np.concatenate([[0], np.cumsum(self.sizes_G)])[:-1]
        self._edges = np.cumsum(shares_G * draws)
        if np.allclose(shares_G * self.sizes_G.sum(), self.sizes_G, rtol=1e-9, atol=0):
            # Proportional: in whole numbers, so that an epoch of all pairs shows each of them exactly once.
            self._edges = np.cumsum(self.sizes_G) * (draws / int(self.sizes_G.sum()))
        self._edges[-1] = draws
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def reseed(self, seed: int) -> None:
        """Go on with another fit's seed."""
        self.seed, self._known = seed, {}

    def quotas(self, epoch: int) -> np.ndarray:
        """Pairs that an epoch draws of each group, `(G,)` int64: its share rounded down or up, of sum `draws`.

        Source: systematic sampling (Madow and Madow 1944).
        """
        start = float(self._hash(1, epoch)) / 2**64
        return np.diff(np.ceil(self._edges - start), prepend=np.ceil(-start)).astype(np.int64)

    def _hash(self, stream: int, *parts: int) -> np.uint64:
        key = mixed(np.array([self.seed & (2**64 - 1)], np.uint64), stream)
        for part in parts:
            key = mixed(key ^ np.uint64(part), stream)
        return np.uint64(key[0])

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """An epoch's quotas, and how many pairs of each group earlier epochs drew."""
        if epoch not in self._known:
            before = np.zeros(len(self.sizes_G), np.int64)
            for earlier in range(epoch):
                before += self.quotas(earlier)
            self._known = {epoch: (self.quotas(epoch), before)}
        return self._known[epoch]

    def pairs(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """The pairs at some positions of an epoch, as numbers that count the groups' pairs one group after another.

        Args:
            epoch: From 0.
            positions: `(n,)` int64, each below `draws`.
        """
        quotas_G, before_G = self._epoch(epoch)
        count = len(positions)
        slots = permuted(positions, np.full(count, self.draws), np.full(count, self._hash(2, epoch)))
        ends_G = np.cumsum(quotas_G)
        groups = np.searchsorted(ends_G, slots, side="right")
        drawn = slots - (ends_G[groups] - quotas_G[groups]) + before_G[groups]
        sizes = self.sizes_G[groups]
        rounds, inside = np.divmod(drawn, sizes)
        with np.errstate(over="ignore"):
            keys = mixed(groups.astype(np.uint64) ^ self._hash(3), 3) + rounds.astype(np.uint64)
        return self.starts_G[groups] + permuted(inside, sizes, mixed(keys, 4))
