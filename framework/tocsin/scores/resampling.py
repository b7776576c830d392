"""Many weightings of one ranking: what a bootstrap of ranking metrics needs to be fast.

The scores are sorted once, and every draw reads the same order with its own weights; ties are exact.

N messages, D draws, P distinct scores among the positives of a label, C cuts that these make between its
negatives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tocsin.errors import DataError
from tocsin.labels.targets import POSITIVE_FROM
from tocsin.scores.metrics import ratio

__all__ = ["SharedSort", "group_numbers", "message_weights", "weighted_rank_metrics"]

_BLOCK_CELLS = (
    2**18
)  # weights of one block of draws: 1 MB, which stays in the cache while every label reads it
_POOLED_CELLS = 2**23  # the same for pooled cells, which are L times as many: bounds memory at tens of MB


class SharedSort:
    """The cells of one label (or of all) sorted once, from which any weighting reads ROC-AUC and average
    precision.

    Instead of walking down all cells, it sums the weights of positives by distinct score, and those of
    negatives between the cuts that these scores make: rare labels then cost little more than one pass over
    the weights.
    """

    def __init__(self, targets: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> None:
        """Take (cells,) targets, scores, and the message number of each cell."""
        positive = np.flatnonzero(targets >= POSITIVE_FROM)
        negative = np.flatnonzero(targets < POSITIVE_FROM)
        positive = positive[np.argsort(scores[positive])[::-1]]
        negative = negative[np.argsort(scores[negative])[::-1]]
        values = scores[positive]
        self.starts_P = (
            np.flatnonzero(np.append(True, values[1:] != values[:-1]))
            if len(values)
            else np.empty(0, np.intp)
        )
        rising = scores[negative][::-1]
        distinct = values[self.starts_P]
        above_P = len(negative) - np.searchsorted(rising, distinct, side="right")
        not_below_P = len(negative) - np.searchsorted(rising, distinct, side="left")
        self.cuts_C, places = np.unique(
            np.concatenate([[0, len(negative)], above_P, not_below_P]), return_inverse=True
        )
        self.above_P, self.not_below_P = np.split(places[2:], 2)
        self.positive_rows, self.negative_rows = rows[positive], rows[negative]

    def __call__(self, weights_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (D,) ROC-AUC, average precision, and weight of the positives, for message weights (N, D)."""
        draws = weights_ND.shape[1]
        if not len(self.starts_P):
            return np.full(draws, np.nan), np.full(draws, np.nan), np.zeros(draws)
        gain_PD = _segment_sums(weights_ND, self.positive_rows, self.starts_P)
        found_PD = np.cumsum(gain_PD, axis=0)
        false_CD = np.zeros((len(self.cuts_C), draws))
        if len(self.cuts_C) > 1:
            np.cumsum(
                _segment_sums(weights_ND, self.negative_rows, self.cuts_C[:-1]), axis=0, out=false_CD[1:]
            )
        not_below_PD = false_CD[self.not_below_P]
        positives_D, negatives_D = found_PD[-1], false_CD[-1]
        # weight 0 so far gives 0/0, but then the gain is 0 as well
        precision_PD = found_PD / np.maximum(found_PD + not_below_PD, 1e-300)
        ap_D = ratio(np.einsum("pd,pd->d", gain_PD, precision_PD), positives_D)
        # a positive is worth the negatives below it, and half of those it ties with
        lost_D = np.einsum("pd,pd->d", gain_PD, false_CD[self.above_P] + not_below_PD) / 2.0
        return 1.0 - ratio(lost_D, positives_D * negatives_D), ap_D, positives_D


def _segment_sums(weights_ND: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums (segments, D) float64 of the weights of `rows` between consecutive starts."""
    gathered = np.take(weights_ND, rows, axis=0)
    if len(starts) == len(rows):  # no ties: every segment is one row
        return gathered.astype(np.float64)
    return np.add.reduceat(gathered, starts, axis=0).astype(np.float64)


def weighted_rank_metrics(
    targets_N: np.ndarray, scores_N: np.ndarray, weights_ND: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (D,) ROC-AUC and (D,) average precision of one label under D weightings of its messages, from
    one sort.

    Equal to scikit-learn's with `sample_weight`; NaN where undefined. Null (NaN) targets are left out.
    """
    auc_D, ap_D, _ = SharedSort(targets_N, scores_N, np.arange(len(targets_N)))(np.asarray(weights_ND))
    return auc_D, ap_D


def message_weights(
    n: int, draws: int, seed: int, *, group_N: np.ndarray | None = None, cells: int | None = None
) -> Iterator[np.ndarray]:
    """Yield blocks (N, D) of how often each message was drawn, `draws` columns in all.

    The draws depend on the seed alone, not on the size of a block.

    Args:
        n: Messages.
        draws: Resamples in all.
        seed: Of the resampling.
        group_N: (N,) group numbers from 0 without gaps; groups are drawn whole. None draws single messages.
        cells: The most cells that one metric gathers (N, or N x L for pooled metrics), which bounds the
            block.
    """
    cells = n if cells is None else cells
    size = n if group_N is None else int(group_N.max()) + 1
    block = max(1, min(draws, max(8, _BLOCK_CELLS // n), _POOLED_CELLS // cells))
    dtype = np.float32 if cells < 2**22 else np.float64  # float32 counts exactly up to 2**24
    generator = np.random.default_rng(seed)
    for first in range(0, draws, block):
        count = min(block, draws - first)
        drawn = generator.integers(0, size, size=(count, size)) + np.arange(count)[:, None] * size
        times_DG = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        weights = np.ascontiguousarray(times_DG.T, dtype=dtype)
        yield weights if group_N is None else weights[group_N]


def group_numbers(values: np.ndarray, n: int) -> np.ndarray:
    """Return (N,) group numbers from 0 for values of any kind; every null is a group of its own.

    Raises:
        DataError: When there are not n values.
    """
    if len(values) != n:
        raise DataError(f"groups has {len(values):,} values; one a message is wanted, {n:,}.")
    encoded = pa.array(values, from_pandas=True).dictionary_encode()
    unknown = encoded.is_null().to_numpy(zero_copy_only=False)
    numbers = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    numbers[unknown] = len(encoded.dictionary) + np.arange(unknown.sum())
    return numbers
