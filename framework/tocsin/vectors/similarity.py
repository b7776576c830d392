"""Does the cosine of two sentences rank pairs as people do? And how far is a student's vector from its teacher's?

N pairs, D width, K draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tocsin.errors import DataError
from tocsin.vectors.intervals import (
    DRAWS,
    LEVEL,
    SEED,
    Estimate,
    check_draws,
    estimate,
)
from tocsin.vectors.search import lengths

__all__ = [
    "average_ranks",
    "centred",
    "cosines",
    "draw_correlations",
    "rank_correlation",
    "spearman",
    "squared_errors",
]

_BLOCK_CELLS = 2**20


def cosines(first_ND: np.ndarray, second_ND: np.ndarray) -> np.ndarray:
    """Return (N,) float64 cosines of row i with row i; two equal rows have exactly 1.

    Raises:
        DataError: Shapes that differ, no rows, or a vector that is zero, infinite or NaN: its side and row are named.
    """
    first_ND, second_ND = np.asanyarray(first_ND), np.asanyarray(second_ND)
    lengths(first_ND, "first")
    lengths(second_ND, "second")
    if first_ND.shape != second_ND.shape:
        raise DataError(
            f"The first vectors have shape {first_ND.shape}, the second {second_ND.shape}; row by row a cosine needs "
            "equal shapes."
        )
    wide_a, wide_b = first_ND.astype(np.float64), second_ND.astype(np.float64)
    products_N, a_N, b_N = (
        np.einsum("nd,nd->n", one, other)
        for one, other in ((wide_a, wide_b), (wide_a, wide_a), (wide_b, wide_b))
    )
    # One root of the product, not two: for equal rows that is exactly their square, and they tie as they should.
    return products_N / np.sqrt(a_N * b_N)


def squared_errors(student_ND: np.ndarray, teacher_ND: np.ndarray) -> np.ndarray:
    """Return (N,) float64 squared distances of row i from row i, summed over the width.

    The mean over pairs is the loss of Reimers and Gurevych (2020, arXiv 2004.09813); divided by D it is
    sentence-transformers' `MSELoss`, which averages over the width.

    Raises:
        DataError: Shapes that differ, no rows, or a value that is infinite or NaN.
    """
    student_ND, teacher_ND = np.asanyarray(student_ND), np.asanyarray(teacher_ND)
    if student_ND.ndim != 2 or student_ND.shape != teacher_ND.shape or 0 in student_ND.shape:
        raise DataError(
            f"The student's vectors have shape {student_ND.shape}, the teacher's {teacher_ND.shape}; a squared error "
            "needs equal shapes (N, D). A student of another width is measured behind its projection."
        )
    errors_N = np.empty(len(student_ND))
    block = max(1, _BLOCK_CELLS // student_ND.shape[1])
    for start in range(0, len(student_ND), block):
        rows = slice(start, start + block)
        apart = student_ND[rows].astype(np.float64) - teacher_ND[rows]
        errors_N[rows] = np.einsum("nd,nd->n", apart, apart)
    wrong = np.flatnonzero(~np.isfinite(errors_N))
    if len(wrong):
        raise DataError(
            f"{len(wrong):,} of {len(errors_N):,} pairs of vectors hold something infinite or NaN, the first in row "
            f"{int(wrong[0]) + 1}. Did the student diverge?",
            row=int(wrong[0]) + 1,
        )
    return errors_N


def average_ranks(values_N: np.ndarray) -> np.ndarray:
    """Return (N,) float64 ranks from 1; equal values share the mean of their ranks.

    Raises:
        DataError: No values, or one that is infinite or NaN.
    """
    sorted_values = _Sorted(values_N, "values")
    return sorted_values.ranks(np.ones((len(sorted_values), 1)))[:, 0]


def spearman(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Return Spearman's rank correlation with average ranks for ties, as `scipy.stats.spearmanr` does.

    Raises:
        DataError: Other than two equally long rows of finite numbers, fewer than two pairs, or a side whose values are
            all equal: the correlation is then undefined.
    """
    one, other = _pair(first_N, second_N)
    return float(_correlations(one, other, np.ones((len(one), 1)))[0])


def rank_correlation(
    cosine_N: np.ndarray,
    score_N: np.ndarray,
    draws: int = DRAWS,
    generator: np.random.Generator | None = None,
    level: float = LEVEL,
) -> Estimate:
    """Return Spearman's correlation of cosines with people's scores, with a bootstrap interval over pairs.

    Raises:
        DataError: As `spearman`.
        ConfigError: Fewer than 1 draw, or a level that is no share.
    """
    check_draws(draws, level)
    point = spearman(cosine_N, score_N)
    drawn_K = draw_correlations([cosine_N], score_N, draws, generator)[0]
    return estimate(point, centred(drawn_K, point), level)


