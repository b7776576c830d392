"""How sure a figure is: bootstrap intervals of one scores table, and of the difference of two.

A draw takes N messages (or whole groups of messages) with replacement, which is to weight each by how often
it was drawn; `resampling` reads ranking metrics for a thousand weightings from one sort. A label without a
positive (or negative) in a draw is left out of that draw's macro mean, as `metrics` does.

Intervals are percentiles (Efron and Tibshirani 1993, chapter 13) of draws moved so that their mean is the
figure itself: a positive that is drawn twice ties with itself, which lifts average precision a little in
every draw, and macro means lose rare labels. The draws tell the spread, not the level: an interval
says how a figure varies over other messages of the same number. With few positives average precision itself
runs high, for every model alike (in a simulation with 36 labels, the rarest with 7 positives in 1,500
messages, macro AP was .272 where endless messages give .246): compare models on the same messages only.

N messages, L labels, D draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import ConfigError, DataError, did_you_mean
from tocsin.labels.schemes import check_same_labels
from tocsin.scores.metrics import (
    METRICS,
    decided_on,
    decision_metrics,
    evaluate,
    mean_defined,
    thresholds_for,
)
from tocsin.scores.resampling import SharedSort, group_numbers, message_weights
from tocsin.scores.table import ScoresTable

__all__ = [
    "FIGURES",
    "HEADLINE",
    "Difference",
    "Interval",
    "affordable_draws",
    "bootstrap",
    "paired_bootstrap",
]

FIGURES = tuple(f"{average}_{metric}" for average in ("macro", "micro", "weighted") for metric in METRICS)
HEADLINE = (
    "macro_roc_auc",
    "macro_average_precision",
    "macro_f1",
    "micro_roc_auc",
    "micro_average_precision",
    "micro_f1",
)
"""The figures that get intervals unless others are asked for."""


def affordable_draws(table: ScoresTable, most: int = 1000) -> int:
    """Draws that take about a minute on one core, at least 100: 24 million messages times labels a second and draw."""
    cells = max(1, len(table) * len(table.labels))
    return max(100, min(most, 1_440_000_000 // cells))


@dataclass(frozen=True)
class Interval:
    """A figure with its interval. `draws` counts the draws in which it was defined; NaN when in none."""

    point: float
    low: float
    high: float
    draws: int


@dataclass(frozen=True)
class Difference:
    """A figure of the first table minus that of the second, over the same draws.

    `share_not_above` is the share of draws in which the first was not better (difference at most 0, after the
    move).
    """

    point: float
    low: float
    high: float
    share_not_above: float
    draws: int

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def bootstrap(
    table: ScoresTable,
    metrics: Sequence[str] = HEADLINE,
    draws: int = 1000,
    seed: int = 42,
    groups: np.ndarray | str | None = None,
    *,
    thresholds: float | Sequence[float] = 0.5,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return the interval of each figure.

    Args:
        table: Scores with targets.
        metrics: Names of `FIGURES` ("macro_roc_auc", "micro_f1", "weighted_recall", ...).
        draws: How many resamples.
        seed: Of the resampling; the result depends on nothing else.
        groups: (N,) values, or a column's name: messages of one value are drawn together (threads, users,
            duplicates). A null value is a group of its own.
        thresholds: As in `evaluate`.
        level: Share of the draws inside the interval.

    Raises:
        ConfigError: For an unknown figure, or draws or level out of range.
        DataError: When the table has no targets or no messages, or groups do not fit.
    """
    _check_settings(metrics, draws, level)
    figures = _Figures(table, metrics, thresholds)
    drawn = _drawn(figures.draw, table, metrics, draws, seed, groups)
    points = evaluate(table, thresholds).flat()
    result = {}
    for name in metrics:
        centred = _centred(drawn[name], points[name])
        low, high = np.clip(_percentiles(centred, level), 0.0, 1.0)
        result[name] = Interval(points[name], float(low), float(high), len(centred))
    return result


