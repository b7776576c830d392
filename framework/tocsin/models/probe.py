"""A linear probe on frozen vectors, as a head's starting point. Axes: N messages, F features, L labels.

Linear probing, then fine-tuning (Kumar et al. 2022, arXiv 2202.10054): a fresh head's first gradients are large and
wrong, and distort what the encoder had learned; a head that starts from the probe leaves it where it is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tocsin.errors import TrainingError
from tocsin.models.heads import FeatureHead
from tocsin.models.losses import Loss

__all__ = ["fit_probe", "start_at_probe"]


def fit_probe(
    features_NF: Tensor,
    targets_NL: Tensor,
    known_NL: Tensor,
    loss: Loss,
    l2: float,
    max_iterations: int = 200,
) -> tuple[Tensor, Tensor]:
    """Fit one linear layer by L-BFGS on the model's own loss.

    Minimises the loss summed over known labels plus `l2`/2 times the squared weights on standardised features: for
    binary cross-entropy that is L logistic regressions with C = 1/`l2`.

    Args:
        features_NF: What the output layer will see; any float dtype.
        targets_NL: In [0, 1], no NaN.
        known_NL: 1 where the label is known.
        loss: Not one that couples rows.
        l2: Strength of the penalty; positive.
        max_iterations: Of L-BFGS.

    Returns:
        `(L, F)` weights and `(L,)` biases that apply to the features as given (standardisation folded in).

    Raises:
        TrainingError: The fit did not end in finite numbers.
    """
    features = features_NF.float()
    mean_F, std_F = features.mean(0), features.std(0, unbiased=False).clamp(min=1e-6)
    features = (features - mean_F) / std_F
    weight = torch.zeros(targets_NL.shape[1], features.shape[1], device=features.device, requires_grad=True)
    # From the prior's logit: labels differ by two orders of magnitude in frequency.
    positives, known = (targets_NL * known_NL).sum(0), known_NL.sum(0)
    share = ((positives + 0.5) / (known + 1.0)).clamp(1e-4, 1 - 1e-4)
    bias = torch.logit(share).to(features.device).detach().requires_grad_(True)
    # The strong Wolfe search wants a scale near one; the sum over N messages would not have it.
    scale = 1.0 / max(1, len(features))
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iterations,
        history_size=20,
        tolerance_grad=1e-7,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        total, _ = loss(torch.nn.functional.linear(features, weight, bias), targets_NL, known_NL)
        objective = (total + 0.5 * l2 * weight.square().sum()) * scale
        objective.backward()
        return objective

    with torch.enable_grad():
        optimizer.step(closure)
    folded = (weight / std_F).detach()
    shifted = (bias - folded @ mean_F).detach()
    if not (torch.isfinite(folded).all() and torch.isfinite(shifted).all()):
        raise TrainingError(
            "The linear probe did not end in finite numbers; raise probe_l2, or look at the encoder's vectors."
        )
    return folded, shifted


def start_at_probe(
    head: FeatureHead,
    features_NF: Tensor,
    targets_NL: np.ndarray,
    loss: Loss,
    l2: float,
    broadcast: Callable[[Any], Any],
) -> None:
    """Set a head's output layer to the probe of what that layer sees.

    Args:
        head: Built, on its device.
        features_NF: What the head reads of each training message.
        targets_NL: In [0, 1], NaN where unknown.
        loss: Not one that couples rows.
        l2: Strength of the penalty; positive.
        broadcast: Gives every rank what the first one has.
    """
    known_NL = ~np.isnan(targets_NL)
    head.open_for_probe()
    device = next(head.parameters()).device
    with torch.no_grad():
        penultimate_NF = head.penultimate(features_NF.to(device))
    weight, bias = fit_probe(
        penultimate_NF,
        torch.from_numpy(np.where(known_NL, targets_NL, 0.0).astype(np.float32)).to(device),
        torch.from_numpy(known_NL.astype(np.float32)).to(device),
        loss,
        l2,
    )
    # One rank's numbers for all: L-BFGS need not end on the same bits on different machines.
    state = broadcast([weight.cpu(), bias.cpu()])
    head.set_output(state[0].to(device), state[1].to(device))
