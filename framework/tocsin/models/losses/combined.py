"""Several losses of distillation, combined by weights."""

import math
from collections.abc import Sequence

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import VectorLoss

__all__ = ["checked_weights", "names_of"]


def checked_weights(losses: Sequence[VectorLoss], weights: Sequence[float] | None) -> list[float]:
    """The factor of each loss; 1 for each where none are given.

    Raises:
        ConfigError: No loss, another number of weights than of losses, or a weight that is not above 0.
    """
    if not losses:
        raise ConfigError("losses is empty; name at least one, or null for MeanSquaredError alone.")
    if weights is None:
        return [1.0] * len(losses)
    names = ", ".join(names_of(losses))
    if len(weights) != len(losses):
        raise ConfigError(
            f"loss_weights has {len(weights)} numbers for {len(losses)} losses ({names}); wanted one each, in "
            "their order."
        )
    for name, weight in zip(names_of(losses), weights, strict=True):
        if not 0 < weight < math.inf:
            raise ConfigError(
                f"loss_weights: {name} has the weight {weight}; wanted a number above 0. Leave a loss out to "
                "be without it."
            )
    return [float(weight) for weight in weights]


def names_of(losses: Sequence[VectorLoss]) -> list[str]:
    """What the losses are called in the logs: their classes, the second of a class with -2 behind."""
    kinds = [type(loss).__name__ for loss in losses]
    return [
        kind if kind not in kinds[:place] else f"{kind}-{kinds[: place + 1].count(kind)}"
        for place, kind in enumerate(kinds)
    ]