def paired_bootstrap(
    table_a: ScoresTable,
    table_b: ScoresTable,
    metrics: Sequence[str] = HEADLINE,
    draws: int = 1000,
    seed: int = 42,
    groups: np.ndarray | str | None = None,
    *,
    thresholds: float | Sequence[float] = 0.5,
    level: float = 0.95,
) -> dict[str, Difference]:
    """Return the difference a - b of each figure; every draw takes the same messages of both tables.

    Rows are matched by id, so the order may differ. Arguments as in `bootstrap`, `groups` in the order of
    `table_a`.

    Raises:
        LabelError: When the labels or their order differ.
        DataError: When an id stands twice in a table, the ids differ, or a target differs.
        ConfigError: As in `bootstrap`.
    """
    _check_settings(metrics, draws, level)
    table_b = aligned(table_a, table_b)
    pair = _Figures(table_a, metrics, thresholds), _Figures(table_b, metrics, thresholds)

    def differences(weights_ND: np.ndarray) -> dict[str, np.ndarray]:
        a, b = (figures.draw(weights_ND) for figures in pair)
        return {name: a[name] - b[name] for name in metrics}

    drawn = _drawn(differences, table_a, metrics, draws, seed, groups)
    points_a, points_b = evaluate(table_a, thresholds).flat(), evaluate(table_b, thresholds).flat()
    result = {}
    for name in metrics:
        point = points_a[name] - points_b[name]
        centred = _centred(drawn[name], point)
        share = float(np.mean(centred <= 0)) if len(centred) else np.nan
        result[name] = Difference(point, *_percentiles(centred, level), share, len(centred))
    return result


def aligned(table_a: ScoresTable, table_b: ScoresTable) -> ScoresTable:
    """Return `table_b` with its rows in the order of `table_a`; errors as in `paired_bootstrap`."""
    check_same_labels(table_b.labels, table_a.labels, where="the second scores table")
    ids_a, ids_b = pa.array(table_a.ids, pa.string()), pa.array(table_b.ids, pa.string())
    for which, ids in (("first", ids_a), ("second", ids_b)):
        counts = pc.value_counts(ids)
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(repeated):
            worst = repeated[0].as_py()
            raise DataError(
                f"The {which} scores table has {len(repeated):,} ids in several rows "
                f"(id {worst['values']!r}: {worst['counts']}). Give every message an id of its own."
            )
    only_a = ids_a.filter(pc.invert(pc.is_in(ids_a, ids_b)))
    only_b = ids_b.filter(pc.invert(pc.is_in(ids_b, ids_a)))
    if len(only_a) or len(only_b):
        examples = [
            f"{ids[0].as_py()!r} only in the {which}"
            for ids, which in ((only_a, "first"), (only_b, "second"))
            if len(ids)
        ]
        raise DataError(
            f"The two scores tables are not of the same messages: {len(only_a):,} of {len(ids_a):,} ids are "
            f"only in the first, {len(only_b):,} of {len(ids_b):,} only in the second "
            f"(for instance {', '.join(examples)}). Score both models on the same split."
        )
    table_b = table_b.select(pc.index_in(ids_a, ids_b).to_numpy(zero_copy_only=False))
    targets_a, targets_b = table_a.known_targets("A comparison"), table_b.known_targets("A comparison")
    different = (targets_a != targets_b) & ~(np.isnan(targets_a) & np.isnan(targets_b))
    if different.any():
        row, label = (int(i) for i in np.argwhere(different)[0])
        raise DataError(
            f"The two scores tables disagree about {int(different.sum()):,} targets, the first of them label "
            f"{table_a.labels[label]!r} of message {table_a.ids[row]!r}: {targets_a[row, label]:g} and "
            f"{targets_b[row, label]:g}. Score both models on one and the same data file."
        )
    return table_b