def draw_correlations(
    cosines_by_model: Sequence[np.ndarray],
    score_N: np.ndarray,
    draws: int = DRAWS,
    generator: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """Return for each model (K,) Spearman correlations of pairs drawn with replacement, the same pairs for all models.

    A draw weights each pair by how often it was drawn, and ranks follow from one sort and these weights, exactly. NaN
    marks a draw in which one side's values are all equal.

    Args:
        cosines_by_model: (N,) of each model.
        score_N: People's scores.
        draws: K.
        generator: Of the draws; None for one of the default seed.

    Raises:
        DataError: As `spearman`.
        ConfigError: Fewer than 1 draw.
    """
    check_draws(draws)
    generator = np.random.default_rng(SEED) if generator is None else generator
    pairs = [_pair(cosine_N, score_N) for cosine_N in cosines_by_model]
    n = len(score_N)
    found = [np.empty(draws) for _ in pairs]
    block = max(1, _BLOCK_CELLS // n)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        drawn = generator.integers(0, n, size=(count, n)) + np.arange(count)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        weights_NK = np.ascontiguousarray(times.T, np.float64)
        for (one, other), correlations in zip(pairs, found, strict=True):
            correlations[start : start + count] = _correlations(one, other, weights_NK)
    return found


def centred(drawn_K: np.ndarray, point: float) -> np.ndarray:
    """Return the defined draws, moved so that their mean is the figure itself.

    A pair that is drawn twice ties with itself on both sides, which lifts a correlation a little in every draw: the
    draws tell the spread, not the level.
    """
    defined = drawn_K[np.isfinite(drawn_K)]
    return np.clip(defined + (point - defined.mean()), -1.0, 1.0)


class _Sorted:
    """Values sorted once, from which the average ranks under any weights follow."""

    def __init__(self, values_N: np.ndarray, name: str) -> None:
        values_N = np.asarray(values_N, np.float64)
        if values_N.ndim != 1 or not len(values_N) or not np.isfinite(values_N).all():
            wrong = np.flatnonzero(~np.isfinite(values_N.ravel()))
            first = f"; row {int(wrong[0]) + 1} is not" if len(wrong) else ""
            raise DataError(
                f"The {name} have shape {values_N.shape}; finite numbers, one a pair, are wanted{first}."
            )
        self.order_N = np.argsort(values_N, kind="stable")
        rising = values_N[self.order_N]
        self.starts_G = np.flatnonzero(np.append(True, rising[1:] != rising[:-1]))
        self.group_N = np.empty(len(values_N), np.intp)
        self.group_N[self.order_N] = np.repeat(
            np.arange(len(self.starts_G)), np.diff(np.append(self.starts_G, len(values_N)))
        )

    def __len__(self) -> int:
        return len(self.order_N)

    def ranks(self, weights_NK: np.ndarray) -> np.ndarray:
        """Return (N, K) ranks from 1 where each value stands as often as its weight says."""
        weight_GK = np.add.reduceat(weights_NK[self.order_N], self.starts_G, axis=0)
        rank_GK = np.cumsum(weight_GK, axis=0) - (weight_GK - 1) / 2
        return rank_GK[self.group_N]


def _pair(first_N: np.ndarray, second_N: np.ndarray) -> tuple[_Sorted, _Sorted]:
    one, other = _Sorted(first_N, "cosines"), _Sorted(second_N, "scores")
    if len(one) != len(other):
        raise DataError(f"{len(one):,} cosines and {len(other):,} scores; one of each a pair is wanted.")
    if len(one) < 2:
        raise DataError("There is one pair alone; a rank correlation needs at least two.")
    for name, side in (("cosines", one), ("scores", other)):
        if len(side.starts_G) == 1:
            raise DataError(
                f"All {len(side):,} {name} are equal: there is nothing to rank, and the correlation is undefined."
            )
    return one, other


def _correlations(one: _Sorted, other: _Sorted, weights_NK: np.ndarray) -> np.ndarray:
    """Return (K,) Pearson correlations of ranks under weights; NaN where a side has one value."""
    middle_K = (weights_NK.sum(axis=0) + 1) / 2
    a_NK, b_NK = one.ranks(weights_NK) - middle_K, other.ranks(weights_NK) - middle_K
    common_K, a_K, b_K = (
        np.einsum("nk,nk,nk->k", weights_NK, x, y) for x, y in ((a_NK, b_NK), (a_NK, a_NK), (b_NK, b_NK))
    )
    defined = (a_K > 0) & (b_K > 0)
    return np.where(defined, common_K / np.sqrt(np.where(defined, a_K * b_K, 1.0)), np.nan)
