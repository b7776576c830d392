"""Decision rules: from which probability a label is on. N messages, L labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tocsin.plugins import ConfigError, DecisionRule, ScoresTable, check_same_labels
from tocsin_calibration.columns import (
    check_shrinkage,
    group_rows,
    known_cells,
    learning_rows,
    logit,
    sigmoid,
    weight,
)
from tocsin_calibration.states import groups_of, labels_of, numbers
from tocsin_calibration.thresholds import (
    ALWAYS,
    NEVER,
    Cuts,
    best_fbeta,
    best_shared_fbeta,
    cuts_of,
    f_beta,
    least_cost,
    precision_floor,
    recall_floor,
)

__all__ = [
    "BestF1",
    "BestFbeta",
    "LeastCost",
    "PrecisionFloor",
    "RecallFloor",
    "Thresholds",
]

CONVENTION = 0.5
"""The threshold where nothing is known of any label."""


class Thresholds(DecisionRule):
    """Base of rules with one threshold a label: what they share, the pooling.

    A label's own threshold counts n / (n + k), and the one for all labels the rest, as logits, where n is the number of
    its known positives. A language's threshold is drawn in the same way towards that of its label. NEVER is not mixed.
    """

    def __init__(self, shrinkage: float, by: str | None) -> None:
        check_shrinkage(type(self).__name__, shrinkage)
        self.shrinkage = float(shrinkage)
        self.by = by
        self.labels: tuple[str, ...] = ()
        self.limits: list[float] = []
        self.groups: dict[str, list[float]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that `by` names."""
        return () if self.by is None else (self.by,)

    @abstractmethod
    def _own(self, cuts: Cuts) -> float | None:
        """Choose a threshold for one label; None where there is nothing to choose by."""

    @abstractmethod
    def _shared(self, labels: Sequence[Cuts], pooled: Cuts) -> float | None:
        """Choose the threshold for all labels; None where there is nothing to choose by."""

    def learn(self, table: ScoresTable) -> None:
        """Choose all thresholds.

        Raises:
            DataError: There is no column that `by` names, or no known value in it.
        """
        targets_NL = table.known_targets("A decision rule")
        z_NL = logit(table.probabilities)
        self.labels = table.labels
        cuts_L = _cuts(z_NL, targets_NL)
        shared = self._shared(cuts_L, cuts_of(*known_cells(z_NL, targets_NL)))
        shared = CONVENTION if shared is None else shared
        self.limits = [self._drawn(cuts, shared) for cuts in cuts_L]
        self.groups = {
            name: [
                self._drawn(cuts, limit)
                for cuts, limit in zip(_cuts(z_NL[rows], targets_NL[rows]), self.limits, strict=True)
            ]
            for name, rows in learning_rows(table, self.by)
        }

    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with decisions.

        Raises:
            LabelError: Other labels than those learned from.
            DataError: There is no column that `by` names.
        """
        check_same_labels(table.labels, self.labels, where="this decision rule")
        p_NL = table.probabilities
        decisions_NL = p_NL >= np.array(self.limits)
        for name, rows in group_rows(table, self.by):
            if name in self.groups:
                decisions_NL[rows] = p_NL[rows] >= np.array(self.groups[name])
        return replace(table, decisions_NL=decisions_NL)

    def thresholds(self, lang: str | None = None) -> np.ndarray | None:
        """Return (L,) probabilities from which labels are on; 1 for never."""
        return np.array(self.groups.get(lang, self.limits) if lang is not None else self.limits)

    def state(self) -> dict[str, Any]:
        """Return the thresholds, of each language where there are any."""
        return {"labels": list(self.labels), "thresholds": self.limits, "groups": self.groups}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: It is nothing that a fit leaves.
        """
        labels = labels_of(state)

        def limits(value: Any, what: str) -> list[float]:
            return numbers(value, what, len(labels), ALWAYS, NEVER)

        self.limits, self.groups = limits(state["thresholds"], "thresholds"), groups_of(state, limits)
        self.labels = labels
        return self

    def _drawn(self, cuts: Cuts, towards: float) -> float:
        own = self._own(cuts)
        if own is None:
            return towards
        if own in (NEVER, ALWAYS) or towards in (NEVER, ALWAYS):
            return own
        share = weight(cuts.positives, self.shrinkage)
        return float(sigmoid(share * logit(np.array(own)) + (1.0 - share) * logit(np.array(towards))))


