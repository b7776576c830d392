"""What ensemblers read of their members' tables. M members, N messages, L labels, n known cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tocsin.plugins import ConfigError, DataError, Ensembler, ScoresTable, check_same_labels

__all__ = ["Combining", "check_shrinkage", "known_cells", "logit", "logits_of", "rarer", "sigmoid", "weight"]

_FAR = 40.0  # a logit further out says nothing more


class Combining(Ensembler):
    """What the ensemblers share: labels and the number of members are remembered, and asked for when applied."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()
        self.members = 0

    def learn(self, tables: Sequence[ScoresTable]) -> None:
        """Learn how to combine."""
        self.labels = tables[0].labels
        self.members = len(tables)
        self._learn(tables)

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        """Return the first table with joint scores.

        Raises:
            LabelError: Other labels than those learned from.
            DataError: Another number of members.
        """
        check_same_labels(tables[0].labels, self.labels, where="this ensemble")
        if len(tables) != self.members:
            raise DataError(
                f"{type(self).__name__} was fitted for {self.members} members and got the scores of {len(tables)}; "
                "those of the same members, in the same order, are wanted."
            )
        scores: dict[str, Any] = {"logits_NL": None, "probabilities_NL": None, **self._combined(tables)}
        return replace(tables[0].uncalibrated(), **scores)

    def state(self) -> dict[str, Any]:
        """Return labels, the number of members, and what was learned."""
        return {"labels": list(self.labels), "members": self.members, **self._state()}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned."""
        self.labels, self.members = tuple(state["labels"]), int(state["members"])
        self._restore(state)
        return self

    @abstractmethod
    def _learn(self, tables: Sequence[ScoresTable]) -> None:
        """Learn from M tables of the same messages."""

    @abstractmethod
    def _combined(self, tables: Sequence[ScoresTable]) -> dict[str, np.ndarray]:
        """Give `logits_NL` or `probabilities_NL` of the joint table."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Give what `_learn` learned, as plain data."""

    @abstractmethod
    def _restore(self, state: dict[str, Any]) -> None:
        """Take over what `_state` returned."""


def logit(probabilities: np.ndarray) -> np.ndarray:
    """Return log p / (1 - p) of probabilities inside (0, 1), float64."""
    p = np.asarray(probabilities, dtype=np.float64)
    return np.log(p) - np.log1p(-p)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits, float64."""
    return (1.0 + np.tanh(np.asarray(logits, dtype=np.float64) / 2.0)) / 2.0


def logits_of(tables: Sequence[ScoresTable]) -> np.ndarray:
    """Return (M, N, L) float64 logits, of probabilities where a table has these; at most 40 from 0."""
    return np.stack(
        [
            logit(table.probabilities)
            if table.logits_NL is None
            else np.clip(table.logits_NL.astype(np.float64), -_FAR, _FAR)
            for table in tables
        ]
    )


def known_cells(scores_MN: np.ndarray, targets_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (n, M) and 0/1 targets (n,) of a label's known cells, sorted by both.

    Sums over them then do not depend on the order of the messages, not even in the last digit.
    """
    known = ~np.isnan(targets_N)
    z_Mn, y_n = scores_MN[:, known].astype(np.float64), targets_N[known].astype(np.float64)
    order = np.lexsort((y_n, *z_Mn))
    return np.ascontiguousarray(z_Mn.T[order]), y_n[order]


def weight(seen: int, shrinkage: float) -> float:
    """Return how much an own fit counts against the one it is drawn towards: n / (n + k), 0 for n = 0."""
    return seen / (seen + shrinkage) if seen else 0.0


def rarer(y_n: np.ndarray) -> int:
    """Return the number of positives or negatives, whichever is less."""
    return int(min(y_n.sum(), len(y_n) - y_n.sum()))


def check_shrinkage(owner: str, shrinkage: float) -> None:
    """Raise ConfigError for a shrinkage that is no number from 0 up."""
    if not 0.0 <= shrinkage < float("inf"):
        raise ConfigError(
            f"{owner}: shrinkage is {shrinkage}; wanted a number from 0 up: so many positives count as much as the fit "
            "over all labels."
        )
