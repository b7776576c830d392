"""How sure a mean over pairs is. N pairs, K draws.

A bootstrap draws N pairs with replacement (Efron and Tibshirani 1993, chapter 13); the interval holds the middle of the
draws. Where a mean takes few values (a share of hits), the number of times each value is drawn is itself drawn, from
the multinomial distribution that the bootstrap has: the same draws in law at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any
from zlib import crc32

import numpy as np

from tocsin.errors import ConfigError, DataError

__all__ = [
    "DRAWS",
    "LEVEL",
    "SEED",
    "Difference",
    "Estimate",
    "bootstrap_means",
    "check_draws",
    "difference",
    "estimate",
    "generator_for",
    "wilson",
]

DRAWS = 1000
SEED = 42
LEVEL = 0.95

_FEW_VALUES = 16
_BLOCK_CELLS = 2**20


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    point: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """A figure of the first model minus that of the second, over the same pairs and draws."""

    point: float
    low: float
    high: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        """Return the three numbers by name, and whether the interval leaves 0 out."""
        return asdict(self) | {"beyond_chance": self.beyond_chance}


def wilson(hits: int, n: int, level: float = LEVEL) -> Estimate:
    """Return a share with Wilson's score interval (Wilson 1927, JASA 22), which keeps its width where all are hits.

    Raises:
        DataError: `n` below 1, or `hits` not between 0 and `n`.
    """
    if n < 1 or not 0 <= hits <= n:
        raise DataError(f"{hits} hits of {n} pairs; at least one pair, and hits among them, are wanted.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Where all or none are hits the bound is 1 or 0 exactly; rounding would leave it beside.
    low = 0.0 if hits == 0 else float(middle - half)
    high = 1.0 if hits == n else float(middle + half)
    return Estimate(share, low, high)


def check_draws(draws: int, level: float = LEVEL) -> None:
    """Refuse fewer than 1 draw, and a level that is no share; ConfigError."""
    if draws < 1:
        raise ConfigError(f"draws is {draws}; at least 1 is wanted ({DRAWS} for 95% intervals).")
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; a share between 0 and 1 is wanted, such as 0.95.")


def generator_for(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one language: what else is looked at does not change its draws."""
    return np.random.default_rng([seed, crc32(name.encode())])


def bootstrap_means(
    values_N: np.ndarray, draws: int = DRAWS, generator: np.random.Generator | None = None
) -> np.ndarray:
    """Return (K,) means of N values drawn with replacement.

    Args:
        values_N: One number a pair.
        draws: K.
        generator: Of the draws; None for one of the default seed.

    Raises:
        DataError: No values, or one that is not finite.
        ConfigError: Fewer than 1 draw.
    """
    check_draws(draws)
    values_N = np.asarray(values_N, np.float64)
    if values_N.ndim != 1 or not len(values_N) or not np.isfinite(values_N).all():
        raise DataError(
            f"A bootstrap needs finite numbers, one a pair, at least one; given are {values_N.shape} of which "
            f"{int(np.isfinite(values_N).sum())} are finite."
        )
    generator = np.random.default_rng(SEED) if generator is None else generator
    n = len(values_N)
    values, counts = np.unique(values_N, return_counts=True)
    if len(values) <= _FEW_VALUES:
        return generator.multinomial(n, counts / n, size=draws) @ values / n
    means = np.empty(draws)
    block = max(1, _BLOCK_CELLS // n)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        means[start : start + count] = values_N[generator.integers(0, n, size=(count, n))].mean(axis=1)
    return means


def estimate(point: float, draws_K: np.ndarray, level: float = LEVEL) -> Estimate:
    """Return a figure with the middle `level` of its draws."""
    return Estimate(point, *_middle(draws_K, level))


def difference(point: float, draws_K: np.ndarray, level: float = LEVEL) -> Difference:
    """Return a difference with the middle `level` of its draws."""
    return Difference(point, *_middle(draws_K, level))


def _middle(draws_K: np.ndarray | Sequence[float], level: float) -> tuple[float, float]:
    low, high = np.quantile(draws_K, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
