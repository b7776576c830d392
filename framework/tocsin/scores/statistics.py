"""How sure a figure is: bootstrap intervals of one scores table, and of the difference of two.

A draw takes N messages (or whole groups of messages) with replacement, which is to weight each by how often
it was drawn; `draws` reads every figure for a block of weightings at once. A label without a positive (or negative)
in a draw is left out of that draw's macro mean, as `metrics` does. `intervals` makes intervals of the draws, which are
about the figure that endless messages would give: with few positives average precision itself runs high, for every
model alike, and the interval then lies lower than the figure (in a simulation with 36 labels, the rarest with 7
positives in 1,500 messages, macro AP was .272 where endless messages give .246).

N messages, L labels, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import ConfigError, DataError, did_you_mean
from tocsin.labels.schemes import check_same_labels
from tocsin.scores.arrays import repeated
from tocsin.scores.draws import Cells, DrawnFigures, Figures
from tocsin.scores.intervals import degrees_of_freedom, interval, joined_degrees, widening
from tocsin.scores.metrics import METRICS, Metrics, evaluate
from tocsin.scores.resampling import group_numbers, message_weights
from tocsin.scores.table import ScoresTable
from tocsin.text.ids import check_ids_join

__all__ = [
    "FIGURES",
    "HEADLINE",
    "Difference",
    "Interval",
    "affordable_draws",
    "bootstrap",
    "paired_bootstrap",
]

FIGURES = tuple(
    f"{average}_{metric}"
    for average in ("macro", "micro", "weighted")
    for metric in METRICS
    if metric != "calibration_error"
)
"""The figures that intervals are made for. A calibration error has none: it is the root of an estimate near 0 from
which chance has been taken out, and a draw, which adds chance once more, says little about it (its intervals held the
truth in 4 of 10 simulated tables)."""
HEADLINE = (
    "macro_roc_auc",
    "macro_average_precision",
    "macro_f1",
    "macro_brier",
    "macro_log_loss",
    "micro_roc_auc",
    "micro_average_precision",
    "micro_f1",
)
"""The figures that get intervals unless others are asked for."""


def affordable_draws(table: ScoresTable, most: int = 1000) -> int:
    """Draws that take a minute on one core at most: 1.44 billion messages times labels and draws.

    At least 100, unless fewer are asked for with `most`.
    """
    cells = max(1, len(table) * len(table.labels))
    return min(most, max(100, 1_440_000_000 // cells))


@dataclass(frozen=True)
class Interval:
    """A figure with its interval. `draws` counts the draws in which it was defined; NaN when in none.

    `degrees` of freedom say how well the draws know their own spread: one less than the positives that matter.
    """

    point: float
    low: float
    high: float
    draws: int
    degrees: float = np.inf


@dataclass(frozen=True)
class Difference:
    """A figure of the first table minus that of the second, over the same draws.

    `share_not_above` is the share of draws, freed of bias, in which the first was not above the second; `error` is
    their standard deviation, widened as the interval is. `draws` counts those in which it was defined; all are NaN, and
    it is 0, where there is none or they do not vary about a difference that is not 0.
    """

    point: float
    low: float
    high: float
    share_not_above: float
    draws: int
    error: float = np.nan

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
    check_settings(metrics, draws, level)
    group_N = group_of(table, groups)
    cells = Cells.of(table, metrics, thresholds)
    drawn = drawn_figures(Figures(cells, metrics), len(table), draws, seed, group_N)
    points = evaluate(table, thresholds).flat()
    result = {}
    for name in metrics:
        degrees = figure_degrees(name, drawn, cells.targets_NL, group_N)
        low, high, counted = interval(
            drawn.figures[name], points[name], level, degrees=degrees, scale=scale_of(name)
        )
        result[name] = Interval(points[name], low, high, counted, degrees)
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

    Means over labels are those of each model. They are over the same labels but for precision, which has no meaning
    where a model decides nothing: compare it label by label.

    Raises:
        LabelError: When the labels or their order differ.
        DataError: When an id stands twice in a table, the ids differ, or a target differs.
        ConfigError: As in `bootstrap`.
    """
    check_settings(metrics, draws, level)
    pair = paired_draws(
        table_a, aligned(table_a, table_b), metrics, draws, seed, groups, thresholds, level=level
    )
    return {name: pair.difference(name) for name in metrics}


@dataclass(frozen=True, eq=False)
class PairedDraws:
    """Two tables on the same draws.

    Args:
        points: The figures of both tables.
        drawn: First minus second, in each draw.
        targets_NL: Of the messages.
        group_N: Their groups; None for none.
        level: Share of the draws inside an interval.
    """

    points: tuple[Metrics, Metrics]
    drawn: DrawnFigures
    targets_NL: np.ndarray
    group_N: np.ndarray | None
    level: float

    @cached_property
    def degrees_L(self) -> np.ndarray:
        """Degrees of freedom of each label."""
        return degrees_of_freedom(self.targets_NL, self.group_N)

    def difference(self, figure: str) -> Difference:
        """Return what the draws say of a figure."""
        a, b = (metrics.flat()[figure] for metrics in self.points)
        degrees = figure_degrees(figure, self.drawn, self.targets_NL, self.group_N)
        return difference(self.drawn.figures[figure], a - b, degrees, self.level)

    def label_difference(self, metric: str, label: int) -> Difference:
        """Return what the draws say of a metric of label number `label`."""
        a, b = (float(metrics.per_label[metric][label]) for metrics in self.points)
        return difference(self.drawn.per_label[metric][:, label], a - b, self.degrees_L[label], self.level)


