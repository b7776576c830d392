"""One threshold for every label. N messages, L labels."""

from dataclasses import replace
from typing import Any, Self

from tocsin.plugins import ConfigError, DecisionRule, ScoresTable, check_same_labels

__all__ = ["TemplateDecisionRule"]


class TemplateDecisionRule(DecisionRule):
    """A label is on when its probability reaches one fixed threshold.

    Args:
        threshold: The probability from which a label is on, above 0 and below 1.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0.0 < threshold < 1.0:
            raise ConfigError(
                f"TemplateDecisionRule: threshold is {threshold}; wanted a probability above 0 "
                "and below 1, such as 0.5."
            )
        self.threshold = threshold
        self.labels: tuple[str, ...] = ()

    def learn(self, table: ScoresTable) -> None:
        """Remember the labels: a fixed threshold has nothing else to learn."""
        self.labels = table.labels

    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with decisions `(N, L)`.

        Raises:
            LabelError: The table holds other labels than those learned from.
        """
        check_same_labels(table.labels, self.labels, where="this decision rule")
        return replace(table, decisions_NL=table.probabilities >= self.threshold)

    def state(self) -> dict[str, Any]:
        """Return the threshold, and the labels it belongs to."""
        return {"threshold": self.threshold, "labels": list(self.labels)}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned."""
        self.threshold = float(state["threshold"])
        self.labels = tuple(state["labels"])
        return self
