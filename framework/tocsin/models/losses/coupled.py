"""Losses of distillation that compare the sentences of a step with one another.

Both are exact under weights: a sentence that stands for w sides counts as w copies of it. Copies, and the two sides of
a pair, share the number of their English sentence, and are never pushed apart. Axes: B sentences, U distinct English
sentences, D width.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.losses.roles import VectorLoss

__all__ = ["Contrastive", "SpreadOut", "contrastive", "spread_out"]


def spread_out(student_BD: Tensor, weight_B: Tensor, english_B: Tensor) -> Tensor:
    """M1² + max(0, M2 - 1/D): M1 the mean, M2 the mean square of cosines of non-matching sentences; scalar.

    Rows match that have one English number; each pair of rows counts as the product of their weights. 0 where no two
    sentences differ.
    """
    unit_BD = F.normalize(student_BD, eps=1e-6)
    cosine_BB = unit_BD @ unit_BD.T
    weight_BB = weight_B[:, None] * weight_B[None] * (english_B[:, None] != english_B[None])
    total = weight_BB.sum().clamp(min=1e-12)
    mean = (cosine_BB * weight_BB).sum() / total
    square = (cosine_BB.square() * weight_BB).sum() / total
    return mean.square() + F.relu(square - 1.0 / student_BD.shape[1])


def contrastive(
    student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor, temperature: float
) -> Tensor:
    """-log softmax of each row's cosine to its own teacher's vector among the step's, over the temperature, `(B,)`.

    Each distinct English sentence of the step is a candidate once; a filler, whose weight is 0, brings none.
    """
    student_BD, teacher_BD = F.normalize(student_BD, eps=1e-6), F.normalize(teacher_BD, eps=1e-6)
    real_B = weight_B > 0
    candidates_U, inverse = torch.unique(english_B[real_B], return_inverse=True)
    first_U = torch.zeros(len(candidates_U), dtype=torch.int64, device=english_B.device)
    # Rows of one English sentence have one teacher's vector, so whichever of them is written last will do.
    first_U[inverse] = torch.nonzero(real_B)[:, 0]
    scores_BU = student_BD @ teacher_BD[first_U].T / temperature
    own_B = torch.searchsorted(candidates_U, english_B).clamp(max=max(0, len(candidates_U) - 1))
    return torch.where(real_B, F.cross_entropy(scores_BU, own_B, reduction="none"), 0.0)


class SpreadOut(VectorLoss):
    """Keeps the vectors of unrelated sentences near right angles, as random directions are. The teacher is not asked.

    Zhang, Yu, Kumar and Chang (2017, "Learning spread-out local feature descriptors", ICCV, arXiv 1708.06320):
    M1² + max(0, M2 - 1/D) over non-matching pairs of rows; used beside distillation in arXiv 2602.15547. A term to be
    added to a loss that follows the teacher.
    """

    couples_rows: ClassVar[bool] = True
    follows_teacher: ClassVar[bool] = False

    def forward(
        self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The term times the number of sides, and that number."""
        weight = self.weight(weight_B)
        with torch.autocast(student_BD.device.type, enabled=False):
            return spread_out(student_BD.float(), weight_B.float(), english_B) * weight, weight


class Contrastive(VectorLoss):
    """Each sentence finds its own English sentence's teacher vector among those of all English sentences of the step.

    InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) between student and teacher, on cosines; as in contrastive
    representation distillation (Tian et al. 2020, arXiv 1910.10699), with the step's own sentences as negatives. The
    mean over the sides of pairs. Every distinct English sentence is a candidate once, however many pairs share it: a
    copy of the right answer is no wrong one.

    Args:
        temperature: Cosines are divided by it; smaller looks harder at the nearest wrong sentences.
    """

    couples_rows: ClassVar[bool] = True

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(
                f"Contrastive: temperature is {temperature}; wanted a number above 0, such as 0.05."
            )
        self.temperature = temperature

    def forward(
        self, student_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor, english_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weighted sum of cross-entropies, and the number of sides."""
        with torch.autocast(student_BD.device.type, enabled=False):
            losses_B = contrastive(
                student_BD.float(), teacher_BD.detach().float(), weight_B, english_B, self.temperature
            )
        return (losses_B * weight_B).sum(), self.weight(weight_B)
