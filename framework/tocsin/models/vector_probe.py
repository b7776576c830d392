"""A linear probe from a student's vectors to its teacher's, as a distillation's starting point.

Axes: B sentences, D width of the student, E width of the teacher.

Linear probing, then fine-tuning (Kumar et al. 2022, arXiv 2202.10054), for vectors: another model's space is turned and
scaled otherwise, and a student that has to walk there weight by weight forgets on the way what it knew of languages.
"""

import torch
from torch import Tensor

from tocsin.errors import TrainingError

__all__ = ["RidgeRegression"]


class RidgeRegression:
    """Weighted ridge regression of several outputs, over sentences that come in parts and are not kept.

    Minimises Σ weight ‖W x + b - y‖² + l2 ‖W std(x)‖², that is, the penalty is on standardised features.

    Args:
        width: D.
        outputs: E.
    """

    def __init__(self, width: int, outputs: int) -> None:
        self.weight = torch.zeros((), dtype=torch.float64)
        # Moments of the features, a one for the intercept among them, with themselves and with the outputs.
        self._moments = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        self._cross = torch.zeros(width + 1, outputs, dtype=torch.float64)

    def add(self, student_BD: Tensor, teacher_BE: Tensor, weight_B: Tensor) -> None:
        """Take a part of the sentences, of any float type."""
        x = student_BD.detach().double().cpu()
        x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        w = weight_B.detach().double().cpu()
        self._moments += x.T @ (x * w[:, None])
        self._cross += x.T @ (teacher_BE.detach().double().cpu() * w[:, None])
        self.weight += w.sum()

    def solve(self, l2: float) -> tuple[Tensor, Tensor]:
        """Return the matrix `(E, D)` and the intercept `(E,)`, float32.

        Raises:
            TrainingError: No sentence was taken, or the vectors are not finite.
        """
        if not self.weight > 0 or not torch.isfinite(self._moments).all():
            raise TrainingError(
                "The linear probe has no sentences with finite vectors to start from; set start_from_probe to false, "
                "or look at the student's vectors."
            )
        mean_D, mean_E = self._moments[-1, :-1] / self.weight, self._cross[-1] / self.weight
        covariance = self._moments[:-1, :-1] - self.weight * torch.outer(mean_D, mean_D)
        cross = self._cross[:-1] - self.weight * torch.outer(mean_D, mean_E)
        variance_D = (covariance.diagonal() / self.weight).clamp(min=1e-12)
        matrix = torch.linalg.solve(covariance + l2 * torch.diag(variance_D), cross).T
        return matrix.float(), (mean_E - matrix @ mean_D).float()