def _cuts(z_NL: np.ndarray, targets_NL: np.ndarray) -> list[Cuts]:
    return [cuts_of(*known_cells(z_NL[:, i], targets_NL[:, i])) for i in range(z_NL.shape[1])]


def _floor_advice(floor: float, shrinkage: float) -> str:
    # drawn towards that of all labels, a label's threshold lies beside the one that keeps the floor
    nearly = "nearly " if shrinkage else ""
    return (
        f"The floor of {floor:g} is {nearly}kept on the messages of the fit; what to expect on others is the "
        "cross-fitted figure, which may lie below it."
    )


class BestFbeta(Thresholds):
    """Thresholds with the best F-beta on the messages of the fit: above 1, beta weighs recall higher.

    A label's threshold is drawn towards the one that is best on average over all labels, n / (n + k) to the rest, where
    n is the number of its known positives.

    Args:
        beta: How many times as much recall counts as precision.
        shrinkage: k, in positives: from so many on an own threshold counts more than that for all labels.
        by: A column whose values get thresholds of their own, drawn towards their label's by the same rule: lang, or a
            slice column. null for none. In a bundle, lang alone.
    """

    aim = "F-beta"

    def __init__(self, beta: float = 2.0, shrinkage: float = 20.0, by: str | None = None) -> None:
        super().__init__(shrinkage, by)
        if not 0.0 < beta < float("inf"):
            raise ConfigError(f"{type(self).__name__}: beta is {beta}; wanted a number above 0, such as 2.")
        self.beta = float(beta)

    def _own(self, cuts: Cuts) -> float | None:
        return best_fbeta(cuts, self.beta)

    def _shared(self, labels: Sequence[Cuts], pooled: Cuts) -> float | None:
        return best_shared_fbeta(labels, self.beta)

    def worth(
        self, hits: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray, rejected: np.ndarray
    ) -> np.ndarray:
        """F-beta; NaN without a positive, and without a negative."""
        values = f_beta(hits, false_alarms, missed, self.beta)
        return np.where(np.asarray(false_alarms) + rejected > 0, values, np.nan)


class BestF1(BestFbeta):
    """Thresholds with the best F1 on the messages of the fit.

    A label's threshold is drawn towards the one that is best on average over all labels, n / (n + k) to the rest, where
    n is the number of its known positives.

    Args:
        shrinkage: k, in positives: from so many on an own threshold counts more than that for all labels.
        by: A column whose values get thresholds of their own, drawn towards their label's by the same rule: lang, or a
            slice column. null for none. In a bundle, lang alone.
    """

    aim = "F1"

    def __init__(self, shrinkage: float = 20.0, by: str | None = None) -> None:
        super().__init__(1.0, shrinkage, by)


class PrecisionFloor(Thresholds):
    """The lowest thresholds at which precision is still at least a floor: as much recall as that allows.

    A label that never reaches the floor, or has no positive to show it, is never on (threshold 1). Thresholds are not
    drawn together unless asked for: a floor that holds for all labels together need not hold for one.

    Args:
        floor: Least share of true ones among what is decided on, above 0 and below 1.
        shrinkage: As in BestF1, towards the lowest threshold at which all labels together keep the floor.
        by: As in BestF1.
    """

    aim = "precision"

    def __init__(self, floor: float = 0.8, shrinkage: float = 0.0, by: str | None = None) -> None:
        super().__init__(shrinkage, by)
        self.floor = _share("PrecisionFloor", "floor", floor)

    @property
    def advice(self) -> str:
        """That the floor is one of the messages of the fit."""
        return _floor_advice(self.floor, self.shrinkage)

    def _own(self, cuts: Cuts) -> float | None:
        return precision_floor(cuts, self.floor)

    def _shared(self, labels: Sequence[Cuts], pooled: Cuts) -> float | None:
        return precision_floor(pooled, self.floor)

    def _drawn(self, cuts: Cuts, towards: float) -> float:
        # In a language without positives nothing speaks against what holds for the label.
        return towards if self.limits and not cuts.positives else super()._drawn(cuts, towards)

    def learn(self, table: ScoresTable) -> None:
        """Choose all thresholds; errors as in the base."""
        self.limits = []
        super().learn(table)

    def worth(
        self, hits: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray, rejected: np.ndarray
    ) -> np.ndarray:
        """Precision; NaN where nothing is on."""
        on = np.asarray(hits, dtype=np.float64) + false_alarms
        return np.divide(hits, on, out=np.full(on.shape, np.nan), where=on > 0)


