"""Ranking metrics of many weightings of the same cells, from one sort: what makes a bootstrap fast.

A bootstrap draw weights each message by how often it was drawn. The order of the scores is the same in every draw, so
a label is sorted once, and a draw is two running sums down that order: of all weights, and of the positives' alone.
Tied scores are one step of the curve, as in scikit-learn: sums are read at the ends of tied groups only.

How the sums are made decides the speed. The order is cut into pieces of whole tied groups that stay in the cache; a
piece gathers the weights of its cells for all draws of a block at once, as bytes. Sums inside a piece fit 16 bits, so
four draws share one 64-bit addition. What goes from piece to piece, and all that is divided or multiplied, is float64:
nothing is rounded that counting would not round.

N messages, D draws of one block, K known cells of a label, C cells of a piece, P positives among them, G tied groups
with a positive among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tocsin.labels.targets import POSITIVE_FROM
from tocsin.scores.means import ratio

__all__ = ["SharedSort", "weighted_rank_metrics"]

_PIECE = 1024
"""Most cells of a piece: with 64 draws its arrays take about 500 KB, a core's second-level cache."""


class SharedSort:
    """The known cells of one label (or of all labels pooled), sorted once, read under any weights.

    Args:
        targets: (cells,) of 0, 1 and NaN; a soft target is a positive from 0.5 up.
        scores: (cells,) logits or probabilities: only their order counts.
        rows: (cells,) the message number of each cell.
    """

    def __init__(self, targets: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> None:
        known = np.flatnonzero(~np.isnan(targets)) if targets.dtype.kind == "f" else np.arange(len(targets))
        falling = known[np.argsort(scores[known])[::-1]]
        self.rows_K = rows[falling].astype(np.int32)  # half of what an index usually takes
        self.pieces = _pieces(targets[falling] >= POSITIVE_FROM, scores[falling])

    def __call__(self, weights_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (D,) ROC-AUC, average precision, and weight of the positives, for message weights (N, D).

        NaN where undefined. Weights of any type are served; uint8 is the fastest.
        """
        weights_ND = np.ascontiguousarray(weights_ND)
        positive_D, all_D, lost_D, precise_D = np.zeros((4, weights_ND.shape[1]))
        sums, sums_of_positives = _RunningSums(weights_ND), _RunningSums(weights_ND)
        for piece in self.pieces:
            # in range by construction; the usual mode checks that once more and copies the result
            cells_CD = np.take(weights_ND, self.rows_K[piece.start : piece.stop], axis=0, mode="clip")
            total_CD = sums(cells_CD)
            if len(piece.positives_P):
                gain_PD = np.take(cells_CD, piece.positives_P, axis=0)
                found_PD = sums_of_positives(gain_PD)
                if piece.ties is None:
                    gain_GD = gain_PD.astype(np.float64)
                    hits_GD = np.add(found_PD[1:], positive_D)
                    reached_GD = np.add(np.take(total_CD, piece.positives_P + 1, axis=0), all_D)
                else:
                    first_G, end_G, first_positive_G, end_positive_G = piece.ties
                    hits_GD = np.add(np.take(found_PD, end_positive_G, axis=0), positive_D)
                    gain_GD = hits_GD - np.add(np.take(found_PD, first_positive_G, axis=0), positive_D)
                    reached_GD = np.add(np.take(total_CD, end_G, axis=0), all_D)
                    tied_GD = reached_GD - np.add(np.take(total_CD, first_G, axis=0), all_D) - gain_GD
                    lost_D -= (
                        _dot(gain_GD, tied_GD) / 2.0
                    )  # of the negatives it ties with, a positive loses half
                lost_D += _dot(gain_GD, reached_GD) - _dot(gain_GD, hits_GD)
                if not all_D.all():  # where no weight was met so far, the gain is 0 as well
                    np.maximum(reached_GD, 1e-300, out=reached_GD)
                precise_D += _dot(gain_GD, np.divide(hits_GD, reached_GD, out=hits_GD))
                positive_D += found_PD[-1]
            all_D += total_CD[-1]
        negative_D = all_D - positive_D
        auc_D = 1.0 - ratio(lost_D, positive_D * negative_D)
        return auc_D, np.where(negative_D > 0, ratio(precise_D, positive_D), np.nan), positive_D


@dataclass(frozen=True)
class _Piece:
    """Some cells of a falling order, whole tied groups.

    Args:
        start: Its first cell.
        stop: One past its last cell.
        positives_P: Its positives, counted from `start`.
        ties: Of each group with a positive (4, G): its first cell and one past its last, its first positive and one
            past its last, counted in the piece. None when each such group is a single cell.
    """

    start: int
    stop: int
    positives_P: np.ndarray
    ties: np.ndarray | None


def _pieces(positive_K: np.ndarray, scores_K: np.ndarray) -> list[_Piece]:
    """Cut cells in falling order into pieces of at most `_PIECE` cells, or of one group that is longer."""
    cells = len(scores_K)
    ends = (
        np.flatnonzero(np.append(scores_K[1:] != scores_K[:-1], True)) + 1 if cells else np.zeros(0, np.int64)
    )
    starts = np.append(0, ends[:-1]) if cells else ends
    found = []
    group = 0
    while group < len(ends):
        start = int(starts[group])
        after = max(group + 1, int(np.searchsorted(ends, start + _PIECE, side="right")))
        stop = int(ends[after - 1])
        positive_C = positive_K[start:stop]
        positives_P = np.flatnonzero(positive_C).astype(np.int32)
        counted = np.append(0, np.cumsum(positive_C, dtype=np.int32))
        first_G, end_G = (edges[group:after].astype(np.int32) - start for edges in (starts, ends))
        ties = np.stack([first_G, end_G, counted[first_G], counted[end_G]])
        ties = ties[:, ties[3] > ties[2]]
        single = bool((ties[1] - ties[0] == 1).all())
        found.append(_Piece(start, stop, positives_P, None if single else ties))
        group = after
    return found


class _RunningSums:
    """Running sums (C + 1, D) down the cells of a piece, the first of them 0, in memory that is used again.

    Args:
        weights_ND: Their type decides how the sums are kept.
    """

    def __init__(self, weights_ND: np.ndarray) -> None:
        self.draws = weights_ND.shape[1]
        self.small = weights_ND.dtype == np.uint8
        self.lanes = np.zeros((0, 0), np.uint16)
        self.sums = np.zeros((0, 0), np.uint16)

    def __call__(self, cells_CD: np.ndarray) -> np.ndarray:
        """Return the sums; the next call overwrites them."""
        cells = len(cells_CD)
        if not self.small or int(cells_CD.max()) * cells >= 2**16:
            wide = np.zeros((cells + 1, self.draws), np.float64)
            np.add.accumulate(cells_CD, axis=0, dtype=np.float64, out=wide[1:])
            return wide
        if len(self.lanes) < cells:
            width = -(-self.draws // 4) * 4  # four sums of 16 bits in each number of 64
            self.lanes = np.zeros((max(cells, _PIECE), width), np.uint16)
            self.sums = np.zeros((max(cells, _PIECE) + 1, width), np.uint16)
        self.lanes[:cells, : self.draws] = cells_CD
        np.add.accumulate(
            self.lanes[:cells].view(np.uint64), axis=0, out=self.sums[1 : cells + 1].view(np.uint64)
        )
        return self.sums[: cells + 1, : self.draws]


def _dot(a_GD: np.ndarray, b_GD: np.ndarray) -> np.ndarray:
    """Sums (D,) of products, in float64."""
    return np.asarray(np.einsum("gd,gd->d", a_GD, b_GD), dtype=np.float64)


def weighted_rank_metrics(
    targets_N: np.ndarray, scores_N: np.ndarray, weights_ND: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (D,) ROC-AUC and (D,) average precision of one label under D weightings of its messages, from one sort.

    Equal to scikit-learn's with `sample_weight`; NaN where undefined. Null (NaN) targets are left out.
    """
    auc_D, ap_D, _ = SharedSort(targets_N, scores_N, np.arange(len(targets_N)))(np.asarray(weights_ND))
    return auc_D, ap_D
