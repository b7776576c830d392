"""Stacking: a regression over the members' logits. M members, N messages, L labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tocsin.plugins import ConfigError, ScoresTable
from tocsin_ensemble.fits import fit_logistic
from tocsin_ensemble.members import Combining, check_shrinkage, known_cells, logits_of, rarer, weight

__all__ = ["StackingEnsemble"]


class StackingEnsemble(Combining):
    """A logistic regression a label over the members' logits: slopes, which may be below 0, and an intercept.

    It must be fitted on out-of-fold scores, those of messages that no member was trained on: else the member that knows
    its training messages by heart gets all the weight. The validation tables of fits are such scores, as long as no
    member trained on the validation split; one whose checkpoint or penalty was chosen by it looks a little better there
    than it is. (Wolpert 1992, Stacked generalization.)

    A label's regression counts n / (n + k), the one over the cells of all labels the rest, where n is the number of its
    known positives or negatives, whichever is less. Where targets are all alike, or none is known, a label has no
    regression of its own; where that holds for all cells together, the result is the mean of logits.

    Args:
        l2: Penalty, half of it times the sum of squared slopes added to the sum of log losses: 1 / C of scikit-learn's
            LogisticRegression. Above 0.
        shrinkage: k, in messages: from so many positives on a label's own regression counts more than the common one.
            0: each label on its own.
    """

    def __init__(self, l2: float = 1.0, shrinkage: float = 20.0) -> None:
        super().__init__()
        check_shrinkage("StackingEnsemble", shrinkage)
        if not 0.0 < l2 < float("inf"):
            raise ConfigError(
                f"StackingEnsemble: l2 is {l2}; wanted a number above 0. Without a penalty a label that the members "
                "separate would get endless slopes."
            )
        self.l2 = float(l2)
        self.shrinkage = float(shrinkage)
        self.slopes_LM = np.empty((0, 0))
        self.intercepts_L = np.empty(0)

    def _learn(self, tables: Sequence[ScoresTable]) -> None:
        targets_NL = tables[0].known_targets("Stacking")
        z_MNL = logits_of(tables)
        cells = [known_cells(z_MNL[:, :, i], targets_NL[:, i]) for i in range(len(self.labels))]
        pooled_nM, pooled_n = (np.concatenate(parts) for parts in zip(*cells, strict=True))
        common = np.append(np.full(len(tables), 1.0 / len(tables)), 0.0)
        if rarer(pooled_n):
            common = fit_logistic(pooled_nM, pooled_n, self.l2)
        fits = np.tile(common, (len(self.labels), 1))
        for i, (z_nM, y_n) in enumerate(cells):
            share = weight(rarer(y_n), self.shrinkage)
            if share:
                fits[i] = share * fit_logistic(z_nM, y_n, self.l2) + (1.0 - share) * common
        self.slopes_LM, self.intercepts_L = fits[:, :-1], fits[:, -1]

    @property
    def weight_word(self) -> str:
        """A slope: of logits, of any sign and sum."""
        return "slope"

    def member_weights(self) -> np.ndarray:
        """Return (M, L) the slope of each member for each label."""
        return self.slopes_LM.T

    def _combined(self, tables: Sequence[ScoresTable]) -> dict[str, np.ndarray]:
        joint_NL = np.tile(self.intercepts_L, (len(tables[0]), 1))
        for m, z_NL in enumerate(logits_of(tables)):
            joint_NL += z_NL * self.slopes_LM[:, m]
        return {"logits_NL": joint_NL}

    def _state(self) -> dict[str, Any]:
        return {"slopes": self.slopes_LM.tolist(), "intercepts": self.intercepts_L.tolist()}

    def _restore(self, state: dict[str, Any]) -> None:
        slopes_LM = np.asarray(state["slopes"], dtype=np.float64)
        intercepts_L = np.asarray(state["intercepts"], dtype=np.float64)
        if slopes_LM.shape != (len(self.labels), self.members) or intercepts_L.shape != (len(self.labels),):
            raise ValueError(
                f"slopes of shape {slopes_LM.shape} and {intercepts_L.size} intercepts for {len(self.labels)} labels, "
                f"{self.members} members"
            )
        if not (np.isfinite(slopes_LM).all() and np.isfinite(intercepts_L).all()):
            raise ValueError("slopes or intercepts are not finite")
        self.slopes_LM, self.intercepts_L = slopes_LM, intercepts_L
