"""Squared distance of sentence vectors. Axes: B sentences, D width."""

from torch import Tensor

from tocsin.plugins import VectorLoss

__all__ = ["TemplateVectorLoss"]


class TemplateVectorLoss(VectorLoss):
    """Squared distance between the student's vector and its teacher's.

    Source: Reimers and Gurevych 2020, Making Monolingual Sentence Embeddings
    Multilingual using Knowledge Distillation, arXiv 2004.09813 (there the mean over D).
    """

    def forward(
        self,
        student_BD: Tensor,
        teacher_BD: Tensor,
        weight_B: Tensor,
        english_B: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum over B and D, and the weight, never a mean."""
        differences_BD = student_BD.float() - teacher_BD.detach().float()
        distances_B = differences_BD.square().sum(1)
        return (distances_B * weight_B).sum(), self.weight(weight_B)
