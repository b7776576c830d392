"""Is one model better than another on the same messages? Size first, then chance.

Two answers for each figure, from the same groups of messages:

- **How much?** The difference with its interval, by paired bootstrap (`tocsin.scores.statistics`), and with it the
  minimum detectable difference: the smallest true one that a comparison of this size finds in four of five times at
  the 5% level, (1.96 + .84) standard errors.
- **Could it be chance?** Approximate randomisation (Noreen 1989, "Computer-intensive methods for testing hypotheses";
  Yeh 2000, "More accurate tests for the statistical significance of result differences", COLING): were the models
  equal, it would not matter which of them gave a message's scores. So the two exchange their scores for a random half
  of the groups, many times; p is the share of exchanges, the actual one counted in, whose difference is at least as
  far from 0 (Phipson and Smyth 2010: never 0). Ranking metrics exchange ranks within a label (or of all cells, for
  micro), because two models' scores need not share a scale (Venkatraman 2000, "A permutation test to compare receiver
  operating characteristic curves", Biometrics 56). The null hypothesis is that the models are exchangeable, which is a
  little more than that this one figure is equal.

Many labels or languages make many chances to be wrong: their p-values are adjusted (Holm 1979: the chance of any false
"different" stays below 5%; Benjamini and Hochberg 1995: at most 5% of those called different are so by chance).

N messages, L labels, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tocsin.errors import ConfigError, did_you_mean
from tocsin.scores.draws import Cells, DrawnFigures, Figures
from tocsin.scores.metrics import Metrics, evaluate, slices_of
from tocsin.scores.resampling import swaps
from tocsin.scores.statistics import Difference, aligned, check_settings, group_of, paired_draws
from tocsin.scores.table import ScoresTable

__all__ = [
    "ADJUSTMENTS",
    "COMPARED",
    "IN_SLICES",
    "Comparison",
    "Tested",
    "adjusted",
    "compare",
    "midranks",
    "p_value",
    "randomisation",
]

COMPARED = (
    "macro_roc_auc",
    "macro_average_precision",
    "macro_f1",
    "macro_brier",
    "macro_log_loss",
    "micro_roc_auc",
    "micro_average_precision",
    "micro_f1",
)
"""The figures that are compared unless others are asked for."""
IN_SLICES = ("macro_roc_auc", "macro_average_precision", "macro_f1")
"""The figures that are compared in each slice."""
ADJUSTMENTS = ("holm", "benjamini-hochberg")

_NORMAL = 1.959964  # normal quantile of 97.5%
_POWERFUL = _NORMAL + 0.841621  # and of 80%


@dataclass(frozen=True)
class Tested:
    """A figure of two models.

    Args:
        a: Of the first.
        b: Of the second.
        difference: a - b with its interval.
        p_value: Of the randomisation; NaN where the figure is undefined.
        adjusted: The same, adjusted for the other slices of its column; equal to `p_value` outside slices.
    """

    a: float
    b: float
    difference: Difference
    p_value: float
    adjusted: float

    @property
    def detectable(self) -> float:
        """The smallest true difference that four of five such comparisons find at the 5% level."""
        return _POWERFUL * self.difference.error


@dataclass(frozen=True)
class SliceMean:
    """A figure's mean over slices, each counting alike: those in which both models have it and its difference a spread.

    Args:
        a: Of the first model.
        b: Of the second.
        difference: a - b.
        low: Lower end of the difference's 95% interval.
        high: Upper end.
        slices: Over how many.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    slices: int

    @classmethod
    def of(cls, tested: Sequence[Tested]) -> SliceMean:
        """Average over slices that were drawn alone: the variances of independent differences add up."""
        known = [one for one in tested if np.isfinite(one.difference.error)]
        if not known:
            return cls(np.nan, np.nan, np.nan, np.nan, np.nan, 0)
        a, b = (float(np.mean([getattr(one, side) for one in known])) for side in "ab")
        error = float(np.sqrt(np.sum([one.difference.error**2 for one in known]))) / len(known)
        return cls(a, b, a - b, a - b - _NORMAL * error, a - b + _NORMAL * error, len(known))


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that a comparison found.

    Args:
        metrics: Of both models.
        figures: Figure to what was found.
        labels: Metric to (label to what was found), adjusted for all labels of the metric.
        by: Column to (value to (figure to what was found)).
        sizes: Column to (value to messages).
        draws: Of the bootstrap and of the randomisation each.
        unit: What was drawn, in words.
        adjustment: One of `ADJUSTMENTS`.
        means: Column to (figure to its mean over the slices); none where groups are drawn, for they may span slices.
    """

    metrics: tuple[Metrics, Metrics]
    figures: dict[str, Tested]
    labels: dict[str, dict[str, Tested]] = field(default_factory=dict)
    by: dict[str, dict[str, dict[str, Tested]]] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    draws: int = 0
    unit: str = "messages"
    adjustment: str = "holm"
    means: dict[str, dict[str, SliceMean]] = field(default_factory=dict)


def compare(
    table_a: ScoresTable,
    table_b: ScoresTable,
    figures: Sequence[str] = COMPARED,
    draws: int = 1000,
    seed: int = 42,
    groups: str | None = None,
    *,
    thresholds: float | Sequence[float] = 0.5,
    by: Sequence[str] = (),
    adjustment: str = "holm",
) -> Comparison:
    """Return the differences a - b with intervals and p-values: of each figure, each label, and in each slice.

    Rows are matched by id, so the order may differ.

    Args:
        table_a: Scores with targets.
        table_b: Scores of the same messages, labels and targets.
        figures: Names of `tocsin.scores.statistics.FIGURES`.
        draws: Of the bootstrap, and as many of the randomisation.
        seed: Of both.
        groups: A column of the first table: messages of one value are drawn and exchanged together.
        thresholds: As in `evaluate`.
        by: Columns of the first table, in whose slices `IN_SLICES` are compared.
        adjustment: Of the p-values of labels and of slices: "holm" or "benjamini-hochberg".

    Raises:
        LabelError: When the labels or their order differ.
        DataError: When an id stands twice in a table, the ids or a target differ, or a column is missing.
        ConfigError: For an unknown figure or adjustment, or too few draws.
    """
    check_settings(figures, draws, 0.95)
    if adjustment not in ADJUSTMENTS:
        raise ConfigError(
            f"There is no adjustment {adjustment!r}.{did_you_mean(adjustment, list(ADJUSTMENTS))} "
            f"Known: {', '.join(ADJUSTMENTS)}."
        )
    table_b = aligned(table_a, table_b)
    found, labels = _tested(table_a, table_b, figures, draws, seed, groups, thresholds, adjustment)
    sliced: dict[str, dict[str, dict[str, Tested]]] = {}
    sizes: dict[str, dict[str, int]] = {}
    for column in by:
        sliced[column], sizes[column] = {}, {}
        for value, rows in slices_of(table_a, column):
            parts = table_a.select(rows), table_b.select(rows)
            sliced[column][value], _ = _tested(*parts, IN_SLICES, draws, seed, groups, thresholds, adjustment)
            sizes[column][value] = len(rows)
        sliced[column] = _adjusted_slices(sliced[column], adjustment)
    means = {
        column: {figure: SliceMean.of([found[figure] for found in slices.values()]) for figure in IN_SLICES}
        for column, slices in sliced.items()
        if groups is None and len(slices) > 1
    }
    return Comparison(
        metrics=(evaluate(table_a, thresholds), evaluate(table_b, thresholds)),
        figures=found,
        labels=labels,
        by=sliced,
        sizes=sizes,
        draws=draws,
        unit=f"whole groups of equal {groups}" if groups else "messages",
        adjustment=adjustment,
        means=means,
    )


def _tested(
    table_a: ScoresTable,
    table_b: ScoresTable,
    figures: Sequence[str],
    draws: int,
    seed: int,
    groups: str | None,
    thresholds: float | Sequence[float],
    adjustment: str,
) -> tuple[dict[str, Tested], dict[str, dict[str, Tested]]]:
    """Figures and labels of two tables with the same rows in the same order."""
    pair = paired_draws(table_a, table_b, figures, draws, seed, groups, thresholds)
    exchanged = randomisation(table_a, table_b, figures, draws, seed, groups, thresholds=thresholds)
    flat_a, flat_b = pair.points[0].flat(), pair.points[1].flat()
    found = {}
    for name in figures:
        p = p_value(exchanged.figures[name], flat_a[name] - flat_b[name])
        found[name] = Tested(flat_a[name], flat_b[name], pair.difference(name), p, p)
    labels = {}
    for metric in exchanged.per_label:
        a_L, b_L = (metrics.per_label[metric] for metrics in pair.points)
        p_L = np.array([p_value(exchanged.per_label[metric][:, i], a_L[i] - b_L[i]) for i in range(len(a_L))])
        shown = zip(table_a.labels, a_L, b_L, p_L, adjusted(p_L, adjustment), strict=True)
        labels[metric] = {
            label: Tested(float(a), float(b), pair.label_difference(metric, i), float(p), float(q))
            for i, (label, a, b, p, q) in enumerate(shown)
        }
    return found, labels


def _adjusted_slices(slices: dict[str, dict[str, Tested]], adjustment: str) -> dict[str, dict[str, Tested]]:
    """The slices with each figure's p-values adjusted over all of them."""
    result: dict[str, dict[str, Tested]] = {value: {} for value in slices}
    for figure in IN_SLICES:
        p_values = np.array([found[figure].p_value for found in slices.values()])
        for value, p in zip(slices, adjusted(p_values, adjustment), strict=True):
            one = slices[value][figure]
            result[value][figure] = Tested(one.a, one.b, one.difference, one.p_value, float(p))
    return result


