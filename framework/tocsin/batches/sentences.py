"""What a distiller's optimiser step is made of. Axes: B sentences in a pass, T tokens."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

__all__ = ["PairStep", "SentencePass"]


class SentencePass(NamedTuple):
    """Sentences, of both sides of pairs, that go through the student together.

    An English sentence that several pairs of a step share stands in it once, with their number as its weight: its
    vector and its teacher's are the same for all of them.

    Args:
        input_ids_BT: The student's token ids, padded on the right, int64.
        mask_BT: 1 for a real token, 0 for padding, int64.
        english_B: Number of the English sentence whose teacher vector is the target, int64.
        weight_B: For how many sides of pairs the sentence stands, float32; 0 marks a filler that only keeps a rank in
            step.
        rows_B: Row number of the pair that a translation belongs to, int64; -1 for English sentences and fillers.
    """

    input_ids_BT: Tensor
    mask_BT: Tensor
    english_B: Tensor
    weight_B: Tensor
    rows_B: Tensor


class PairStep(NamedTuple):
    """What one rank sees in one optimiser step.

    Args:
        passes: At least one.
        pairs: Pairs of the step over all ranks.
        teacher: The teacher's vectors `(B, E)` float32 of each pass, which a Distiller adds while the step is still in
            the host's memory; empty before that.
        sides: Sides of pairs that this rank's sentences stand for, counted then, too.
        tokens: Real tokens of those sentences.
    """

    passes: list[SentencePass]
    pairs: int
    teacher: Sequence[Tensor] = ()
    sides: int = 0
    tokens: int = 0
