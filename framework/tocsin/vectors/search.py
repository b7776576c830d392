"""Exact nearest neighbours by cosine, in both directions at once, block by block.

One product of a block of sources with a block of targets serves both directions: the largest of each row and of each
column is kept, the product itself is overwritten by the next. Memory beside the vectors is about a hundred bytes a
vector, a block's, and both sets at length one where they are small; never N x M.

N sources, M targets, D width, B rows of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tocsin.errors import ConfigError, DataError

__all__ = ["BLOCK", "Nearest", "lengths", "nearest"]

BLOCK = 2048
"""Rows and columns of a block: its product (16 MB) stays in the cache while its maxima are taken."""

_KEPT_BYTES = (
    2**28
)  # a set that takes no more at length one is scaled once, not once a block of the other side
_STRIPE = (
    32  # rows whose largest is taken first: numpy's own arg-max over columns is some twenty times slower
)


@dataclass(frozen=True, eq=False)
class Nearest:
    """For every vector of two sets the nearest of the other set.

    Args:
        target_N: Row of the target nearest to each source, int64. Of several at the same cosine the first.
        target_cosine_N: Its cosine, float32.
        source_M: Row of the source nearest to each target, int64; ties likewise.
        source_cosine_M: Its cosine, float32.
    """

    target_N: np.ndarray
    target_cosine_N: np.ndarray
    source_M: np.ndarray
    source_cosine_M: np.ndarray


def nearest(
    source_ND: np.ndarray,
    target_MD: np.ndarray,
    *,
    block: int = BLOCK,
    advance: Callable[[int], None] = lambda done: None,
) -> Nearest:
    """Find, by cosine, the nearest target of each source and the nearest source of each target, exactly.

    Cosines are computed in float32, products summed as the machine's matrix product does: of two different vectors that
    are equally near but for rounding (about 1e-7) either may be found. Vectors that are equal bit by bit once they have
    length one are one vector to the search, so that for them "the first" holds whatever the block.

    Args:
        source_ND: Floating-point vectors of any length, also memory-mapped and float16; they are not copied as a whole.
        target_MD: The same for targets.
        block: B, rows of either side multiplied at once. The product takes 4 B² bytes.
        advance: Called with the number of sources done since the last call.

    Raises:
        DataError: Shapes that do not fit, no vectors, or one that is zero, infinite or NaN: its side and row are named.
        ConfigError: `block` below 1.
    """
    if block < 1:
        raise ConfigError(f"block is {block}; at least 1 row is wanted ({BLOCK} is the default).")
    source = _Rows(source_ND, "source", block)
    target = _Rows(target_MD, "target", block)
    if source.width != target.width:
        raise DataError(
            f"The source vectors are {source.width} wide and the target vectors {target.width}; a cosine needs "
            "both from one model."
        )
    target_u, target_cosine_u = np.zeros(len(source), np.int64), np.full(len(source), -np.inf, np.float32)
    source_v, source_cosine_v = np.zeros(len(target), np.int64), np.full(len(target), -np.inf, np.float32)
    side = -(-min(block, len(source)) // _STRIPE) * _STRIPE
    buffer = np.empty(side * min(block, len(target)), np.float32)
    for start, rows_BD in source.blocks():
        count = len(rows_BD)
        padded = -(-count // _STRIPE) * _STRIPE
        ours = slice(start, start + count)
        for other, columns_BD in target.blocks():
            product_BB = buffer[: padded * len(columns_BD)].reshape(padded, len(columns_BD))
            np.matmul(rows_BD, columns_BD.T, out=product_BB[:count])
            product_BB[count:] = -np.inf
            _raise_rows(product_BB[:count], other, target_u[ours], target_cosine_u[ours])
            theirs = slice(other, other + len(columns_BD))
            _raise_columns(product_BB, start, source_v[theirs], source_cosine_v[theirs])
        advance(source.copies_within(ours))
    return Nearest(
        target.first_u[target_u][source.place_N],
        target_cosine_u[source.place_N],
        source.first_u[source_v][target.place_N],
        source_cosine_v[target.place_N],
    )


def lengths(vectors_ND: np.ndarray, name: str, block: int = BLOCK) -> np.ndarray:
    """Return Euclidean lengths (N,) float64 of vectors.

    Args:
        vectors_ND: Floating-point.
        name: What they are called in an error ("source").
        block: Rows looked at together.

    Raises:
        DataError: No matrix of floating-point numbers, no rows, or a vector that is zero, infinite or NaN.
    """
    vectors_ND = np.asanyarray(vectors_ND)
    if vectors_ND.ndim != 2 or 0 in vectors_ND.shape or not np.issubdtype(vectors_ND.dtype, np.floating):
        raise DataError(
            f"The {name} vectors are an array of {vectors_ND.dtype} of shape {vectors_ND.shape}; floating-point "
            "numbers of shape (N, D) are wanted, at least one row."
        )
    lengths_N = np.empty(len(vectors_ND))
    for start in range(0, len(vectors_ND), block):
        rows = np.asarray(vectors_ND[start : start + block], np.float64)
        lengths_N[start : start + block] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    wrong = np.flatnonzero(~np.isfinite(lengths_N) | (lengths_N == 0))
    if len(wrong):
        row = int(wrong[0])
        what = "zero" if lengths_N[row] == 0 else "infinite or NaN"
        raise DataError(
            f"{len(wrong):,} of {len(lengths_N):,} {name} vectors have no direction and so no cosine: the one of row "
            f"{row + 1} is {what}. Is its text empty, or did the model diverge?",
            row=row + 1,
        )
    return lengths_N


class _Rows:
    """The distinct rows of a set of vectors, given out in blocks at length one, in the order of their first copies."""

    def __init__(self, vectors_ND: np.ndarray, name: str, block: int) -> None:
        self.scale_N = 1.0 / lengths(vectors_ND, name, block)
        self.vectors_ND = np.asanyarray(vectors_ND)
        self.width = int(self.vectors_ND.shape[1])
        self.block = block
        self.first_u, self.place_N = self._distinct()
        self.copies_u = np.bincount(self.place_N, minlength=len(self.first_u))
        self._kept: list[tuple[int, np.ndarray]] = []

    def __len__(self) -> int:
        return len(self.first_u)

    def copies_within(self, distinct: slice) -> int:
        """How many of the given vectors these distinct ones stand for."""
        return int(self.copies_u[distinct].sum())

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        if 4 * len(self) * self.width > _KEPT_BYTES:
            return self._fresh_blocks()
        if not self._kept:
            self._kept = list(self._fresh_blocks())
        return iter(self._kept)

    def _fresh_blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        whole = len(self.first_u) == len(self.vectors_ND)
        for start in range(0, len(self), self.block):
            stop = min(start + self.block, len(self))
            yield start, self._unit(slice(start, stop) if whole else self.first_u[start:stop])

    def _unit(self, rows: slice | np.ndarray) -> np.ndarray:
        # Scaled in float64, so that a vector and the same one stored longer or shorter differ by one rounding alone.
        # Plus 0: a negative zero is no other vector.
        wide = np.asarray(self.vectors_ND[rows], np.float64) * self.scale_N[rows, None]
        return np.ascontiguousarray(wide + 0.0, np.float32)

    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row of each distinct vector, ascending, and for every row which of these it equals."""
        n = len(self.vectors_ND)
        multipliers = np.random.default_rng(0).integers(0, 2**63, self.width, np.uint64) * 2 + 1
        hashes_N = np.empty(n, np.uint64)
        for start in range(0, n, self.block):
            bits = self._unit(slice(start, start + self.block)).view(np.uint32).astype(np.uint64)
            # A second mixing, for a plain sum of products lets equal changes in two places cancel more easily.
            bits ^= bits << np.uint64(29)
            hashes_N[start : start + self.block] = (bits * multipliers).sum(axis=1, dtype=np.uint64)
        _, first, place_N = np.unique(hashes_N, return_index=True, return_inverse=True)
        alike = np.flatnonzero(first[place_N] != np.arange(n))
        if not len(alike):
            return np.arange(n), np.arange(n)
        owner_N = first[place_N]
        for start in range(0, len(alike), self.block):
            rows = alike[start : start + self.block]
            # Two vectors of one hash stay two; to tell further copies of the second apart is not worth its cost.
            different = (self._unit(rows) != self._unit(owner_N[rows])).any(axis=1)
            owner_N[rows[different]] = rows[different]
        first_u, place_N = np.unique(owner_N, return_inverse=True)
        return first_u, place_N


def _raise_rows(product_BB: np.ndarray, other: int, found_B: np.ndarray, cosine_B: np.ndarray) -> None:
    """Note, in place, where a row's largest beats what was found in earlier columns."""
    column_B = product_BB.argmax(axis=1)
    value_B = product_BB[np.arange(len(product_BB)), column_B]
    better = value_B > cosine_B
    found_B[better] = column_B[better] + other
    cosine_B[better] = value_B[better]


def _raise_columns(product_BB: np.ndarray, start: int, found_B: np.ndarray, cosine_B: np.ndarray) -> None:
    """Note, in place, where a column's largest beats what was found in earlier rows."""
    stripes_SB = product_BB.reshape(-1, _STRIPE, product_BB.shape[1]).max(axis=1)
    value_B = stripes_SB.max(axis=0)
    better = np.flatnonzero(value_B > cosine_B)
    stripe = stripes_SB[:, better].argmax(axis=0)
    rows = stripe * _STRIPE + np.arange(_STRIPE)[:, None]
    found_B[better] = stripe * _STRIPE + product_BB[rows, better].argmax(axis=0) + start
    cosine_B[better] = value_B[better]
