"""Means of the members' scores, with equal, given or fitted weights. M members, N messages, L labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from tocsin.plugins import ConfigError, ScoresTable
from tocsin_ensemble.fits import fit_weights
from tocsin_ensemble.members import Combining, check_shrinkage, known_cells, logits_of, rarer, weight

__all__ = ["MeanEnsemble", "WeightedEnsemble"]


class _Mean(Combining):
    """A mean of logits or probabilities by weights `(L, M)` that are not below 0 and sum to 1 for each label."""

    def __init__(self, of: str) -> None:
        super().__init__()
        if of not in ("logits", "probabilities"):
            raise ConfigError(
                f"{type(self).__name__}: of is {of!r}; wanted logits or probabilities, what the mean is taken of."
            )
        self.of = of
        self.weights_LM = np.empty((0, 0))

    def member_weights(self) -> np.ndarray:
        """Return (M, L) how much each member counts for each label."""
        return self.weights_LM.T

    def _scores(self, tables: Sequence[ScoresTable]) -> np.ndarray:
        """(M, N, L)"""
        if self.of == "logits":
            return logits_of(tables)
        return np.stack([table.probabilities for table in tables])

    def _combined(self, tables: Sequence[ScoresTable]) -> dict[str, np.ndarray]:
        # member by member, so that a message gets the same to the last digit in any batch
        joint_NL = sum(scores_NL * self.weights_LM[:, m] for m, scores_NL in enumerate(self._scores(tables)))
        assert isinstance(joint_NL, np.ndarray)
        return {"logits_NL" if self.of == "logits" else "probabilities_NL": joint_NL}

    def _state(self) -> dict[str, Any]:
        return {"weights": self.weights_LM.tolist()}

    def _restore(self, state: dict[str, Any]) -> None:
        weights_LM = np.asarray(state["weights"], dtype=np.float64)
        if weights_LM.shape != (len(self.labels), self.members):
            raise ValueError(
                f"weights of shape {weights_LM.shape} for {len(self.labels)} labels, {self.members} members"
            )
        if not ((weights_LM >= 0.0).all() and np.allclose(weights_LM.sum(axis=1), 1.0)):
            raise ValueError("weights are below 0, or do not sum to 1 for each label")
        self.weights_LM = weights_LM


class MeanEnsemble(_Mean):
    """The mean of the members' logits or probabilities; nothing is learned.

    Args:
        of: logits (the default; a member that is very sure counts more) or probabilities (each member's vote is
            bounded).
        weights: How much each member counts, one number a member in their order, none below 0; they need not sum to 1.
            null: all alike.
    """

    def __init__(
        self, of: Literal["logits", "probabilities"] = "logits", weights: list[float] | None = None
    ) -> None:
        super().__init__(of)
        if weights is not None and (
            not weights
            or not all(0.0 <= each < float("inf") for each in weights)
            or not 0.0 < sum(weights) < float("inf")
        ):
            raise ConfigError(
                f"MeanEnsemble: weights are {weights}; wanted one number a member, none below 0 and not all 0."
            )
        self.weights = weights

    def without(self, member: int) -> Self:
        """Return a fresh ensembler for the same members but one, whose weight goes with it.

        Raises:
            ConfigError: No weight above 0 is left.
        """
        if self.weights is None:
            return super().without(member)
        left = [each for number, each in enumerate(self.weights) if number != member]
        return type(self)(**{**self.arguments, "weights": left})

    def _learn(self, tables: Sequence[ScoresTable]) -> None:
        if self.weights is not None and len(self.weights) != len(tables):
            raise ConfigError(
                f"MeanEnsemble: {len(self.weights)} weights were given for {len(tables)} members; one each is wanted."
            )
        given_M = np.ones(len(tables)) if self.weights is None else np.asarray(self.weights, np.float64)
        self.weights_LM = np.tile(given_M / given_M.sum(), (len(self.labels), 1))


class WeightedEnsemble(_Mean):
    """The mean by the weights that have the least log loss on the rows it is fitted on, none below 0, of sum 1.

    Unknown targets are left out. The common weights are fitted to the cells of all labels together. With `per_label`
    a label's own weights count n / (n + k) and the common ones the rest, where n is the number of its known positives
    or negatives, whichever is less. Where targets are all alike, or none is known, a label has no weights of its own;
    where that holds for all cells together, members count alike.

    Args:
        of: logits or probabilities: what the mean is taken of.
        per_label: Whether each label gets weights of its own, drawn towards the common ones.
        shrinkage: k, in messages: from so many positives on a label's own weights count more than the common ones. 0:
            each label on its own. Without `per_label` it does nothing.
    """

    def __init__(
        self,
        of: Literal["logits", "probabilities"] = "logits",
        per_label: bool = False,
        shrinkage: float = 20.0,
    ) -> None:
        super().__init__(of)
        check_shrinkage("WeightedEnsemble", shrinkage)
        self.per_label = per_label
        self.shrinkage = float(shrinkage)

    def _learn(self, tables: Sequence[ScoresTable]) -> None:
        targets_NL = tables[0].known_targets("An ensemble")
        scores_MNL = self._scores(tables)
        cells = [known_cells(scores_MNL[:, :, i], targets_NL[:, i]) for i in range(len(self.labels))]
        pooled_nM, pooled_n = (np.concatenate(parts) for parts in zip(*cells, strict=True))
        common_M = np.full(len(tables), 1.0 / len(tables))
        if rarer(pooled_n):
            common_M = fit_weights(pooled_nM, pooled_n, logits=self.of == "logits")
        self.weights_LM = np.tile(common_M, (len(self.labels), 1))
        if not self.per_label:
            return
        for i, (scores_nM, y_n) in enumerate(cells):
            share = weight(rarer(y_n), self.shrinkage)
            if share:
                own_M = fit_weights(scores_nM, y_n, logits=self.of == "logits")
                self.weights_LM[i] = share * own_M + (1.0 - share) * common_M
