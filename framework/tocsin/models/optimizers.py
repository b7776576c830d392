"""Optimisers and who is decayed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from tocsin.arguments import RemembersArguments
from tocsin.errors import ConfigError

__all__ = ["AdamW", "Optimizer", "decay_by_layer", "layer_factors", "parameter_groups"]

# Functional forms of layer norms have no module to ask; every transformers encoder keeps the word in the name. Rows of
# embedding tables that never occur must not move.
_SPARED_WORDS = ("norm", "ln_", "embeddings.")


def parameter_groups(
    module: nn.Module, weight_decay: float, no_decay: Iterable[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Two parameter groups: with weight decay, and without it for biases, norms, embeddings and `no_decay`.

    Args:
        module: Its parameters that require a gradient are taken, each once.
        weight_decay: Decoupled decay of the first group, per optimiser step and unit of learning rate.
        no_decay: Further parameters that must not be decayed (an embedding table under another name).
    """
    without = {id(parameter) for parameter in no_decay}
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            lowered = name.lower()
            spared = (
                id(parameter) in without
                or lowered.endswith("bias")
                or any(w in lowered for w in _SPARED_WORDS)
            )
            (plain if spared else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def layer_factors(layers: int, decay: float) -> list[float]:
    """Factors of the learning rate by depth: embeddings first, then the layers from the bottom to the top.

    The head, above them, learns at the base rate (factor 1); each step downwards multiplies by `decay`, so that the top
    layer has `decay` and the embeddings `decay ** (layers + 1)`. Discriminative fine-tuning of Howard and Ruder (2018,
    arXiv 1801.06146), who divide by 2.6 a layer; Clark et al. (2020, arXiv 2003.10555) multiply by 0.8 or 0.9.

    Args:
        layers: Layers of the encoder.
        decay: Above 0, at most 1.
    """
    return [decay ** (layers + 1 - depth) for depth in range(layers + 1)]


def decay_by_layer(
    groups: Sequence[dict[str, Any]], by_depth: Sequence[Sequence[nn.Parameter]], decay: float
) -> tuple[list[dict[str, Any]], list[float]]:
    """Split parameter groups so that each has one factor of the learning rate.

    Args:
        groups: As `parameter_groups` gives them.
        by_depth: As an encoder's `parameters_by_depth` gives them; what is not in it (the head) has factor 1.
        decay: Factor from one layer to the one below it, above 0, at most 1.

    Returns:
        The groups, highest factor first, and the factor of each.
    """
    factors = layer_factors(len(by_depth) - 1, decay)
    factor_of = {
        id(parameter): factor
        for parameters, factor in zip(by_depth, factors, strict=True)
        for parameter in parameters
    }
    split: list[tuple[float, dict[str, Any]]] = []
    for group in groups:
        found: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            found.setdefault(factor_of.get(id(parameter), 1.0), []).append(parameter)
        split += [(factor, {**group, "params": parameters}) for factor, parameters in found.items()]
    split.sort(key=lambda pair: -pair[0])
    return [group for _, group in split], [factor for factor, _ in split]


class Optimizer(RemembersArguments, ABC):
    """Role: parameter groups -> a torch optimiser. `weight_decay` is read by the model when it makes the groups."""

    weight_decay: float

    @abstractmethod
    def build(self, groups: list[dict[str, Any]], *, scaled_gradients: bool) -> torch.optim.Optimizer:
        """Make the optimiser.

        Args:
            groups: As `parameter_groups` gives them.
            scaled_gradients: Gradients pass through a float16 scaler before the step.
        """


class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), without decay on biases, norms and embeddings.

    Args:
        lr: Base learning rate.
        weight_decay: Decoupled weight decay per optimiser step, times the learning rate.
        beta1: Decay of the mean of gradients, 0 to 1.
        beta2: Decay of the mean of squared gradients, 0 to 1.
        eps: Added to the denominator.
    """

    def __init__(
        self,
        lr: float = 5e-5,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        if not lr > 0:
            raise ConfigError(f"AdamW: lr is {lr}; wanted a number above 0, such as 5.0e-5.")
        if weight_decay < 0:
            raise ConfigError(f"AdamW: weight_decay is {weight_decay}; wanted 0 or more.")
        self.lr, self.weight_decay, self.betas, self.eps = lr, weight_decay, (beta1, beta2), eps

    def build(self, groups: list[dict[str, Any]], *, scaled_gradients: bool) -> torch.optim.Optimizer:
        """torch's AdamW, fused except under a float16 scaler.

        Fused takes a sixth of the time of the plain loop on a CPU. Under a scaler it unscales inside the step, after
        the clipping would have seen scaled gradients, which Lightning refuses.
        """
        return torch.optim.AdamW(
            groups,
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=not scaled_gradients,
        )
