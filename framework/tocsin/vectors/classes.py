"""Do vectors of one class lie together? The "sentence encoding" score and what has to stand beside it.

Of unit vectors, the mean cosine within class k is d_k, and the score is D = sum of w_k d_k with w_k proportional to
1/n_k and summing to 1, n_k the class's items (arXiv 2403.16614, section on sentence encoding). The paper does not say
whether an item's cosine with itself counts, so both are given. An encoder that gives every text one vector scores
D = 1: read it beside the cosine between classes, the silhouette, and D after the mean vector was taken away.

Sums of vectors give every figure, without a matrix of all pairs. N items, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tocsin.errors import DataError
from tocsin.vectors.search import lengths

__all__ = ["ClassSeparation", "class_separation"]


@dataclass(frozen=True)
class ClassSeparation:
    """How well vectors tell classes apart.

    Args:
        items: N.
        classes: Class -> number of items, most frequent first.
        within_with_self: D, each item's cosine with itself (1) among its class's.
        within: D without these; NaN where no class has two items. A class of one item is left out.
        between: Mean cosine of two items of different classes.
        within_centred: D without self-pairs after the mean of the unit vectors is taken from each and they have length
            one again; NaN where nothing is left of one.
        silhouette: Mean silhouette (Rousseeuw 1987) with 1 - cosine as the distance; an item alone in its class
            has 0.
    """

    items: int
    classes: dict[str, int]
    within_with_self: float
    within: float
    between: float
    within_centred: float
    silhouette: float


def class_separation(vectors_ND: np.ndarray, classes: Sequence[str]) -> ClassSeparation:
    """Return the within-class and between-class figures of vectors.

    Args:
        vectors_ND: Floating-point, of any length.
        classes: N names, one an item.

    Raises:
        DataError: Other numbers of vectors and names, fewer than two classes, or a vector that is zero, infinite or
            NaN.
    """
    lengths_N = lengths(vectors_ND, "item")
    if len(classes) != len(lengths_N):
        raise DataError(
            f"{len(lengths_N):,} vectors and {len(classes):,} classes; a class for each is wanted."
        )
    names, number_N, counts_C = np.unique(
        np.asarray(classes, dtype=str), return_inverse=True, return_counts=True
    )
    if len(names) < 2:
        raise DataError(f"All items are of class {str(names[0])!r}; at least two classes are wanted.")
    unit_ND = np.asarray(vectors_ND, np.float64) / lengths_N[:, None]
    sums_CD = _class_sums(unit_ND, number_N, len(names))
    within_C = np.einsum("cd,cd->c", sums_CD, sums_CD)
    total_D = sums_CD.sum(axis=0)
    other_pairs = len(unit_ND) ** 2 - int((counts_C**2).sum())
    rarest_last = np.argsort(-counts_C, kind="stable")
    return ClassSeparation(
        items=len(unit_ND),
        classes={str(names[i]): int(counts_C[i]) for i in rarest_last},
        within_with_self=_weighted(within_C / counts_C**2, counts_C),
        within=_without_self(within_C, counts_C),
        between=float((total_D @ total_D - within_C.sum()) / other_pairs),
        within_centred=_centred(unit_ND, number_N, counts_C),
        silhouette=_silhouette(unit_ND, number_N, counts_C, sums_CD),
    )


def _class_sums(unit_ND: np.ndarray, number_N: np.ndarray, classes: int) -> np.ndarray:
    sums_CD = np.zeros((classes, unit_ND.shape[1]))
    np.add.at(sums_CD, number_N, unit_ND)
    return sums_CD


def _weighted(values_C: np.ndarray, counts_C: np.ndarray) -> float:
    return float((values_C / counts_C).sum() / (1 / counts_C).sum())


def _without_self(within_C: np.ndarray, counts_C: np.ndarray) -> float:
    several = counts_C > 1
    if not several.any():
        return float("nan")
    counts = counts_C[several]
    return _weighted((within_C[several] - counts) / (counts * (counts - 1)), counts)


def _centred(unit_ND: np.ndarray, number_N: np.ndarray, counts_C: np.ndarray) -> float:
    apart_ND = unit_ND - unit_ND.mean(axis=0)
    left_N = np.sqrt(np.einsum("nd,nd->n", apart_ND, apart_ND))
    if (left_N < 1e-12).any():  # rounding alone is left: it has no direction
        return float("nan")
    sums_CD = _class_sums(apart_ND / left_N[:, None], number_N, len(counts_C))
    return _without_self(np.einsum("cd,cd->c", sums_CD, sums_CD), counts_C)


def _silhouette(
    unit_ND: np.ndarray, number_N: np.ndarray, counts_C: np.ndarray, sums_CD: np.ndarray
) -> float:
    distance_NC = 1.0 - unit_ND @ (sums_CD / counts_C[:, None]).T
    rows = np.arange(len(unit_ND))
    own_count_N = counts_C[number_N]
    # The distance of an item to itself is 0 and does not count among its class's.
    own_N = distance_NC[rows, number_N] * own_count_N / np.maximum(own_count_N - 1, 1)
    distance_NC[rows, number_N] = np.inf
    other_N = distance_NC.min(axis=1)
    larger_N = np.maximum(own_N, other_N)
    # Equal vectors everywhere: no distance on either side, neither near nor far.
    known = (own_count_N > 1) & (larger_N > 1e-12)
    return float(np.where(known, (other_N - own_N) / np.where(known, larger_N, 1.0), 0.0).mean())