def paired_draws(
    table_a: ScoresTable,
    table_b: ScoresTable,
    metrics: Sequence[str],
    draws: int,
    seed: int,
    groups: np.ndarray | str | None,
    thresholds: float | Sequence[float],
    *,
    level: float = 0.95,
) -> PairedDraws:
    """Return the draws of two tables with the same rows in the same order; arguments as in `paired_bootstrap`."""
    group_N = group_of(table_a, groups)
    cells_a, cells_b = (Cells.of(table, metrics, thresholds) for table in (table_a, table_b))
    pair = Figures(cells_a, metrics), Figures(cells_b, metrics)
    parts = [
        pair[0](weights_ND).minus(pair[1](weights_ND))
        for weights_ND in message_weights(len(table_a), draws, seed, group_N=group_N)
    ]
    points = evaluate(table_a, thresholds), evaluate(table_b, thresholds)
    return PairedDraws(points, DrawnFigures.joined(parts), cells_a.targets_NL, group_N, level)


def difference(drawn_D: np.ndarray, point: float, degrees: float, level: float = 0.95) -> Difference:
    """Return what the draws (D,) of a difference say of it.

    Where they never vary and the difference is not 0 (a label's one positive, found by one model alone, is in each draw
    that has it), they say nothing of its spread: that is undefined then, not 0.
    """
    low, high, counted = interval(drawn_D, point, level, degrees=degrees)
    drawn = drawn_D[np.isfinite(drawn_D)]
    if not counted or (point != 0 and drawn.min() == drawn.max()):
        return Difference(point, np.nan, np.nan, np.nan, 0)
    freed = drawn + 2.0 * (point - drawn.mean())
    wide = widening(degrees, level)
    error = float(drawn.std()) * wide if drawn.std() else 0.0
    return Difference(point, low, high, float(np.mean(freed <= 0)), counted, error)


def aligned(table_a: ScoresTable, table_b: ScoresTable) -> ScoresTable:
    """Return `table_b` with its rows in the order of `table_a`; errors as in `paired_bootstrap`."""
    check_same_labels(
        table_b.labels, table_a.labels, where="the first", what="the labels of the second scores table"
    )
    ids_a, ids_b = pa.array(table_a.ids, pa.string()), pa.array(table_b.ids, pa.string())
    for which, ids in (("first", ids_a), ("second", ids_b)):
        twice = repeated(ids)
        if len(twice):
            worst = twice[0].as_py()
            raise DataError(
                f"The {which} scores table has {len(twice):,} ids in several rows "
                f"(id {worst['values']!r}: {worst['counts']}). Give every message an id of its own."
            )
        check_ids_join(ids, f"The {which} scores table")
    only_a = ids_a.filter(pc.invert(pc.is_in(ids_a, ids_b)))
    only_b = ids_b.filter(pc.invert(pc.is_in(ids_b, ids_a)))
    if len(only_a) or len(only_b):
        examples = [
            f"{', '.join(map(repr, ids[:3].to_pylist()))} only in the {which}"
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


def check_settings(metrics: Sequence[str], draws: int, level: float) -> None:
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


def drawn_figures(
    figures: Figures, n: int, draws: int, seed: int, group_N: np.ndarray | None
) -> DrawnFigures:
    """Return the figures of all draws."""
    return DrawnFigures.joined(
        [figures(weights_ND) for weights_ND in message_weights(n, draws, seed, group_N=group_N)]
    )


def group_of(table: ScoresTable, groups: np.ndarray | str | None) -> np.ndarray | None:
    """Return (N,) group numbers of a column or of values, None for None."""
    values = table.column(groups) if isinstance(groups, str) else groups
    return None if values is None else group_numbers(values, len(table))


def scale_of(figure: str) -> str:
    """The scale on which a figure's draws are read."""
    return "log" if figure.endswith("_log_loss") else "logit"


def figure_degrees(
    name: str, drawn: DrawnFigures, targets_NL: np.ndarray, group_N: np.ndarray | None
) -> float:
    """Return the degrees of freedom of a figure's spread, as `tocsin.scores.intervals` counts them."""
    average, metric = name.split("_", 1)
    if average == "micro":
        return float(degrees_of_freedom(targets_NL, group_N, pooled=True)[0])
    weights_L = (targets_NL == 1).sum(axis=0) if average == "weighted" else None
    return joined_degrees(drawn.per_label[metric], degrees_of_freedom(targets_NL, group_N), weights_L)
