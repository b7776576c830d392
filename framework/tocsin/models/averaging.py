"""Exponential moving average of the weights that are trained."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["AveragedWeights", "effective_decay"]


def effective_decay(decay: float, updates: int) -> float:
    """The decay of update number `updates` (from 0): min(`decay`, (1 + updates) / (10 + updates)).

    Early in a fit the average would otherwise hold the weights that the fit began with: at decay 0.999, still a third
    of them after 1,000 steps. TensorFlow's ExponentialMovingAverage warms up alike.
    """
    return min(decay, (1 + updates) / (10 + updates))


class AveragedWeights:
    """An average of parameters, kept in float32, that can take their place for a while.

    Only what is trained is averaged: not a table of 250,000 rows of which a fit trains some, nor buffers.

    Args:
        parameters: (name, parameter), each once; the average begins with their values.
        decay: Share of the old average that an update keeps, above 0, below 1.

    Attributes:
        updates: Updates so far.
        in_place: Whether the parameters hold the average now.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.in_place = False
        self._parameters = dict(parameters)
        self._average = {name: p.detach().float().clone() for name, p in self._parameters.items()}
        self._trained: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are after an optimiser step."""
        current = [parameter.detach().float() for parameter in self._parameters.values()]
        get_ema_multi_avg_fn(effective_decay(self.decay, self.updates))(
            list(self._average.values()), current, self.updates
        )
        self.updates += 1

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Let the parameters hold the average; twice does nothing."""
        if not self.in_place:
            self._trained = {name: p.detach().clone() for name, p in self._parameters.items()}
            self._fill(self._average)
            self.in_place = True

    @torch.no_grad()
    def take_back(self) -> None:
        """Let the parameters hold what training gave them; twice does nothing."""
        if self.in_place:
            self._fill(self._trained)
            self._trained = {}
            self.in_place = False

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights by name, in the parameters' types."""
        return {name: self._average[name].to(p.dtype) for name, p in self._parameters.items()}

    def state(self) -> dict[str, Any]:
        """What training goes on from, beside `weights()`, as plain data.

        `updates`; `trained`, the weights of the last step by name; `exact`, the averages that the parameters' types
        cannot hold (bfloat16), by name.
        """
        trained = self._trained or {name: p.detach() for name, p in self._parameters.items()}
        exact = {
            name: self._average[name] for name, p in self._parameters.items() if p.dtype != torch.float32
        }
        return {"updates": self.updates, "trained": dict(trained), "exact": exact}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the parameters, which hold the average now, hold the trained weights afterwards."""
        self.updates = int(state["updates"])
        for name, value in state["exact"].items():
            self._average[name].copy_(value)
        self._fill(state["trained"])

    def exact(self) -> dict[str, Any]:
        """The average itself, float32 by name, and its updates; not a copy."""
        return {"updates": self.updates, "average": self._average}

    @torch.no_grad()
    def take_exact(self, kept: dict[str, Any]) -> None:
        """Let the average be what `exact` gave."""
        self.updates = int(kept["updates"])
        for name, value in kept["average"].items():
            self._average[name].copy_(value)

    def _fill(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
