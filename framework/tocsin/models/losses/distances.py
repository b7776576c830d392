"""Losses of distillation whose rows are independent: how far a student's vector is from its teacher's.

Axes: B sentences, D width.
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import VectorLoss

__all__ = ["CosineDistance", "MeanSquaredError", "cosine_distance", "squared_distance"]


def squared_distance(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """‖s - t‖² of each row, summed over the width, `(B,)`."""
    return (student_BD - teacher_BD).square().sum(1)


def cosine_distance(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """1 - cos(s, t) of each row, `(B,)`, 0 to 2; 1 where either is zero."""
    return 1.0 - (F.normalize(student_BD, eps=1e-6) * F.normalize(teacher_BD, eps=1e-6)).sum(1)


class MeanSquaredError(VectorLoss):
    """Squared distance of the student's vectors of both sides of a pair to the teacher's vector of the English side.

    Reimers and Gurevych (2020, arXiv 2004.09813): the mean over pairs of ‖S(s) - T(s)‖² + ‖S(t) - T(s)‖², s English and
    t its translation. With `scaling: mean` each square is divided by the width D; sentence-transformers' MSELoss takes
    the mean over the two sides as well, so it is half of that, and 1 / (2 D) of the paper's.

    The gradient of `sum` is D times that of `mean`, so that one `gradient_clip` means two things: a limit of 1 under
    `sum` cuts what a limit of 1 / D cuts under `mean`. Under `sum` a limit of 1 cuts nearly every step, and AdamW's
    averages then weigh steps alike, however wrong the student was in them; under `mean` it hardly ever cuts. Without
    clipping AdamW trains alike under both, but for its eps.

    Args:
        scaling: Over the width D: sum (the paper) or mean.
    """

    def __init__(self, scaling: Literal["sum", "mean"] = "sum") -> None:
        super().__init__()
        if scaling not in ("sum", "mean"):
            raise ConfigError(f"MeanSquaredError: scaling is {scaling!r}; wanted sum or mean.")
        self.scaling = scaling

    def forward(
        self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weighted sum of squared distances, and the number of pairs."""
        distance_B = squared_distance(student_BD.float(), teacher_BD.detach().float())
        if self.scaling == "mean":
            distance_B = distance_B / student_BD.shape[1]
        return (distance_B * weight_B).sum(), self.weight(weight_B)

    def weight(self, weight_B: Tensor) -> Tensor:
        """Pairs: half of the sides that the sentences stand for."""
        return weight_B.float().sum() / 2


class CosineDistance(VectorLoss):
    """One minus the cosine of the student's vector and its teacher's: directions are learned, lengths are not.

    The mean over the sides of pairs, 0 to 2. As in the distillation of Jasper and Stella (Zhang et al. 2024, arXiv
    2412.19048), whose "cosine loss" it is.
    """

    def forward(
        self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weighted sum of cosine distances, and the number of sides."""
        distance_B = cosine_distance(student_BD.float(), teacher_BD.detach().float())
        return (distance_B * weight_B).sum(), self.weight(weight_B)
