"""What happens to an optimiser step whose loss or gradient is not finite."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tocsin.errors import TrainingError
from tocsin.escaping import print_lines, terminal_text
from tocsin.models.averaging import AveragedWeights

__all__ = ["LastGood", "NonFinite", "NonFiniteSteps", "all_finite"]

NonFinite = Literal["stop", "skip", "restore"]


@torch.no_grad()
def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number is infinite or none at all; tensors of integers always are."""
    return all(bool(torch.isfinite(value).all()) for value in tensors if value.is_floating_point())


class NonFiniteSteps:
    """Stops a fit at such a step, or counts those skipped or restored.

    Args:
        policy: "stop", "skip" or "restore".
        max_skipped: Steps that may be skipped in a row before the fit stops all the same.
        max_restores: Times that the fit may go back to its last good state.
        restored_rate: Factor of the learning rate each time.

    Attributes:
        in_row: Steps skipped since the last good one.
        restores: Times that the fit went back.
        rate: Factor of the learning rate by now.
    """

    def __init__(
        self, policy: NonFinite, max_skipped: int, max_restores: int = 3, restored_rate: float = 0.5
    ) -> None:
        self.policy = policy
        self.max_skipped = max_skipped
        self.max_restores = max_restores
        self.restored_rate = restored_rate
        self.in_row = 0
        self.restores = 0
        self.rate = 1.0

    def may_restore(self) -> bool:
        """Whether the fit goes back once more; counts it."""
        if self.policy != "restore" or self.restores >= self.max_restores:
            return False
        self.restores += 1
        self.rate *= self.restored_rate
        return True

    def refuse(self, what: str, value: float, step: int, ids: Sequence[str], state: str) -> None:
        """Count a step that is skipped, and say so.

        Args:
            what: "loss", "gradient" or "weights".
            value: Its value.
            step: Optimiser steps before this one.
            ids: Messages of the step.
            state: What weights and checkpoints there are now, in a sentence.

        Raises:
            TrainingError: The policy is to stop, too many steps in a row were skipped, or the fit went back too often.
        """
        self.in_row += 1
        shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
        if self.policy != "skip" or self.in_row > self.max_skipped:
            before = (
                f" The fit went back {self.restores} times to a lower learning rate before."
                if self.restores
                else ""
            )
            advice = {
                "stop": ", or set non_finite to skip or restore",
                "skip": "",
                "restore": ", or look at those messages",
            }[self.policy]
            raise TrainingError(
                f"The {what} of optimiser step {step} is {value}; {state} Messages of the step: {shown}.{before} Lower "
                f"the learning rate, use precision 32{advice}."
            )
        print_lines(
            f"Skipped an optimiser step whose {what} is {value}. Its messages: {terminal_text(shown)}"
        )

    def state(self) -> dict[str, Any]:
        """What a fit goes on from, as plain data."""
        return {"in_row": self.in_row, "restores": self.restores, "rate": self.rate}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.in_row, self.restores = int(state["in_row"]), int(state["restores"])
        self.rate = float(state["rate"])


class LastGood:
    """A copy, in the host's memory, of the weights that are trained, the optimiser's state and the average.

    It takes as much memory as they do. The generator of random numbers and the position in the data go on.

    Args:
        parameters: Those that are trained.
        optimizer: Steps them.
        average: Of them; None for none.

    Attributes:
        step: Optimiser steps that the copy has seen.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        average: AveragedWeights | None,
    ) -> None:
        self.step = 0
        self._parameters = list(parameters)
        self._optimizer = optimizer
        self._average = average
        self._weights: list[Tensor] = []
        self._states: list[dict[str, Any] | None] = []
        self._kept_average: dict[str, Any] = {}

    @torch.no_grad()
    def keep(self, step: int) -> bool:
        """Copy what there is now, unless a weight is not finite.

        Args:
            step: Optimiser steps so far.

        Returns:
            Whether all weights are finite.
        """
        if not all_finite(self._parameters):
            return False
        self.step = step
        self._weights = [_copied(parameter) for parameter in self._parameters]
        states = self._optimizer.state
        self._states = [_copied(states[p]) if p in states else None for p in self._parameters]
        if self._average is not None:
            self._kept_average = _copied(self._average.exact())
        return True

    @torch.no_grad()
    def put_back(self) -> None:
        """Let weights, optimiser and average be as they were kept."""
        for parameter, weight, state in zip(self._parameters, self._weights, self._states, strict=True):
            parameter.copy_(weight)
            if state is None:
                self._optimizer.state.pop(parameter, None)
                continue
            now = self._optimizer.state[parameter]
            for name, value in state.items():
                if isinstance(value, Tensor) and isinstance(now.get(name), Tensor):
                    now[name].copy_(value)
                else:
                    now[name] = copy.deepcopy(value)
        if self._average is not None:
            self._average.take_exact(self._kept_average)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return copy.deepcopy(value)
