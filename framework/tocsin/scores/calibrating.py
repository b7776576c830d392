"""What a chain does to the scores it was fitted on, judged on messages it had not seen.

N messages, L labels, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tocsin.labels.targets import POSITIVE_FROM
from tocsin.scores.chain import Chain
from tocsin.scores.crossfit import Worth, cross_fitted, interval_of, resampled, worth_of
from tocsin.scores.intervals import degrees_of_freedom, joined_degrees
from tocsin.scores.means import mean_defined, ratio
from tocsin.scores.metrics import decision_metrics
from tocsin.scores.probabilities import calibration_error, log_losses
from tocsin.scores.statistics import Interval, group_of
from tocsin.scores.table import ScoresTable

__all__ = ["CONVENTION", "ChainReport", "Change", "assess_chain", "decision_figures"]

CONVENTION = 0.5


@dataclass(frozen=True, eq=False)
class Change:
    """A figure before and after the chain; lower is better.

    Args:
        name: "Brier score", "log loss" or "calibration error".
        before_L: (L,) of the raw scores; NaN where no target of the label is known.
        after_L: (L,) cross-fitted.
        before: Mean over the labels where it is defined.
        after: Likewise.
        change: `after` minus `before`; its interval is NaN for the calibration error, which is no mean over messages.
    """

    name: str
    before_L: np.ndarray
    after_L: np.ndarray
    before: float
    after: float
    change: Interval


@dataclass(frozen=True, eq=False)
class ChainReport:
    """All figures of a fitted chain; those of calibration and decisions are cross-fitted.

    Args:
        chain: Fitted on the whole table.
        table: What it was fitted on.
        held_out: The table with each message's probabilities and decisions by steps fitted on other folds.
        folds: How many.
        groups: The column whose values stay together in folds and draws; None for single messages.
        changes: Empty where the chain has no calibrator.
        worth: What the decisions are worth, beside "on from .5" of the same probabilities; None without a rule.
        figures: precision, recall and F1 of the decisions, (L,) each.
        at_half: The same of the raw scores, on from .5.
        positives: (L,) known positives.
        known: (L,) known targets.
    """

    chain: Chain
    table: ScoresTable
    held_out: ScoresTable
    folds: int
    groups: str | None
    changes: list[Change]
    worth: Worth | None
    figures: dict[str, np.ndarray]
    at_half: dict[str, np.ndarray]
    positives: np.ndarray
    known: np.ndarray


def assess_chain(
    chain: Chain,
    table: ScoresTable,
    *,
    folds: int = 5,
    groups: str | None = None,
    draws: int = 1000,
    seed: int = 42,
) -> ChainReport:
    """Judge a chain by cross-fitting on the table that it was fitted on.

    Args:
        chain: Fitted on the table.
        table: With targets; what an earlier chain put into it is not read.
        folds: How many parts; each is judged by steps fitted on the others.
        groups: A column: messages of one value stay together in folds and draws.
        draws: Bootstrap draws behind each interval.
        seed: Of the draws.

    Raises:
        DataError: The table has no targets or too few messages, or there is no such column.
        ConfigError: Fewer than 2 folds, or no draw.
    """
    raw = table.uncalibrated()
    targets_NL = raw.known_targets("Calibration")
    held_out = cross_fitted(chain, raw, folds, groups)
    half_NL = raw.raw_probabilities >= CONVENTION
    decided_NL = (
        held_out.probabilities >= CONVENTION if held_out.decisions_NL is None else held_out.decisions_NL
    )
    worth = None
    if chain.decision_rule is not None:
        rule = chain.decision_rule
        worth = worth_of(
            raw,
            decided_NL,
            half_NL,
            rule.worth,
            draws=draws,
            seed=seed,
            groups=groups,
            share=not rule.lower_is_better,
        )
    return ChainReport(
        chain=chain,
        table=raw,
        held_out=held_out,
        folds=folds,
        groups=groups,
        changes=[] if chain.calibrator is None else _changes(raw, held_out, targets_NL, draws, seed, groups),
        worth=worth,
        figures=decision_figures(targets_NL, decided_NL),
        at_half=decision_figures(targets_NL, half_NL),
        positives=np.count_nonzero(targets_NL == 1, axis=0),
        known=np.count_nonzero(~np.isnan(targets_NL), axis=0),
    )


def _changes(
    raw: ScoresTable, held_out: ScoresTable, targets_NL: np.ndarray, draws: int, seed: int, groups: str | None
) -> list[Change]:
    before_NL, after_NL = raw.raw_probabilities, held_out.probabilities
    known_NL = (~np.isnan(targets_NL)).astype(np.float64)
    positive_NL = targets_NL >= POSITIVE_FROM
    degrees_L = degrees_of_freedom(targets_NL, group_of(raw, groups))
    changes = []
    for name, cells in (("Brier score", _squares), ("log loss", log_losses)):
        before, after = (known_NL * cells(positive_NL, p_NL) for p_NL in (before_NL, after_NL))
        before_L, after_L = (ratio(part.sum(axis=0), known_NL.sum(axis=0)) for part in (before, after))

        def figures(weights_ND: np.ndarray, difference: np.ndarray = after - before) -> np.ndarray:
            return ratio(weights_ND.T @ difference, weights_ND.T @ known_NL)

        drawn_DL = resampled(figures, raw, draws, seed, groups)
        changes.append(_change(name, before_L, after_L, drawn_DL, degrees_L))
    errors = [
        np.array([calibration_error(targets_NL[:, i], p_NL[:, i]) for i in range(len(raw.labels))])
        for p_NL in (before_NL, after_NL)
    ]
    # no interval: see FIGURES
    nothing = np.empty((0, len(raw.labels)))
    changes.append(_change("calibration error", errors[0], errors[1], nothing, degrees_L))
    return changes


def _squares(positive_NL: np.ndarray, probabilities_NL: np.ndarray) -> np.ndarray:
    return np.square(probabilities_NL - positive_NL)


def _change(
    name: str, before_L: np.ndarray, after_L: np.ndarray, drawn_DL: np.ndarray, degrees_L: np.ndarray
) -> Change:
    before, after = float(mean_defined(before_L)), float(mean_defined(after_L))
    degrees = joined_degrees(drawn_DL, degrees_L)
    return Change(
        name, before_L, after_L, before, after, interval_of(mean_defined(drawn_DL), after - before, degrees)
    )


def decision_figures(targets_NL: np.ndarray, decided_NL: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 of decisions, (L,) each; NaN without a positive and without a negative."""
    positive_NL, negative_NL = targets_NL == 1, targets_NL == 0
    return decision_metrics(
        (positive_NL & decided_NL).sum(axis=0),
        (negative_NL & decided_NL).sum(axis=0),
        (positive_NL & ~decided_NL).sum(axis=0),
        (negative_NL & ~decided_NL).sum(axis=0),
    )
