"""Every figure of a scores table under many weightings of its messages at once.

What does not depend on the weights is made once: a sort of each label for the ranking metrics. The other metrics are
sums over messages, so that a block of draws is a matrix product.

N messages, L labels, D draws of a block, C messages of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tocsin.errors import DataError
from tocsin.scores.means import mean_defined, ratio
from tocsin.scores.metrics import LOSSES, METRICS, decided_on, decision_metrics, thresholds_for
from tocsin.scores.probabilities import log_losses
from tocsin.scores.ranking import SharedSort
from tocsin.scores.table import ScoresTable

__all__ = ["Cells", "DrawnFigures", "Figures"]

_CHUNK = 8192  # messages of one product: their weights and cells, as float64, take a few MB
_RANKS = METRICS[:2]
_DECISIONS = ("f1", "precision", "recall")


@dataclass(frozen=True, eq=False)
class Cells:
    """What figures are made of.

    Args:
        targets_NL: 0, 1 and NaN.
        on_NL: bool, whether the label counts as on.
        order_NL: Scores that labels are ranked by.
        pooled_NL: Scores that all cells together are ranked by.
        probabilities_NL: float64; None where no figure needs them.
    """

    targets_NL: np.ndarray
    on_NL: np.ndarray
    order_NL: np.ndarray
    pooled_NL: np.ndarray
    probabilities_NL: np.ndarray | None

    @classmethod
    def of(
        cls, table: ScoresTable, figures: Sequence[str], thresholds: float | Sequence[float] = 0.5
    ) -> Cells:
        """Return the cells of a table; DataError when it has no targets or no messages."""
        targets_NL = table.known_targets("A bootstrap")
        if not len(table):
            raise DataError("There is nothing to draw from: the scores table has no messages.")
        limits_L = thresholds_for(thresholds, table.labels)
        on_NL = np.empty(targets_NL.shape, bool)
        for i in range(len(table.labels)):
            on_NL[:, i] = decided_on(table, i, limits_L[i])
        wanted = any(figure.split("_", 1)[1] in LOSSES for figure in figures)
        return cls(
            targets_NL,
            on_NL,
            table.ranking_NL,
            table.ranking_NL,
            table.probabilities if wanted else None,
        )


@dataclass(frozen=True, eq=False)
class DrawnFigures:
    """Figures of D draws; NaN where a figure is undefined in a draw.

    Args:
        figures: Figure name to (D,).
        per_label: Metric name to (D, L), of the metrics that the figures asked for.
    """

    figures: dict[str, np.ndarray]
    per_label: dict[str, np.ndarray]

    def minus(self, other: DrawnFigures) -> DrawnFigures:
        """Return the difference of each figure."""
        return DrawnFigures(
            {name: values - other.figures[name] for name, values in self.figures.items()},
            {name: values - other.per_label[name] for name, values in self.per_label.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[DrawnFigures]) -> DrawnFigures:
        """Return the draws of all parts."""
        return cls(
            {name: np.concatenate([part.figures[name] for part in parts]) for name in parts[0].figures},
            {name: np.concatenate([part.per_label[name] for part in parts]) for name in parts[0].per_label},
        )


class Figures:
    """Figures of some cells under any weights of their messages.

    Args:
        cells: What they are made of.
        names: Figures, of `tocsin.scores.statistics.FIGURES`.
    """

    def __init__(self, cells: Cells, names: Sequence[str]) -> None:
        self.cells = cells
        self.names = tuple(names)
        asked = {tuple(name.split("_", 1)) for name in names}
        self.metrics = tuple(name for name in METRICS if any(metric == name for _, metric in asked))
        pooled = {metric for average, metric in asked if average == "micro"}
        by_label = {metric for average, metric in asked if average != "micro"}
        n, n_labels = cells.targets_NL.shape
        rows = np.arange(n, dtype=np.int32)
        self.columns: list[SharedSort] = []
        self.pooled: SharedSort | None = None
        if by_label & set(_RANKS):
            self.columns = [
                SharedSort(cells.targets_NL[:, i], cells.order_NL[:, i], rows) for i in range(n_labels)
            ]
        if pooled & set(_RANKS):
            self.pooled = SharedSort(
                cells.targets_NL.ravel(), cells.pooled_NL.ravel(), np.repeat(rows, n_labels)
            )

    def __call__(self, weights_ND: np.ndarray) -> DrawnFigures:
        """Return each figure under the message weights (N, D)."""
        sums = self._sums(weights_ND)
        positives_DL = sums["positives"]
        per_label = _from_sums(sums)
        micro = _from_sums({name: values_DL.sum(axis=1) for name, values_DL in sums.items()})
        if self.columns:
            by_label = [column(weights_ND)[:2] for column in self.columns]
            for name, values in zip(_RANKS, zip(*by_label, strict=True), strict=True):
                per_label[name] = np.stack(values, axis=1)
        if self.pooled is not None:
            micro["roc_auc"], micro["average_precision"], _ = self.pooled(weights_ND)
        figures = {}
        for name in self.names:
            average, metric = name.split("_", 1)
            weights = positives_DL if average == "weighted" else None
            figures[name] = micro[metric] if average == "micro" else mean_defined(per_label[metric], weights)
        return DrawnFigures(figures, {name: per_label[name] for name in self.metrics if name in per_label})

    def _sums(self, weights_ND: np.ndarray) -> dict[str, np.ndarray]:
        """Weighted sums (D, L) over the messages of what the figures need."""
        sums: dict[str, np.ndarray] = {}
        shape = (weights_ND.shape[1], self.cells.targets_NL.shape[1])
        for start in range(0, len(weights_ND), _CHUNK):
            rows = slice(start, start + _CHUNK)
            weights_DC = weights_ND[rows].T.astype(np.float64)
            for name, cells_CL in self._summands(rows).items():
                sums.setdefault(name, np.zeros(shape))
                sums[name] += weights_DC @ cells_CL.astype(np.float64)
        return sums

    def _summands(self, rows: slice) -> dict[str, np.ndarray]:
        targets_CL, on_CL = self.cells.targets_NL[rows], self.cells.on_NL[rows]
        positive_CL = targets_CL == 1
        found = {"positives": positive_CL}
        if set(self.metrics) & set(_DECISIONS):
            negative_CL = targets_CL == 0
            found |= {
                "hits": positive_CL & on_CL,
                "false_alarms": negative_CL & on_CL,
                "rejected": negative_CL & ~on_CL,
            }
        if self.cells.probabilities_NL is not None:
            given_CL, known_CL = self.cells.probabilities_NL[rows], ~np.isnan(targets_CL)
            found["known"] = known_CL
            if "brier" in self.metrics:
                found["brier"] = np.where(known_CL, (given_CL - positive_CL) ** 2, 0.0)
            if "log_loss" in self.metrics:
                found["log_loss"] = np.where(known_CL, log_losses(positive_CL, given_CL), 0.0)
        return found


def _from_sums(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics from their sums, of any shape."""
    found: dict[str, np.ndarray] = {}
    if "hits" in sums:
        missed = sums["positives"] - sums["hits"]
        found |= decision_metrics(sums["hits"], sums["false_alarms"], missed, sums["rejected"])
    for name in ("brier", "log_loss"):
        if name in sums:
            found[str(name)] = ratio(sums[name], sums["known"])
    return found
