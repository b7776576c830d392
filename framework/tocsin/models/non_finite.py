"""What happens to an optimiser step whose loss or gradient is not finite."""

from collections.abc import Sequence
from typing import Literal

from tocsin.errors import TrainingError
from tocsin.escaping import print_lines, terminal_text

__all__ = ["NonFiniteSteps"]


class NonFiniteSteps:
    """Stops a fit at such a step, or counts those skipped in a row.

    Args:
        policy: "stop" or "skip".
        max_skipped: Steps that may be skipped in a row before the fit stops all the same.

    Attributes:
        in_row: Steps skipped since the last good one.
    """

    def __init__(self, policy: Literal["stop", "skip"], max_skipped: int) -> None:
        self.policy = policy
        self.max_skipped = max_skipped
        self.in_row = 0

    def refuse(self, what: str, value: float, step: int, ids: Sequence[str]) -> None:
        """Count a step that is skipped, and say so.

        Args:
            what: "loss" or "gradient".
            value: Its value.
            step: Optimiser steps before this one.
            ids: Messages of the step.

        Raises:
            TrainingError: The policy is to stop, or too many steps in a row were skipped.
        """
        self.in_row += 1
        shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
        if self.policy == "stop" or self.in_row > self.max_skipped:
            raise TrainingError(
                f"The {what} of optimiser step {step} is {value}; the weights are those before it, and the "
                f"last checkpoint is good. Messages of the step: {shown}. Lower the learning rate, use precision 32, "
                "or set non_finite: skip."
            )
        print_lines(
            f"Skipped an optimiser step whose {what} is {value}. Its messages: {terminal_text(shown)}"
        )
