"""The mean of several models. N messages, L labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tocsin.plugins import Ensembler, ScoresTable, check_same_labels

__all__ = ["TemplateEnsembler"]


class TemplateEnsembler(Ensembler):
    """The mean of the models' probabilities, each model counting the same."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()

    def learn(self, tables: Sequence[ScoresTable]) -> None:
        """Remember the labels: a mean has nothing else to learn."""
        self.labels = tables[0].labels

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        """Return the first table with mean probabilities `(N, L)`.

        Raises:
            LabelError: The tables hold other labels than those learned from.
        """
        check_same_labels(tables[0].labels, self.labels, where="this ensemble")
        mean_NL = np.mean([table.probabilities for table in tables], axis=0)
        # Decisions, where there are any, were about the first model alone.
        undecided = replace(tables[0], decisions_NL=None)
        return replace(undecided, logits_NL=None, probabilities_NL=mean_NL)

    def state(self) -> dict[str, Any]:
        """Return the labels."""
        return {"labels": list(self.labels)}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned."""
        self.labels = tuple(state["labels"])
        return self
