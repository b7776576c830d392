"""What comes between raw scores and a decision: calibrators, ensemblers and decision rules.

Each learns from a scores table with targets and turns scores tables into scores tables. What it learned is
plain data (numbers, strings, lists, dicts), so that a bundle stores it as JSON and nothing is pickled. The
table handed in is never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from tocsin.arguments import RemembersArguments
from tocsin.errors import DataError, LabelError
from tocsin.labels.schemes import check_same_labels
from tocsin.scores.metrics import decision_metrics
from tocsin.scores.table import ScoresTable

__all__ = ["Calibrator", "DecisionRule", "Ensembler"]


class _Stateful(RemembersArguments, ABC):
    """Arguments and state as plain data, shared by the three roles: a bundle builds the component and restores it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that applying it reads beside the scores, such as ("lang",). A bundle has texts and languages
        alone, so that no other column can be read there.
        """
        return ()

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what was learned as data that JSON can hold, with label names where their order matters."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state()` of the same class returned, and return self."""


class Calibrator(_Stateful):
    """Turns scores into probabilities that mean what they say. Keeps ids, targets and slices as they are."""

    def fit(self, table: ScoresTable) -> Self:
        """Learn from a labelled table; DataError for one without targets, or of a test split.

        What an earlier chain made of the scores is put aside: `learn` sees the raw ones.
        """
        _check_learnable(table)
        self.learn(table.uncalibrated())
        return self

    @abstractmethod
    def learn(self, table: ScoresTable) -> None:
        """Learn from N messages with (N, L) targets (NaN: unknown, to be left out). Called by `fit`."""

    @abstractmethod
    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with calibrated scores; LabelError for other labels than the learned ones."""


class Ensembler(_Stateful):
    """Makes one scores table out of several that hold the same messages in the same order."""

    def fit(self, tables: Sequence[ScoresTable]) -> Self:
        """Learn from labelled tables of the same messages; errors as in `Calibrator.fit` and `apply`."""
        _check_same_rows(tables)
        for table in tables:
            _check_learnable(table)
        self.learn([table.uncalibrated() for table in tables])
        return self

    def apply(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        """Return the joint table; DataError or LabelError when the tables' ids or labels differ."""
        _check_same_rows(tables)
        return self.combine([table.uncalibrated() for table in tables])

    def without(self, member: int) -> Self:
        """Return a fresh, unfitted ensembler for the same members but one, to see what that one adds.

        Args:
            member: Its number from 0. An argument that says something of each member loses what it says of this one.

        Raises:
            ConfigError: Nothing that could be combined is left. A report then leaves open what the member adds.
        """
        return type(self)(**self.arguments)

    @property
    def weight_word(self) -> str:
        """What a report calls the numbers of `member_weights`."""
        return "weight"

    def member_weights(self) -> np.ndarray | None:
        """Return (M, L) how much each member counts for each label, once fitted; None where there is no such number."""
        return None

    @abstractmethod
    def learn(self, tables: Sequence[ScoresTable]) -> None:
        """Learn how to combine. Called by `fit` with tables that agree in ids and labels."""

    @abstractmethod
    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        """Return the joint table. Called by `apply` with tables that agree in ids and labels."""


class DecisionRule(_Stateful):
    """Decides which labels a message gets: fills `decisions_NL` and leaves the scores as they are.

    Attributes:
        aim: What it is after, in a report's words; `worth` computes it.
        lower_is_better: Whether the aim is a cost; what is not lies between 0 and 1, or its intervals are plain ones.
    """

    aim: ClassVar[str] = "F1"
    lower_is_better: ClassVar[bool] = False

    @property
    def advice(self) -> str:
        """What a reader of its report must know of the aim, in a sentence; empty for nothing."""
        return ""

    def worth(
        self, hits: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray, rejected: np.ndarray
    ) -> np.ndarray:
        """Return what decisions are worth, from counts of known cells of any one shape (..., L): labels last.

        NaN where it has no meaning. Here F1, undefined without a positive and without a negative; a
        rule with another aim says its own.

        Args:
            hits: Decided on, and true.
            false_alarms: Decided on, and not true.
            missed: Decided off, and true.
            rejected: Decided off, and not true.
        """
        return decision_metrics(hits, false_alarms, missed, rejected)["f1"]

    def thresholds(self, lang: str | None = None) -> np.ndarray | None:
        """Return (L,) the probability from which each label is on, once fitted; None where there is no such number.

        Args:
            lang: For messages in this language; None for a message of which that is unknown.
        """
        return None

    def fit(self, table: ScoresTable) -> Self:
        """Learn from a labelled table; DataError for one without targets, or of a test split."""
        _check_learnable(table)
        self.learn(table)
        return self

    @abstractmethod
    def learn(self, table: ScoresTable) -> None:
        """Learn from N messages with (N, L) targets (NaN: unknown, to be left out). Called by `fit`."""

    @abstractmethod
    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with `decisions_NL`; LabelError for other labels than learned."""


def _check_learnable(table: ScoresTable) -> None:
    table.known_targets("Fitting")
    if table.metadata.get("split") == "train":
        raise DataError(
            "This scores table is of the train split (its metadata says so): a model's scores of messages that it was "
            "trained on are better than those of any other. Fit on the validation split, or on out-of-fold scores."
        )
    if table.metadata.get("split") == "test":
        raise DataError(
            "This scores table is of the test split (its metadata says so), and what is fitted on test "
            "messages cannot be judged by them. Fit on the validation split."
        )


def _check_same_rows(tables: Sequence[ScoresTable]) -> None:
    if not tables:
        raise LabelError("An ensemble needs at least one scores table; none was given.")
    for number, table in enumerate(tables[1:], start=2):
        check_same_labels(
            table.labels, tables[0].labels, where="the first", what=f"the labels of scores table {number}"
        )
        if not np.array_equal(table.ids, tables[0].ids):
            raise DataError(
                f"Scores table {number} does not hold the ids of the first one in the same order."
            )
