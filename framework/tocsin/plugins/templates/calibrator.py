"""Temperature scaling. N messages, L labels."""

from dataclasses import replace
from typing import Any, Self

import numpy as np

from tocsin.plugins import Calibrator, ConfigError, ScoresTable, check_same_labels

__all__ = ["TemplateCalibrator"]


class TemplateCalibrator(Calibrator):
    """Divides every logit by one temperature, learned by its log likelihood.

    It changes how sure the model sounds, never the order of its scores.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599
    (there for classes that exclude one another).

    Args:
        largest: Temperatures are looked for between 1 / largest and this; above 1.
    """

    def __init__(self, largest: float = 20.0) -> None:
        if not largest > 1:
            raise ConfigError(
                f"TemplateCalibrator: largest is {largest}; wanted a number above "
                "1, the largest temperature to be tried, such as 20."
            )
        self.largest = largest
        self.temperature = 1.0
        self.labels: tuple[str, ...] = ()

    def learn(self, table: ScoresTable) -> None:
        """Find the temperature under which the known targets are likeliest."""
        logits_NL, targets_NL = _logits(table), table.known_targets("Calibration")
        known_NL = ~np.isnan(targets_NL)
        logits, targets = logits_NL[known_NL], targets_NL[known_NL]
        self.labels = table.labels
        self.temperature = 1.0
        if not logits.size:
            return
        # The loss is convex in 1 / temperature: halve the interval by its slope.
        low, high = 1.0 / self.largest, self.largest
        for _ in range(60):
            middle = (low + high) / 2.0
            excess = (1.0 + np.tanh(logits * middle / 2.0)) / 2.0 - targets
            if float((excess * logits).sum()) > 0.0:
                high = middle
            else:
                low = middle
        self.temperature = 2.0 / (low + high)

    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with calibrated logits.

        Raises:
            LabelError: The table holds other labels than those learned from.
        """
        check_same_labels(table.labels, self.labels, where="this calibrator")
        logits_NL = _logits(table) / self.temperature
        return replace(table, logits_NL=logits_NL, probabilities_NL=None)

    def state(self) -> dict[str, Any]:
        """Return the temperature, and the labels it belongs to."""
        return {"temperature": self.temperature, "labels": list(self.labels)}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned."""
        self.temperature = float(state["temperature"])
        self.labels = tuple(state["labels"])
        return self


def _logits(table: ScoresTable) -> np.ndarray:
    if table.logits_NL is not None:
        return table.logits_NL.astype(np.float64)
    p_NL = table.probabilities
    return np.log(p_NL / (1.0 - p_NL))
