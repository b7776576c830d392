"""Label sets that seldom miss a label: conformal risk control. N messages, L labels, n exchangeable units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np

from tocsin.plugins import ConfigError, DataError, DecisionRule, ScoresTable, check_same_labels
from tocsin_calibration.columns import group_rows, learning_rows
from tocsin_calibration.states import groups_of, labels_of, number

__all__ = ["ConformalSets", "conformal_threshold", "missed_shares"]


def conformal_threshold(
    probabilities_NL: np.ndarray, targets_NL: np.ndarray, alpha: float, unit_N: np.ndarray | None = None
) -> tuple[float, int]:
    """Return the highest threshold t with (n R(t) + 1) / (n + 1) <= alpha, and n.

    A message's loss is the share of its known positives with a probability below t; messages without one take no part.
    A unit's loss is the mean over its messages, R the mean over the n units. With lambda = 1 - t this is the smallest
    lambda of Angelopoulos et al. 2022, Conformal Risk Control (arXiv 2208.02814), whose loss is at most B = 1: of a new
    unit, exchangeable with these, at most alpha is missed in expectation. With too few units (n < 1 / alpha - 1) t is
    0: all labels are on, and the bound holds without saying anything.

    Args:
        probabilities_NL: (N, L).
        targets_NL: (N, L) of 0, 1 and NaN.
        alpha: The bound.
        unit_N: (N,) numbers of units; None for messages as units.
    """
    positive_NL = targets_NL == 1
    rows = np.flatnonzero(positive_NL.any(axis=1))
    units = np.unique(rows if unit_N is None else unit_N[rows], return_inverse=True)[1]
    messages_U = np.bincount(units)
    n = len(messages_U)
    if not n:
        return 0.0, 0
    per_message = 1.0 / (messages_U[units] * positive_NL[rows].sum(axis=1))
    place, label = np.nonzero(positive_NL[rows])
    p, share = probabilities_NL[rows[place], label], per_message[place]
    order = np.lexsort((share, p))
    p, missed = p[order], np.cumsum(share[order])
    # With t at the score of a cell, exactly the cells below it are missed.
    too_many = np.flatnonzero(missed > alpha * (n + 1) - 1.0 + 1e-12)
    if alpha * (n + 1) < 1.0:
        return 0.0, n
    return (float(p[too_many[0]]) if len(too_many) else 1.0), n


def missed_shares(targets_NL: np.ndarray, decisions_NL: np.ndarray) -> np.ndarray:
    """Return (N,) the share of each message's known positives that is decided off; NaN without a positive."""
    positive_NL = targets_NL == 1
    count_N = positive_NL.sum(axis=1).astype(np.float64)
    missed_N = (positive_NL & ~decisions_NL).sum(axis=1)
    return np.divide(missed_N, count_N, out=np.full(len(count_N), np.nan), where=count_N > 0)


class ConformalSets(DecisionRule):
    """Label sets of which, on average, at most a share alpha of a message's labels is missing.

    One threshold for all labels, by conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814). The bound is
    one in expectation, over messages that have a label and are exchangeable with those of the fit: give `groups` where
    messages of one event resemble each other. It is exact for scores that were not fitted on the same messages;
    behind a calibrator that was, as nearly as that one has few parameters.

    Args:
        alpha: The bound on the share that is missed, above 0 and below 1.
        by: A column whose values get thresholds, and so a bound, of their own: lang, or a slice column. null for
            none. In a bundle, lang alone.
        least_units: Values of `by` with fewer messages (or groups) that have a label share the threshold of all, whose
            bound holds on average over all of them and not for each.
        groups: A slice column: whole events, users or threads are exchangeable, not single messages. The loss of a
            group is the mean over its messages. Needed for the fit alone.
    """

    aim = "recall"

    def __init__(
        self, alpha: float = 0.1, by: str | None = None, least_units: int = 100, groups: str | None = None
    ) -> None:
        if not 0.0 < alpha < 1.0:
            raise ConfigError(
                f"ConformalSets: alpha is {alpha}; wanted a share above 0 and below 1, such as 0.1."
            )
        if least_units < 1:
            raise ConfigError(f"ConformalSets: least_units is {least_units}; wanted at least 1.")
        self.alpha = float(alpha)
        self.by = by
        self.least_units = int(least_units)
        self.grouped_by = groups
        self.labels: tuple[str, ...] = ()
        self.threshold = 0.0
        self.units = 0
        self.groups: dict[str, float] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that `by` names."""
        return () if self.by is None else (self.by,)

    def learn(self, table: ScoresTable) -> None:
        """Find the thresholds.

        Raises:
            DataError: No message has a known label, there is no column that `by` or `groups` names, or no known value
                in that of `by`.
        """
        targets_NL = table.known_targets("A bound on missed labels")
        p_NL = table.probabilities
        unit_N = None if self.grouped_by is None else _unit_numbers(table, self.grouped_by)
        self.labels = table.labels
        self.threshold, self.units = conformal_threshold(p_NL, targets_NL, self.alpha, unit_N)
        if not self.units:
            raise DataError(
                f"None of {len(table):,} messages has a label that is known to be on, so nothing tells how many would "
                "be missed. Give more messages."
            )
        self.groups = {}
        for name, rows in learning_rows(table, self.by):
            units = None if unit_N is None else unit_N[rows]
            threshold, n = conformal_threshold(p_NL[rows], targets_NL[rows], self.alpha, units)
            if n >= self.least_units:
                self.groups[name] = threshold

    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with decisions.

        Raises:
            LabelError: Other labels than those learned from.
            DataError: There is no column that `by` names.
        """
        check_same_labels(table.labels, self.labels, where="this decision rule")
        limit_N = np.full(len(table), self.threshold)
        for name, rows in group_rows(table, self.by):
            limit_N[rows] = self.groups.get(name, self.threshold)
        return replace(table, decisions_NL=table.probabilities >= limit_N[:, None])

    def thresholds(self, lang: str | None = None) -> np.ndarray | None:
        """Return (L,) times the one threshold."""
        limit = self.threshold if lang is None else self.groups.get(lang, self.threshold)
        return np.full(len(self.labels), limit)

    def worth(
        self, hits: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray, rejected: np.ndarray
    ) -> np.ndarray:
        """Recall; NaN without a positive."""
        positives = np.asarray(hits, dtype=np.float64) + missed
        return np.divide(hits, positives, out=np.full(positives.shape, np.nan), where=positives > 0)

    def state(self) -> dict[str, Any]:
        """Return the thresholds, and how many units stand behind the one for all."""
        return {
            "labels": list(self.labels),
            "threshold": self.threshold,
            "units": self.units,
            "groups": self.groups,
        }

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: It is nothing that a fit leaves.
        """
        labels = labels_of(state)

        def limit(value: Any, what: str) -> float:
            return number(value, what, 0.0, 1.0)

        threshold, groups = limit(state["threshold"], "threshold"), groups_of(state, limit)
        self.units = int(number(state["units"], "units", 1))
        self.labels, self.threshold, self.groups = labels, threshold, groups
        return self


def _unit_numbers(table: ScoresTable, column: str) -> np.ndarray:
    """Number the groups; a message of an unknown one is a unit of its own."""
    values = table.column(column).tolist()
    keys = [
        ("", str(row)) if value is None or value != value else ("group", str(value))
        for row, value in enumerate(values)
    ]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)
