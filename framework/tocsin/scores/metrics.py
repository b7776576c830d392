"""Metrics of a scores table, as pure functions. N messages, L labels.

A null (NaN) target is unknown: its cell is left out of everything. A soft target counts as a positive from 0.5 up
(`tocsin.labels.targets`), as a probability counts as on from its threshold; how near the probabilities themselves
come to soft targets is what the loss tells. A metric that has no meaning on the cells
at hand is NaN and is left out of the macro mean, which therefore says "over k of n labels":

    roc_auc, average_precision, f1, recall    undefined without a positive, and without a negative
    precision           likewise, and where nothing was decided on
    brier, log_loss     undefined without a known target (`tocsin.scores.probabilities` defines them)
    calibration_error   undefined with fewer than two known targets (likewise)

Without a negative nothing tells a model from a constant: "always on" would have an F1 and an average precision of 1.
Such a label comes mostly of files that write 1 or nothing (the option `blank` of the label schemes).

macro: plain mean over the labels where the metric is defined. weighted: the mean over the same labels, by
their positives. micro: all cells of all labels pooled into one. Tied scores count as one step of the curve,
as in scikit-learn, to which every function is equal where it is defined (tested); ours sort once a label, take null
targets, and need no scikit-learn at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tocsin.errors import DataError
from tocsin.labels.targets import POSITIVE_FROM
from tocsin.scores.means import mean_defined, ratio
from tocsin.scores.probabilities import Bins, log_losses
from tocsin.scores.table import ScoresTable, sigmoid

__all__ = [
    "LOSSES",
    "METRICS",
    "UNKNOWN",
    "Metrics",
    "average_precision",
    "evaluate",
    "evaluate_by",
    "f1",
    "precision",
    "recall",
    "roc_auc",
    "slices_of",
    "thresholds_for",
]

LOSSES = ("brier", "log_loss", "calibration_error")
"""The metrics of which less is better."""
METRICS = ("roc_auc", "average_precision", "f1", "precision", "recall", *LOSSES)
UNKNOWN = "(unknown)"
"""Name of the slice of messages whose slice column is null."""


def roc_auc(targets_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """Area under the ROC curve, by the trapezoid rule over distinct scores.

    Args:
        targets_N: (N,) of 0, 1 and NaN; a soft target is a positive from 0.5 up.
        scores_N: (N,) logits or probabilities: only their order counts.
        weights_N: (N,) weights of the messages, at least 0; None for all equal.

    Returns:
        A number in [0, 1]; NaN without a positive or without a negative of weight above 0.

    Raises:
        DataError: For scores that are NaN, or shapes that disagree.
    """
    return _rank_metrics(*_cells(targets_N, scores_N, weights_N))[0]


def average_precision(
    targets_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None = None
) -> float:
    """Average precision: precision at each distinct score by the gain in recall.

    NaN without a positive, and without a negative. Arguments and errors as in `roc_auc`. No interpolation, as in
    scikit-learn.
    """
    return _rank_metrics(*_cells(targets_N, scores_N, weights_N))[1]


def f1(targets_N: np.ndarray, scores_N: np.ndarray, threshold: float = 0.5) -> float:
    """F1 of `scores_N >= threshold`; NaN without a positive, and without a negative.

    Shapes as in `roc_auc`; the scores are probabilities.
    """
    return float(decision_metrics(*_confusion(targets_N, np.asarray(scores_N) >= threshold))["f1"])


def precision(targets_N: np.ndarray, scores_N: np.ndarray, threshold: float = 0.5) -> float:
    """Share of true ones among `scores_N >= threshold`; NaN without a positive, without a negative, or where nothing
    reaches the threshold.

    Shapes as in `f1`.
    """
    return float(decision_metrics(*_confusion(targets_N, np.asarray(scores_N) >= threshold))["precision"])


def recall(targets_N: np.ndarray, scores_N: np.ndarray, threshold: float = 0.5) -> float:
    """Share of the positives with `scores_N >= threshold`; NaN as `f1` is. Shapes as in `f1`."""
    return float(decision_metrics(*_confusion(targets_N, np.asarray(scores_N) >= threshold))["recall"])


@dataclass(frozen=True, eq=False)
class Metrics:
    """Figures of one scores table; NaN where undefined.

    Args:
        n: Messages.
        labels: The L label names.
        positives: (L,) int64, messages known to carry the label.
        known: (L,) int64, messages whose target is not null.
        per_label: Metric name to (L,) float64.
        macro: Metric name to mean over the labels where it is defined.
        micro: Metric name to figure of all cells pooled.
        weighted: Metric name to mean by positives over the labels where it is defined.
        defined: Metric name to the number of labels (of L) where it is defined.
        note: Where the figures come from, when the name alone does not tell.
        soft: Whether targets are probabilities, of which those from 0.5 up were counted as positives.
        messages_known: Messages with at least one known target.
        messages_decided: Messages for which at least one label counts as on.
    """

    n: int
    labels: tuple[str, ...]
    positives: np.ndarray
    known: np.ndarray
    per_label: dict[str, np.ndarray]
    macro: dict[str, float]
    micro: dict[str, float]
    weighted: dict[str, float]
    defined: dict[str, int] = field(default_factory=dict)
    note: str = ""
    soft: bool = False
    messages_known: int = 0
    messages_decided: int = 0

    @property
    def coverage(self) -> dict[str, float]:
        """Shares of what the figures rest on: known cells, messages with a known target, messages decided on.

        NaN without a message.
        """
        return {
            "known_targets": float(ratio(self.known.sum(), self.n * len(self.labels))),
            "messages_with_a_known_target": float(ratio(self.messages_known, self.n)),
            "messages_with_a_decision": float(ratio(self.messages_decided, self.n)),
        }

    @property
    def prevalence(self) -> np.ndarray:
        """(L,) positives among the known cells: a constant's average precision. NaN where none is known."""
        return ratio(self.positives, self.known)

    def flat(self) -> dict[str, float]:
        """Return `{"macro_roc_auc": ..., ..., "micro_f1": ..., "weighted_recall": ...}`."""
        averages = {"macro": self.macro, "micro": self.micro, "weighted": self.weighted}
        return {f"{average}_{name}": values[name] for average, values in averages.items() for name in METRICS}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, None where a figure is undefined."""

        def plain(value: float) -> float | None:
            return None if np.isnan(value) else float(value)

        return {
            "messages": self.n,
            **({"note": self.note} if self.note else {}),
            **({"soft_targets_positive_from": POSITIVE_FROM} if self.soft else {}),
            "coverage": {name: plain(share) for name, share in self.coverage.items()},
            **{name: plain(value) for name, value in self.flat().items()},
            "labels_defined": {name: [self.defined[name], len(self.labels)] for name in METRICS},
            "per_label": {
                label: {
                    "positives": int(self.positives[i]),
                    "known": int(self.known[i]),
                    **{name: plain(self.per_label[name][i]) for name in METRICS},
                }
                for i, label in enumerate(self.labels)
            },
        }


def evaluate(table: ScoresTable, thresholds: float | Sequence[float] = 0.5, *, note: str = "") -> Metrics:
    """Return all metrics of a table.

    Args:
        table: Scores with targets.
        thresholds: Probability from which a label counts as on: one for all, or L of them. A table that
            carries the decisions of a rule is judged by those instead.
        note: Goes into the result as it is.

    Raises:
        DataError: When the table has no targets, or the thresholds do not fit the labels.
    """
    targets_NL = table.known_targets("Evaluation")
    limits_L = thresholds_for(thresholds, table.labels)
    per_label = {name: np.full(len(table.labels), np.nan) for name in METRICS}
    counts_4L = np.zeros((4, len(table.labels)), dtype=np.int64)  # true on, false on, missed, rejected
    known_L = np.zeros(len(table.labels), dtype=np.int64)
    lost_2L = np.zeros((2, len(table.labels)))  # sums of squared and of logarithmic losses
    decided_N = np.zeros(len(table), dtype=bool)
    for i in range(len(table.labels)):  # by label, so that temporary arrays stay (N,) however large the table
        cells = _cells(targets_NL[:, i], table.ranking_NL[:, i], None)
        per_label["roc_auc"][i], per_label["average_precision"][i] = _rank_metrics(*cells)
        on_N = decided_on(table, i, limits_L[i])
        decided_N |= on_N
        counts_4L[:, i] = _confusion(targets_NL[:, i], on_N)
        known_L[i] = len(cells[0])
        given = probabilities_of(table, cells[1])
        lost_2L[:, i] = ((given - cells[0]) ** 2).sum(), log_losses(cells[0], given).sum()
        per_label["calibration_error"][i] = Bins(cells[0], given).error()
    per_label.update(decision_metrics(*counts_4L))
    per_label["brier"], per_label["log_loss"] = ratio(lost_2L, known_L)
    positives = counts_4L[0] + counts_4L[2]

    pooled = _cells(targets_NL.ravel(), table.ranking_NL.ravel(), None)
    micro = dict(zip(METRICS[:2], _rank_metrics(*pooled), strict=True))
    micro.update({name: float(value) for name, value in decision_metrics(*counts_4L.sum(axis=1)).items()})
    micro["brier"], micro["log_loss"] = ratio(lost_2L.sum(axis=1), known_L.sum()).tolist()
    micro["calibration_error"] = Bins(pooled[0], probabilities_of(table, pooled[1])).error()
    return Metrics(
        n=len(table),
        labels=table.labels,
        positives=positives,
        known=known_L,
        per_label=per_label,
        macro={name: float(mean_defined(values)) for name, values in per_label.items()},
        micro=micro,
        weighted={name: float(mean_defined(values, positives)) for name, values in per_label.items()},
        defined={name: int(np.isfinite(values).sum()) for name, values in per_label.items()},
        note=note,
        soft=table.soft,
        messages_known=int((~np.isnan(targets_NL)).any(axis=1).sum()),
        messages_decided=int(decided_N.sum()),
    )


def evaluate_by(
    table: ScoresTable, column: str, thresholds: float | Sequence[float] = 0.5, *, note: str = ""
) -> dict[str, Metrics]:
    """Return the metrics of each value of `lang` or of a slice column, largest first, nulls as "(unknown)".

    Raises:
        DataError: When the table has no such column or no targets.
    """
    return {
        value: evaluate(table.select(rows), thresholds, note=note) for value, rows in slices_of(table, column)
    }


def slices_of(table: ScoresTable, column: str) -> list[tuple[str, np.ndarray]]:
    """Return each value of a column with its row numbers, largest first, nulls as "(unknown)".

    Raises:
        DataError: When the table has no such column.
    """
    encoded = pa.array(table.column(column), from_pandas=True).dictionary_encode()
    names = [*(str(value) for value in encoded.dictionary.to_pylist()), UNKNOWN]
    codes = encoded.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    rows = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=len(names))
    parts = np.split(rows, np.cumsum(counts)[:-1])
    largest_first = sorted(np.flatnonzero(counts), key=lambda code: (-counts[code], names[code]))
    return [(names[code], parts[code]) for code in largest_first]


def thresholds_for(thresholds: float | Sequence[float], labels: Sequence[str]) -> np.ndarray:
    """Return (L,) thresholds from one or from L of them; DataError when there is another number."""
    given = np.asarray(thresholds, dtype=np.float64)
    if given.ndim > 1 or (given.ndim == 1 and len(given) != len(labels)):
        raise DataError(
            f"Thresholds have shape {given.shape}; one number, or {len(labels)} (one a label), is wanted."
        )
    return np.broadcast_to(given, (len(labels),))


def decided_on(table: ScoresTable, label: int, threshold: float) -> np.ndarray:
    """Return (N,) bool, the messages for which label number `label` counts as on."""
    if table.decisions_NL is not None:
        return table.decisions_NL[:, label]
    return probabilities_of(table, table.ranking_NL[:, label]) >= threshold


def probabilities_of(table: ScoresTable, ranking: np.ndarray) -> np.ndarray:
    """Return the probabilities (float64) of some of the table's `ranking_NL`."""
    return sigmoid(ranking) if table.ranked_by_logits else ranking


