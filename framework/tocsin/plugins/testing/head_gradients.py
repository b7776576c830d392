"""Where a head's gradients must reach, and where not. Axes: B messages, T tokens, D width, L labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tocsin.models.heads import Head
from tocsin.plugins.testing.findings import Findings

__all__ = ["COUPLED", "check_gradients", "coupled_in_training"]

COUPLED = (
    "a step is cut into passes, so a message must not see the others of its pass. Reduce over tokens (dim 1), "
    "never over messages (dim 0); nn.LayerNorm in place of nn.BatchNorm1d."
)
_TRIES = 5

Inputs = tuple[Tensor, Tensor, Tensor | None]


def check_gradients(findings: Findings, make: Callable[[], Head], inputs: Callable[[], Inputs]) -> None:
    """Check that gradients reach what the head reads, and every one of its weights.

    Args:
        findings: Takes the faults.
        make: Builds a head with other random weights each time.
        inputs: Gives other random token states, mask and pooled vector each time.
    """
    unreached: list[str] = []
    for attempt in range(_TRIES):
        head, (hidden_BTD, mask_BT, vector_BD) = make(), inputs()
        read = (hidden_BTD if vector_BD is None else vector_BD).requires_grad_()
        logits_BL = head(hidden_BTD, mask_BT, vector_BD)
        if not findings.expect(
            logits_BL.requires_grad,
            "The logits carry no gradient, so nothing would be trained: drop torch.no_grad(), .detach() and .item().",
        ):
            return
        trained = {name: weight for name, weight in head.named_parameters() if weight.requires_grad}
        of_read, *found = torch.autograd.grad(
            (logits_BL * torch.randn_like(logits_BL)).sum(), [read, *trained.values()], allow_unused=True
        )
        name = "hidden_BTD" if vector_BD is None else "vector_BD"
        if attempt == 0:
            findings.expect(
                _reached(of_read),
                f'The logits do not depend on {name}, which a head with needs = "{head.needs}" reads: the encoder '
                "would not be trained. Is it detached, or is needs the wrong word?",
            )
        before = unreached if attempt else list(trained)
        reached = {name for name, gradient in zip(trained, found, strict=True) if _reached(gradient)}
        unreached = [name for name in before if name not in reached]
        # A clamped temperature, or the bias of scores under a softmax, may have a gradient of 0 once.
        if not unreached:
            return
    them = "it" if len(unreached) == 1 else "them"
    findings.add(
        f"No gradient reaches {', '.join(unreached[:5])}: training would leave {them} as built, and several devices "
        f"would wait for {them} for ever. Use {them} in forward, or do not make {them}."
    )


def coupled_in_training(findings: Findings, head: Head, inputs: Inputs) -> bool:
    """Whether, while training, a message's logits follow another message's states; dropout does not matter so."""
    hidden_BTD, mask_BT, vector_BD = inputs
    read = (hidden_BTD if vector_BD is None else vector_BD).requires_grad_()
    logits_BL = head.train()(hidden_BTD, mask_BT, vector_BD)
    if not logits_BL.requires_grad:
        return False  # named already
    (gradient,) = torch.autograd.grad(
        (logits_BL[0] * torch.randn_like(logits_BL[0])).sum(), read, allow_unused=True
    )
    return not findings.expect(
        gradient is None or not bool(gradient[1:].any()),
        f"In training mode the first message's logits depend on the other messages; {COUPLED}",
    )


def _reached(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())