def randomisation(
    table_a: ScoresTable,
    table_b: ScoresTable,
    figures: Sequence[str] = COMPARED,
    draws: int = 1000,
    seed: int = 42,
    groups: np.ndarray | str | None = None,
    *,
    thresholds: float | Sequence[float] = 0.5,
) -> DrawnFigures:
    """Return the differences a - b that come of exchanging the scores of random groups of messages.

    Args as in `compare`; the tables hold the same rows in the same order.
    """
    n = len(table_a)
    group_N = group_of(table_a, groups)
    cells_a, cells_b = (Cells.of(table, figures, thresholds) for table in (table_a, table_b))
    cells = _stacked(cells_a, cells_b, figures)
    both = Figures(cells, figures)
    parts = []
    for swapped_ND in swaps(n, draws, seed, group_N=group_N):
        kept_ND = 1 - swapped_ND
        first, second = np.concatenate([kept_ND, swapped_ND]), np.concatenate([swapped_ND, kept_ND])
        parts.append(both(first).minus(both(second)))
    return DrawnFigures.joined(parts)


def _stacked(a: Cells, b: Cells, figures: Sequence[str]) -> Cells:
    """The cells of both models below one another, ranks in place of scores."""
    asked = {tuple(name.split("_", 1)) for name in figures}
    ranked = {average == "micro" for average, metric in asked if metric in ("roc_auc", "average_precision")}
    by_label = [each.order_NL for each in (a, b)]
    pooled = [each.pooled_NL for each in (a, b)]
    if False in ranked:
        by_label = [
            np.stack(
                [midranks(scores, known) for scores, known in zip(x.order_NL.T, x.targets_NL.T, strict=True)],
                1,
            )
            for x in (a, b)
        ]
    if True in ranked:
        pooled = [
            midranks(x.pooled_NL.ravel(), x.targets_NL.ravel()).reshape(x.pooled_NL.shape) for x in (a, b)
        ]
    probabilities = [each.probabilities_NL for each in (a, b) if each.probabilities_NL is not None]
    return Cells(
        np.concatenate([a.targets_NL, b.targets_NL]),
        np.concatenate([a.on_NL, b.on_NL]),
        np.concatenate(by_label),
        np.concatenate(pooled),
        np.concatenate(probabilities) if probabilities else None,
    )