class _Figures:
    """Everything of a table that does not depend on the draw: sorted columns and decisions."""

    def __init__(
        self, table: ScoresTable, metrics: Sequence[str], thresholds: float | Sequence[float]
    ) -> None:
        targets_NL = table.known_targets("A bootstrap")
        n, n_labels = targets_NL.shape
        if not n:
            raise DataError("There is nothing to draw from: the scores table has no messages.")
        self.metrics = tuple(metrics)
        needs = {tuple(name.split("_", 1)) for name in metrics}
        ranks = {average for average, metric in needs if metric in METRICS[:2]}
        self.columns: list[SharedSort] = []
        self.pooled: SharedSort | None = None
        if ranks & {"macro", "weighted"}:
            rows = np.arange(n)
            self.columns = [
                SharedSort(targets_NL[:, i], table.ranking_NL[:, i], rows) for i in range(n_labels)
            ]
        if "micro" in ranks:
            rows = np.repeat(np.arange(n), n_labels)
            self.pooled = SharedSort(targets_NL.ravel(), table.ranking_NL.ravel(), rows)
        limits_L = thresholds_for(thresholds, table.labels)
        on_NL = np.stack([decided_on(table, i, limits_L[i]) for i in range(n_labels)], axis=1)
        positive_NL, negative_NL = targets_NL == 1, targets_NL == 0
        self.hits_NL, self.false_alarms_NL, self.missed_NL = (
            cells.astype(np.float32)
            for cells in (positive_NL & on_NL, negative_NL & on_NL, positive_NL & ~on_NL)
        )

    def draw(self, weights_ND: np.ndarray) -> dict[str, np.ndarray]:
        """Return each figure (D,) under message weights (N, D)."""
        counts = [
            (weights_ND.T @ cells.astype(weights_ND.dtype, copy=False)).astype(np.float64)
            for cells in (self.hits_NL, self.false_alarms_NL, self.missed_NL)
        ]
        positives_DL = counts[0] + counts[2]
        per_label = decision_metrics(*counts)
        micro = decision_metrics(*(count.sum(axis=1) for count in counts))
        if self.columns:
            by_label = [column(weights_ND)[:2] for column in self.columns]
            per_label["roc_auc"], per_label["average_precision"] = (
                np.stack(values, axis=1) for values in zip(*by_label, strict=True)
            )
        if self.pooled is not None:
            micro["roc_auc"], micro["average_precision"], _ = self.pooled(weights_ND)
        result = {}
        for name in self.metrics:
            average, metric = name.split("_", 1)
            if average == "micro":
                result[name] = micro[metric]
            else:
                result[name] = mean_defined(
                    per_label[metric], positives_DL if average == "weighted" else None
                )
        return result


def _check_settings(metrics: Sequence[str], draws: int, level: float) -> None:
    for name in metrics:
        if name not in FIGURES:
            raise ConfigError(
                f"There is no figure {name!r}.{did_you_mean(name, list(FIGURES))} "
                f"Known: {', '.join(FIGURES)}."
            )
    if draws < 1:
        raise ConfigError(f"draws is {draws}; at least 1 is wanted (1000 for 95% intervals).")
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; a share between 0 and 1 is wanted, such as 0.95.")


def _drawn(
    draw: Callable[[np.ndarray], dict[str, np.ndarray]],
    table: ScoresTable,
    metrics: Sequence[str],
    draws: int,
    seed: int,
    groups: np.ndarray | str | None,
) -> dict[str, np.ndarray]:
    """Each figure (draws,) as `draw` makes it of message weights."""
    n = len(table)
    values = table.column(groups) if isinstance(groups, str) else groups
    pooled = any(name in ("micro_roc_auc", "micro_average_precision") for name in metrics)
    blocks = message_weights(
        n,
        draws,
        seed,
        group_N=None if values is None else group_numbers(values, n),
        cells=n * len(table.labels) if pooled else n,
    )
    parts = [draw(weights_ND) for weights_ND in blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in metrics}


def _centred(drawn_D: np.ndarray, point: float) -> np.ndarray:
    """The draws where the figure is defined, moved so that their mean is `point`; none for a NaN point."""
    defined = drawn_D[np.isfinite(drawn_D)]
    if not len(defined) or not np.isfinite(point):
        return defined[:0]
    return defined + (point - defined.mean())


def _percentiles(drawn_D: np.ndarray, level: float) -> tuple[float, float]:
    if not len(drawn_D):
        return np.nan, np.nan
    low, high = np.quantile(drawn_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
