"""Decision rules that learn nothing: thresholds that are named, and the most probable labels. N messages, L labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tocsin.plugins import ConfigError, DecisionRule, LabelError, ScoresTable, check_same_labels, did_you_mean
from tocsin_calibration.states import labels_of

__all__ = ["FixedThreshold", "TopK"]


class FixedThreshold(DecisionRule):
    """A label is on from a probability that you name. Nothing is learned.

    Args:
        threshold: The probability, above 0 and up to 1 (1: never): one for all labels, or one a label by name.
        otherwise: For labels that `threshold` does not name.
    """

    def __init__(self, threshold: dict[str, float] | float = 0.5, otherwise: float = 0.5) -> None:
        given = [*threshold.values()] if isinstance(threshold, Mapping) else [threshold]
        for value in (*given, otherwise):
            if not 0.0 < value <= 1.0:
                raise ConfigError(
                    f"FixedThreshold: {value} was given; wanted probabilities above 0 and up to 1."
                )
        self.threshold = dict(threshold) if isinstance(threshold, Mapping) else float(threshold)
        self.otherwise = float(otherwise)
        self.labels: tuple[str, ...] = ()

    def learn(self, table: ScoresTable) -> None:
        """Remember the labels; LabelError for a threshold of a label that is not among them."""
        self._check_names(table.labels)
        self.labels = table.labels

    def _check_names(self, labels: Sequence[str]) -> None:
        unknown = (
            [name for name in self.threshold if name not in labels]
            if isinstance(self.threshold, dict)
            else []
        )
        if unknown:
            hint = did_you_mean(unknown[0], list(labels))
            raise LabelError(
                f"FixedThreshold names the label {unknown[0]!r}, which these scores have not.{hint}"
            )

    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with decisions; LabelError for other labels than learned."""
        check_same_labels(table.labels, self.labels, where="this decision rule")
        return replace(table, decisions_NL=table.probabilities >= self.thresholds())

    def thresholds(self, lang: str | None = None) -> np.ndarray | None:
        """Return (L,) what was given."""
        if isinstance(self.threshold, dict):
            return np.array([self.threshold.get(name, self.otherwise) for name in self.labels])
        return np.full(len(self.labels), self.threshold)

    def state(self) -> dict[str, Any]:
        """Return the labels: the thresholds are arguments."""
        return {"labels": list(self.labels)}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: It is nothing that a fit leaves.
            LabelError: `threshold` names a label that it has not.
        """
        labels = labels_of(state)
        self._check_names(labels)
        self.labels = labels
        return self


class TopK(DecisionRule):
    """The k most probable labels of each message are on. Nothing is learned.

    Args:
        k: How many, at most; of equally probable labels the earlier one.
        least: A label less probable than this is off all the same.
    """

    def __init__(self, k: int = 3, least: float = 0.0) -> None:
        if k < 1:
            raise ConfigError(f"TopK: k is {k}; wanted at least 1.")
        if not 0.0 <= least < 1.0:
            raise ConfigError(f"TopK: least is {least}; wanted a probability from 0 up, below 1.")
        self.k, self.least = int(k), float(least)
        self.labels: tuple[str, ...] = ()

    def learn(self, table: ScoresTable) -> None:
        """Remember the labels."""
        self.labels = table.labels

    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with decisions; LabelError for other labels than learned."""
        check_same_labels(table.labels, self.labels, where="this decision rule")
        p_NL = table.probabilities
        first = np.argsort(-p_NL, axis=1, kind="stable")[:, : self.k]
        decisions_NL = np.zeros(p_NL.shape, dtype=np.bool_)
        np.put_along_axis(decisions_NL, first, True, axis=1)
        return replace(table, decisions_NL=decisions_NL & (p_NL >= self.least))

    def state(self) -> dict[str, Any]:
        """Return the labels."""
        return {"labels": list(self.labels)}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: It is nothing that a fit leaves.
        """
        self.labels = labels_of(state)
        return self