class RecallFloor(Thresholds):
    """The highest thresholds at which recall is still at least a floor: as few false alarms as that allows.

    A label without positives gets the threshold of all labels together. Thresholds are not drawn together unless asked
    for: a floor that holds for all labels together need not hold for one.

    Args:
        floor: Least share of the true ones that are decided on, above 0 and below 1.
        shrinkage: As in BestF1, towards the highest threshold at which all labels together keep the floor.
        by: As in BestF1.
    """

    aim = "recall"

    def __init__(self, floor: float = 0.8, shrinkage: float = 0.0, by: str | None = None) -> None:
        super().__init__(shrinkage, by)
        self.floor = _share("RecallFloor", "floor", floor)

    @property
    def advice(self) -> str:
        """That the floor is one of the messages of the fit."""
        return _floor_advice(self.floor, self.shrinkage)

    def _own(self, cuts: Cuts) -> float | None:
        return recall_floor(cuts, self.floor)

    def _shared(self, labels: Sequence[Cuts], pooled: Cuts) -> float | None:
        return recall_floor(pooled, self.floor)

    def worth(
        self, hits: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray, rejected: np.ndarray
    ) -> np.ndarray:
        """Recall; NaN without a positive."""
        positives = np.asarray(hits, dtype=np.float64) + missed
        return np.divide(hits, positives, out=np.full(positives.shape, np.nan), where=positives > 0)


class LeastCost(Thresholds):
    """Thresholds of the least cost, where a miss and a false alarm have a price.

    A label's threshold is drawn towards alarm / (alarm + miss), which is best for probabilities that mean what they say
    (Elkan 2001, The Foundations of Cost-Sensitive Learning), n / (n + k) to the rest, where n is the number of its
    known positives.

    Args:
        miss: Price of a positive decided off.
        alarm: Price of a negative decided on, in the same unit.
        shrinkage: k, in positives: from so many on an own threshold counts more than that of the prices.
        by: As in BestF1.
    """

    aim = "cost a message"
    lower_is_better = True

    def __init__(
        self, miss: float = 5.0, alarm: float = 1.0, shrinkage: float = 20.0, by: str | None = None
    ) -> None:
        super().__init__(shrinkage, by)
        if not (0.0 < miss < float("inf") and 0.0 < alarm < float("inf")):
            raise ConfigError(f"LeastCost: miss is {miss} and alarm {alarm}; wanted two prices above 0.")
        self.miss, self.alarm = float(miss), float(alarm)

    def _own(self, cuts: Cuts) -> float | None:
        return least_cost(cuts, self.miss, self.alarm) if cuts.positives else None

    def _drawn(self, cuts: Cuts, towards: float) -> float:
        own = self._own(cuts)
        # Where being off is cheapest the empirical cut is "never", from however few messages: drawn, too.
        if own is None or own < NEVER:
            return super()._drawn(cuts, towards)
        share = weight(cuts.positives, self.shrinkage)
        if share == 1.0:
            return (
                NEVER  # nothing is drawn, and a message may be as probable as what stands for "never" below
            )
        return float(sigmoid(share * logit(np.array(1.0 - 1e-7)) + (1.0 - share) * logit(np.array(towards))))

    def _shared(self, labels: Sequence[Cuts], pooled: Cuts) -> float | None:
        return self.alarm / (self.alarm + self.miss)

    def worth(
        self, hits: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray, rejected: np.ndarray
    ) -> np.ndarray:
        """Mean price of a known cell; NaN where none is known."""
        known = np.asarray(hits, dtype=np.float64) + false_alarms + missed + rejected
        price = self.miss * np.asarray(missed, dtype=np.float64) + self.alarm * false_alarms
        return np.divide(price, known, out=np.full(known.shape, np.nan), where=known > 0)


def _share(owner: str, name: str, value: float) -> float:
    if not 0.0 < value < 1.0:
        raise ConfigError(f"{owner}: {name} is {value}; wanted a share above 0 and below 1, such as 0.8.")
    return float(value)
