"""What an optimiser step worked on."""

from dataclasses import dataclass

from tocsin.batches.passes import Step

__all__ = ["StepFacts"]


@dataclass
class StepFacts:
    """What the last optimiser step worked on, over this rank.

    Args:
        messages: Messages.
        tokens: Real tokens.
        padded_tokens: Tokens that the encoder worked on: with padding, unless it packs its passes.
        passes: Passes.
    """

    messages: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    passes: int = 0

    @classmethod
    def of(cls, step: Step, packed: bool) -> "StepFacts":
        """Count a step's passes, packed by the encoder or not; a filler row is no message."""
        tokens = sum(int(part.mask_BT.sum()) for part in step.passes)
        return cls(
            messages=sum(int((part.rows_B >= 0).sum()) for part in step.passes),
            tokens=tokens,
            padded_tokens=tokens if packed else sum(part.mask_BT.numel() for part in step.passes),
            passes=len(step.passes),
        )
