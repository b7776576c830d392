"""Losses of distillation, combined by weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import VectorLoss

__all__ = ["WeightedLoss", "names_of"]


@dataclass
class WeightedLoss:
    """A term of a distiller's loss.

    Args:
        loss: Over the vectors of student and teacher.
        weight: The term's factor, above 0.
    """

    loss: VectorLoss
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ConfigError(
                f"losses: {type(self.loss).__name__} has the weight {self.weight}; wanted a number above 0. Leave a "
                "term out to be without it."
            )


def names_of(losses: Sequence[WeightedLoss]) -> list[str]:
    """What the terms are called in the logs: their classes, the second of a class with -2 behind."""
    kinds = [type(term.loss).__name__ for term in losses]
    return [
        kind if kind not in kinds[:place] else f"{kind}-{kinds[: place + 1].count(kind)}"
        for place, kind in enumerate(kinds)
    ]
