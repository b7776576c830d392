"""Distribution-balanced loss. Axes: B messages, N messages of the training split, L labels."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import Loss, known_sum, without_nulls

__all__ = [
    "DistributionBalancedLoss",
    "label_statistics",
    "negative_tolerant_cross_entropy",
    "rebalancing_weights",
]


def label_statistics(targets_NL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count what the loss wants to know of the training targets.

    Args:
        targets_NL: In [0, 1], NaN where unknown; a soft target counts as that share of a positive.

    Returns:
        Positives of each label, at least 1, and the logit of each label's share of positives among the messages where
        it is known, `(L,)` float64 each. A label that is never or always on counts half a message otherwise, so that
        the logit is finite; a label that is never known has the logit 0.
    """
    positives_L = np.nansum(targets_NL, axis=0, dtype=np.float64)
    known_L = np.count_nonzero(~np.isnan(targets_NL), axis=0).astype(np.float64)
    on_L = np.clip(positives_L, 0.5, np.maximum(known_L - 0.5, 0.5))
    off_L = np.maximum(known_L - on_L, 0.5)
    return np.maximum(positives_L, 1.0), np.log(on_L) - np.log(off_L)


def rebalancing_weights(
    targets_BL: Tensor, positives_L: Tensor, alpha: float, beta: float, mu: float
) -> Tensor:
    """Re-balancing weights `(B, L)` of Wu et al. (2020, arXiv 2007.09654): alpha + sigmoid(beta (r - mu)).

    r is how often a message would be drawn if each label were drawn alike and its messages alike, as far as this label
    is concerned (1/n of the label), over how often its positive labels draw it together (the sum of their 1/n).

    Args:
        targets_BL: In [0, 1], 0 where the label is null.
        positives_L: n, positives of each label in the training split, above 0.
        alpha: Smallest weight.
        beta: Steepness.
        mu: r at which a weight is half-way.
    """
    rarity_L = 1.0 / positives_L
    # A message without positive labels is never drawn for one: r is then infinite, and its weights are the largest.
    repeated_B1 = (targets_BL * rarity_L).sum(1, keepdim=True)
    ratio_BL = rarity_L / repeated_B1.clamp(min=torch.finfo(targets_BL.dtype).tiny)
    return alpha + torch.sigmoid(beta * (ratio_BL - mu))


def negative_tolerant_cross_entropy(
    logits_BL: Tensor, targets_BL: Tensor, bias_L: Tensor, negative_scale: float
) -> Tensor:
    """One loss a message and label, `(B, L)`: negatives tolerated as in Wu et al. (2020, arXiv 2007.09654).

    y log(1 + exp(-(z - v))) + (1 - y) / s log(1 + exp(s (z - v))) with the logit z.

    Args:
        logits_BL: z.
        targets_BL: y, in [0, 1].
        bias_L: v, above 0 for rare labels.
        negative_scale: s: above 1 the gradient of a negative falls faster once its logit is below v.
    """
    shifted_BL = logits_BL - bias_L
    positive_BL = F.softplus(-shifted_BL)
    negative_BL = F.softplus(negative_scale * shifted_BL) / negative_scale
    return targets_BL * positive_BL + (1.0 - targets_BL) * negative_BL


class DistributionBalancedLoss(Loss):
    """Distribution-balanced loss (Wu et al. 2020, arXiv 2007.09654), for long-tailed labels that occur together.

    Each label of a message is weighted by how rare it is among the message's positive labels, and negatives are
    tolerated: the logits of rare labels are shifted by their prior, and a negative that is well below stops pulling.
    Counts come from the training split; null labels count neither there nor in a message's weights. Averaged over all
    known labels of a step. Soft targets in [0, 1] are taken as that share of a positive and the rest of a negative, but
    the loss is not least where the probability equals the target: to learn a teacher's probabilities, take
    BinaryCrossEntropy. Probabilities want calibration.

    Args:
        alpha: Smallest weight of a label in a message, 0 or more; the largest is alpha + 1.
        beta: Steepness of the weights' sigmoid, above 0.
        mu: Rarity, as a share of that of all positive labels of the message, from 0, at which the weight is
            alpha + 1/2.
        negative_scale: Factor of negatives' logits (lambda in the paper), 1 or more; 1 treats them as positives.
        prior_scale: Share of the prior's logit by which logits are shifted (kappa in the paper), 0 or more; 0 for none.
            The authors' code divides it by `negative_scale`.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.2,
        negative_scale: float = 2.0,
        prior_scale: float = 0.05,
    ) -> None:
        super().__init__()
        for name, value, least, strict in (
            ("alpha", alpha, 0.0, False),
            ("beta", beta, 0.0, True),
            ("mu", mu, 0.0, False),
            ("negative_scale", negative_scale, 1.0, False),
            ("prior_scale", prior_scale, 0.0, False),
        ):
            if not (value > least if strict else value >= least) or value == float("inf"):
                wanted = f"a number above {least:g}" if strict else f"a number from {least:g}"
                raise ConfigError(f"DistributionBalancedLoss: {name} is {value}; wanted {wanted}.")
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.negative_scale, self.prior_scale = negative_scale, prior_scale
        self.register_buffer("positives_L", None)
        self.register_buffer("prior_logit_L", None)
        self.positives_L: Tensor | None
        self.prior_logit_L: Tensor | None

    def prepare(self, targets_NL: np.ndarray) -> None:
        """Count positives and priors in the training targets."""
        positives_L, logit_L = label_statistics(targets_NL)
        self.positives_L = torch.tensor(positives_L, dtype=torch.float32)
        self.prior_logit_L = torch.tensor(logit_L, dtype=torch.float32)

    def forward(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over known labels and their number.

        Raises:
            ConfigError: `prepare` has not seen training targets.
        """
        if self.positives_L is None or self.prior_logit_L is None:
            raise ConfigError(
                "DistributionBalancedLoss has counted no training targets yet: fit on data that serve them "
                "(LabelledMessages), load a checkpoint of such a fit, or call prepare(targets_NL)."
            )
        logits, targets, known_BL = without_nulls(logits_BL, targets_BL, mask_BL)
        weights_BL = rebalancing_weights(targets, self.positives_L, self.alpha, self.beta, self.mu)
        bias_L = -self.prior_scale * self.prior_logit_L
        losses_BL = negative_tolerant_cross_entropy(logits, targets, bias_L, self.negative_scale)
        return known_sum(weights_BL * losses_BL, known_BL), self.weight(targets_BL, mask_BL)