def midranks(scores_N: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """Return (N,) ranks from 1 of the scores whose target is known, ties at their mean rank; 0 where it is not."""
    known = ~np.isnan(targets_N)
    ranks_N = np.zeros(len(scores_N))
    _, inverse, counts = np.unique(scores_N[known], return_inverse=True, return_counts=True)
    ranks_N[known] = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return ranks_N


def p_value(exchanged_D: np.ndarray, point: float) -> float:
    """Share of exchanges at least as far from 0 as `point`, itself counted; NaN where undefined."""
    exchanged = exchanged_D[np.isfinite(exchanged_D)]
    if not np.isfinite(point) or not len(exchanged):
        return np.nan
    # exchanges that undo one another give the same difference but for its last digits
    return float((1 + np.count_nonzero(np.abs(exchanged) >= abs(point) - 1e-12)) / (1 + len(exchanged)))


def adjusted(p_values: np.ndarray, method: str = "holm") -> np.ndarray:
    """Return p-values adjusted for their number; NaN stays and counts for nothing.

    Args:
        p_values: (K,).
        method: "holm" or "benjamini-hochberg".
    """
    result = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    rising = tested[np.argsort(p_values[tested], kind="stable")]
    count = len(rising)
    ranks = np.arange(1, count + 1)
    if method == "holm":
        stepped = np.maximum.accumulate(p_values[rising] * (count + 1 - ranks))
    else:
        stepped = np.minimum.accumulate((p_values[rising] * count / ranks)[::-1])[::-1]
    result[rising] = np.minimum(stepped, 1.0)
    return result
