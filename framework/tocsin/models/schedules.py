"""Learning-rate schedules: optimiser step -> factor of the base rate."""

import math
from abc import ABC, abstractmethod

from tocsin.arguments import RemembersArguments
from tocsin.errors import ConfigError

__all__ = ["Constant", "CosineWithWarmup", "LinearWithWarmup", "Schedule"]


class Schedule(RemembersArguments, ABC):
    """Role: optimiser steps -> factor. Sized from the real number of optimiser steps of the whole fit."""

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """Factor of the base learning rate for optimiser step `step` (from 0) of `total`, both in optimiser steps."""


class _Warmup(Schedule):
    """Linear warm-up over a share of the steps, then a decay that subclasses define."""

    def __init__(self, warmup: float = 0.1) -> None:
        if not 0.0 <= warmup < 1.0:
            raise ConfigError(
                f"{type(self).__name__}: warmup is {warmup}; wanted a share of the steps, 0 up to 1."
            )
        self.warmup = warmup

    @abstractmethod
    def decay(self, progress: float) -> float:
        """Factor after warm-up; `progress` runs from 0 to 1."""

    def factor(self, step: int, total: int) -> float:
        """Factor of the base learning rate."""
        rising = round(self.warmup * total)
        if step < rising:
            # step + 1: the first step of a warm-up would otherwise train at rate 0.
            return (step + 1) / rising
        return self.decay(min(1.0, (step - rising) / max(1, total - rising)))


class CosineWithWarmup(_Warmup):
    """Linear warm-up, then half a cosine down to 0, reached after the last step.

    Args:
        warmup: Share of all optimiser steps during which the rate rises, 0 to 1.
    """

    def __init__(self, warmup: float = 0.1) -> None:
        super().__init__(warmup)

    def decay(self, progress: float) -> float:
        """Half a cosine, 1 to 0."""
        return 0.5 * (1.0 + math.cos(math.pi * progress))


class LinearWithWarmup(_Warmup):
    """Linear warm-up, then a straight line down to 0, reached after the last step.

    Args:
        warmup: Share of all optimiser steps during which the rate rises, 0 to 1.
    """

    def __init__(self, warmup: float = 0.1) -> None:
        super().__init__(warmup)

    def decay(self, progress: float) -> float:
        """A straight line, 1 to 0."""
        return 1.0 - progress


class Constant(Schedule):
    """The base learning rate throughout."""

    def factor(self, step: int, total: int) -> float:
        """Always 1."""
        return 1.0
