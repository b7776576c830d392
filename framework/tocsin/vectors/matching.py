"""Sentence matching: does a sentence's vector find its translation among all others, and the other way round?

The accuracy of Artetxe and Schwenk (2019, "Massively multilingual sentence embeddings", the Tatoeba sets) and of
Reimers and Gurevych (2020, arXiv 2004.09813), which sentence-transformers' `TranslationEvaluator` computes: cosine
arg-max over the other side of the same language's pairs. It depends on the pool, so languages with other pools (of
another size, or with other English sentences) do not compare.

N pairs, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from tocsin.errors import ConfigError, DataError, did_you_mean
from tocsin.vectors.intervals import (
    DRAWS,
    LEVEL,
    Estimate,
    bootstrap_means,
    check_draws,
    estimate,
    wilson,
)
from tocsin.vectors.search import BLOCK, nearest

__all__ = ["HITS", "Accuracy", "Hit", "Matching", "accuracy", "match"]

Hit = Literal["row", "text", "pair"]
HITS: tuple[str, ...] = get_args(Hit)
"""What may count as found; see `match`."""


@dataclass(frozen=True, eq=False)
class Matching:
    """What each of N pairs found.

    Args:
        target_N: Row of the target that each source found, int64.
        source_N: Row of the source that each target found, int64.
        forward_N: Whether source i found a right target, bool.
        backward_N: Whether target i found a right source, bool.
    """

    target_N: np.ndarray
    source_N: np.ndarray
    forward_N: np.ndarray
    backward_N: np.ndarray

    def __len__(self) -> int:
        """N."""
        return len(self.forward_N)

    @cached_property
    def score_N(self) -> np.ndarray:
        """What each pair adds to the mean of both directions: 0, .5 or 1, float64."""
        return (self.forward_N.astype(np.float64) + self.backward_N) / 2

    @property
    def forward(self) -> float:
        """Share of sources that found their target."""
        return float(self.forward_N.mean())

    @property
    def backward(self) -> float:
        """Share of targets that found their source."""
        return float(self.backward_N.mean())

    @property
    def mean(self) -> float:
        """The mean of both directions."""
        return float(self.score_N.mean())


def match(
    source_ND: np.ndarray,
    target_ND: np.ndarray,
    *,
    hit: Hit = "row",
    source_texts: Sequence[str] | None = None,
    target_texts: Sequence[str] | None = None,
    block: int = BLOCK,
    advance: Callable[[int], None] = lambda done: None,
) -> Matching:
    """Match the sentences of one language with their translations; row i of either side belongs to row i of the other.

    Of several rows at the same cosine the first is found, as numpy's arg-max has it: an encoder that gives every text
    one vector scores 1/N.

    Args:
        source_ND: Vectors of the sources, English by custom.
        target_ND: Vectors of their translations.
        hit: What counts as found. row: the right row and no other (Artetxe and Schwenk 2019), so that a sentence which
            stands in the pool twice costs a hit. text: a row with the text of the right one, as `TranslationEvaluator`
            counts. pair: also a row whose sentence on this side is equal to the one that was searched for, for its
            translation is a translation of this one too.
        source_texts: N texts; needed unless `hit` is row.
        target_texts: N texts; likewise.
        block: Rows multiplied at once; see `nearest`, as for the other errors.
        advance: Called with the number of sources done since the last call.

    Raises:
        DataError: Other numbers of sources, targets or texts, no texts where `hit` needs them, or a vector without a
            direction.
        ConfigError: An unknown `hit`.
    """
    n = len(source_ND)
    if len(target_ND) != n:
        raise DataError(
            f"{n:,} source vectors and {len(target_ND):,} target vectors; a target for every source is wanted, in the "
            "same order."
        )
    if hit not in HITS:
        raise ConfigError(f"hit is {hit!r}.{did_you_mean(hit, list(HITS))} Known: {', '.join(HITS)}.")
    numbers = {}
    for name, texts in (("source", source_texts), ("target", target_texts)):
        if hit == "row":
            continue
        if texts is None or len(texts) != n:
            given = "No" if texts is None else f"{len(texts):,}"
            raise DataError(f"{given} {name} texts for {n:,} pairs; with hit {hit} one a pair is wanted.")
        numbers[name] = _numbers(texts)
    found = nearest(source_ND, target_ND, block=block, advance=advance)
    forward_N, backward_N = found.target_N == np.arange(n), found.source_M == np.arange(n)
    for name, number_N in numbers.items():
        if hit == "pair" or name == "target":
            forward_N = forward_N | (number_N[found.target_N] == number_N)
        if hit == "pair" or name == "source":
            backward_N = backward_N | (number_N[found.source_M] == number_N)
    return Matching(found.target_N, found.source_M, forward_N, backward_N)


def _numbers(texts: Sequence[str]) -> np.ndarray:
    """Return (N,) numbers, equal where texts are."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)


@dataclass(frozen=True)
class Accuracy:
    """Matching accuracy of one language, with intervals.

    Args:
        pairs: N.
        forward: From source to target; Wilson's interval.
        backward: From target to source; Wilson's interval.
        mean: Of both directions. They share their pairs, so that the interval is a bootstrap's over pairs.
    """

    pairs: int
    forward: Estimate
    backward: Estimate
    mean: Estimate


def accuracy(
    matching: Matching,
    draws: int = DRAWS,
    generator: np.random.Generator | None = None,
    level: float = LEVEL,
) -> Accuracy:
    """Return the accuracy of one language in both directions, and their mean.

    Where every pair is a hit both ways, or none is, all draws are alike and would claim certainty: the interval of the
    mean is then Wilson's for N pairs.

    Raises:
        ConfigError: Fewer than 1 draw, or a level that is no share.
    """
    check_draws(draws, level)
    n = len(matching)
    forward, backward = (
        wilson(int(hits.sum()), n, level) for hits in (matching.forward_N, matching.backward_N)
    )
    if matching.mean in (0.0, 1.0):
        mean = wilson(round(n * matching.mean), n, level)
    else:
        mean = estimate(matching.mean, bootstrap_means(matching.score_N, draws, generator), level)
    return Accuracy(n, forward, backward, mean)