def _cells(
    targets_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The known cells of a column: targets as bool, scores, weights."""
    targets_N, scores_N = np.asarray(targets_N), np.asarray(scores_N)
    if targets_N.shape != scores_N.shape or (weights_N is not None and np.shape(weights_N) != scores_N.shape):
        raise DataError(
            f"Targets {targets_N.shape}, scores {scores_N.shape} and weights must have one shape."
        )
    known = ~np.isnan(targets_N) if targets_N.dtype.kind == "f" else np.ones(targets_N.shape, dtype=bool)
    scores_N = scores_N[known]
    if np.isnan(scores_N).any():
        raise DataError(f"{int(np.isnan(scores_N).sum()):,} scores are NaN and cannot be ranked.")
    return (
        targets_N[known] >= POSITIVE_FROM,
        scores_N,
        None if weights_N is None else np.asarray(weights_N)[known],
    )


def _rank_metrics(
    positive_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None
) -> tuple[float, float]:
    """ROC-AUC and average precision of known cells."""
    if weights_N is None:
        return _counted(scores_N[positive_N], scores_N[~positive_N])
    order = np.argsort(scores_N)[::-1]  # the order among ties does not count: only their ends are read
    ordered = scores_N[order]
    ends = (
        np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.empty(0, np.intp)
    )
    weights = weights_N[order].astype(np.float64)
    on_G = np.cumsum(np.where(positive_N[order], weights, 0.0))[ends]
    off_G = np.cumsum(np.where(positive_N[order], 0.0, weights))[ends]
    positives, negatives = (float(on_G[-1]), float(off_G[-1])) if len(ends) else (0.0, 0.0)
    if positives <= 0 or negatives <= 0:
        return np.nan, np.nan
    gain_G = np.diff(on_G, prepend=0).astype(np.float64)
    ap = float(gain_G @ np.nan_to_num(ratio(on_G, on_G + off_G)) / positives)
    # a positive is worth the negatives below it, and half of those it ties with
    above_G = off_G - np.diff(off_G, prepend=0) / 2.0
    return float(1.0 - gain_G @ (above_G / negatives) / positives), ap


def _counted(on_P: np.ndarray, off_Q: np.ndarray) -> tuple[float, float]:
    """ROC-AUC and average precision from the scores of positives and of negatives.

    Sorting two lists of numbers takes a fraction of the time and memory of ordering the cells by them: all cells of a
    large table are pooled here.
    """
    if not len(on_P) or not len(off_Q):
        return np.nan, np.nan
    on_P, off_Q = np.sort(on_P), np.sort(off_Q)
    starts_G = np.flatnonzero(np.append(True, on_P[1:] != on_P[:-1]))  # of each distinct score
    gain_G = np.diff(starts_G, append=len(on_P)).astype(np.float64)
    below_G = np.searchsorted(off_Q, on_P[starts_G], side="left")
    hits_G = len(on_P) - starts_G
    ap = float(gain_G @ (hits_G / (hits_G + len(off_Q) - below_G)) / len(on_P))
    tied_G = np.searchsorted(off_Q, on_P[starts_G], side="right") - below_G
    # a positive is worth the negatives below it, and half of those it ties with
    return float(gain_G @ (below_G + tied_G / 2.0) / (len(on_P) * len(off_Q))), ap


def _confusion(targets_N: np.ndarray, on_N: np.ndarray) -> tuple[int, int, int, int]:
    """Counts of true on, false on, missed positives and rejected negatives among the known cells."""
    positive, negative = np.asarray(targets_N) >= POSITIVE_FROM, np.asarray(targets_N) < POSITIVE_FROM
    hits = int(np.count_nonzero(positive & on_N))
    false_alarms = int(np.count_nonzero(negative & on_N))
    missed, rejected = np.count_nonzero(positive) - hits, np.count_nonzero(negative) - false_alarms
    return hits, false_alarms, int(missed), int(rejected)


def decision_metrics(hits: Any, false_alarms: Any, missed: Any, rejected: Any) -> dict[str, np.ndarray]:
    """F1, precision and recall from counts of any shape; NaN without a positive, and without a negative."""
    hits, false_alarms, missed, rejected = (
        np.asarray(count, dtype=np.float64) for count in (hits, false_alarms, missed, rejected)
    )
    both = (hits + missed > 0) & (false_alarms + rejected > 0)
    return {
        "f1": np.where(both, ratio(2.0 * hits, 2.0 * hits + false_alarms + missed), np.nan),
        "precision": np.where(both, ratio(hits, hits + false_alarms), np.nan),
        "recall": np.where(both, ratio(hits, hits + missed), np.nan),
    }
