"""Stochastic gradient descent with momentum."""

from typing import Any

import torch

from tocsin.plugins import ConfigError, Optimizer

__all__ = ["TemplateOptimizer"]


class TemplateOptimizer(Optimizer):
    """Gradient descent with Nesterov's momentum: half the memory of AdamW.

    Args:
        lr: Base learning rate, above 0.
        momentum: Share of the last step that is taken again, above 0 and below 1.
        weight_decay: L2 penalty, 0 or more; biases, norms and embeddings take none.
    """

    def __init__(
        self,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        if not lr > 0:
            raise ConfigError(f"TemplateOptimizer: lr is {lr}; wanted above 0.")
        if not 0.0 < momentum < 1.0:
            raise ConfigError(
                f"TemplateOptimizer: momentum is {momentum}; wanted a share of the "
                "last step, above 0 and below 1, such as 0.9."
            )
        if not weight_decay >= 0:
            raise ConfigError(
                f"TemplateOptimizer: weight_decay is {weight_decay}; wanted 0 (no decay) "
                "or more, such as 0.01."
            )
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay

    def build(
        self,
        groups: list[dict[str, Any]],
        *,
        scaled_gradients: bool,
    ) -> torch.optim.Optimizer:
        """Return torch's SGD; each group says how much it decays."""
        momentum = self.momentum
        return torch.optim.SGD(groups, lr=self.lr, momentum=momentum, nesterov=True)
