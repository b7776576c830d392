"""Rank averaging, with ranks that are looked up among reference messages. M members, N messages, L labels, K knots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tocsin.plugins import ConfigError, DataError, ScoresTable
from tocsin_ensemble.members import Combining, logits_of

__all__ = ["RankEnsemble", "RankScale"]

_LEAST = 1e-12  # a rank stays so far from 0 and 1, so that a logit can be found for it


@dataclass(frozen=True, eq=False)
class RankScale:
    """The rank of a logit among reference logits, as a share of them, and back. It rises everywhere.

    A reference logit has its midrank: the share of the reference below it and half of what equals it. Between two the
    rank is linear; beyond the last one it nears 1 as exp(-distance / spread), beyond the first one 0 likewise, so that
    logits beyond the reference keep their order.

    Args:
        logits_K: Rising.
        ranks_K: Their midranks, rising, inside (0, 1).
        spread: Standard deviation of the reference, above 0.
    """

    logits_K: np.ndarray
    ranks_K: np.ndarray
    spread: float

    @classmethod
    def of(cls, reference_N: np.ndarray, knots: int) -> RankScale:
        """Make the scale of reference logits, thinned to at most so many knots evenly by rank, the ends kept."""
        z_K, counts_K = np.unique(reference_N, return_counts=True)
        ranks_K = (np.cumsum(counts_K) - counts_K / 2.0) / len(reference_N)
        if len(z_K) > knots:
            wanted = np.linspace(ranks_K[0], ranks_K[-1], knots)
            kept = np.unique(np.abs(np.searchsorted(ranks_K, wanted)).clip(0, len(z_K) - 1))
            z_K, ranks_K = z_K[kept], ranks_K[kept]
        spread = float(np.sort(reference_N).std())
        return cls(z_K, ranks_K, spread if spread > 1e-9 else 1.0)

    @property
    def usable(self) -> bool:
        """Whether it is one that `of` may make."""
        z_K, ranks_K = self.logits_K, self.ranks_K
        return (
            z_K.ndim == 1
            and z_K.shape == ranks_K.shape
            and len(z_K) > 0
            and bool(np.isfinite(z_K).all() and (np.diff(z_K) > 0).all() and (np.diff(ranks_K) > 0).all())
            and bool(ranks_K[0] > 0.0 and ranks_K[-1] < 1.0)
            and 0.0 < self.spread < np.inf
        )

    def ranks(self, logits: np.ndarray) -> np.ndarray:
        """Return the ranks of logits of any shape, inside (0, 1)."""
        inside = np.interp(logits, self.logits_K, self.ranks_K)
        first, last = self.logits_K[0], self.logits_K[-1]
        # minimum and maximum keep the exponents of logits that lie inside from overflowing
        below = self.ranks_K[0] * np.exp(np.minimum(logits - first, 0.0) / self.spread)
        above = 1.0 - (1.0 - self.ranks_K[-1]) * np.exp(-np.maximum(logits - last, 0.0) / self.spread)
        found = np.where(logits < first, below, np.where(logits > last, above, inside))
        return np.clip(found, _LEAST, 1.0 - _LEAST)

    def logits(self, ranks: np.ndarray) -> np.ndarray:
        """Return the logits that have these ranks."""
        inside = np.interp(ranks, self.ranks_K, self.logits_K)
        first, last = self.ranks_K[0], self.ranks_K[-1]
        below = self.logits_K[0] + self.spread * np.log(np.minimum(ranks, first) / first)
        above = self.logits_K[-1] - self.spread * np.log((1.0 - np.maximum(ranks, last)) / (1.0 - last))
        return np.where(ranks < first, below, np.where(ranks > last, above, inside))


class RankEnsemble(Combining):
    """The mean of a message's ranks with each member, for members whose scores share no scale.

    Ranks are those among the messages of the fit, whose scores are kept: a message gets the same alone and in any
    batch. The mean rank is then turned into a logit again, the mean of the logits that have this rank with the members,
    so that probabilities keep the members' level; the order is that of the mean ranks. Targets are not read.

    Args:
        knots: At most so many scores are kept of each member and label, evenly by rank; up to so many messages ranks
            are exact. At least 2.
    """

    def __init__(self, knots: int = 1000) -> None:
        super().__init__()
        if knots < 2:
            raise ConfigError(f"RankEnsemble: knots is {knots}; at least 2 are wanted, to rank between them.")
        self.knots = int(knots)
        self.scales_ML: list[list[RankScale]] = []

    def _learn(self, tables: Sequence[ScoresTable]) -> None:
        if len(tables[0]) < 2:
            raise DataError(
                f"RankEnsemble got {len(tables[0])} messages to rank among; at least 2 are wanted, and some "
                "hundreds to be of use."
            )
        self.scales_ML = [
            [RankScale.of(z_NL[:, i], self.knots) for i in range(len(self.labels))]
            for z_NL in logits_of(tables)
        ]

    def _combined(self, tables: Sequence[ScoresTable]) -> dict[str, np.ndarray]:
        z_MNL = logits_of(tables)
        joint_NL = np.empty(z_MNL.shape[1:])
        for i in range(len(self.labels)):
            scales_M = [scales_L[i] for scales_L in self.scales_ML]
            ranks_N = np.mean([scale.ranks(z_MNL[m, :, i]) for m, scale in enumerate(scales_M)], axis=0)
            joint_NL[:, i] = np.mean([scale.logits(ranks_N) for scale in scales_M], axis=0)
        return {"logits_NL": joint_NL}

    def _state(self) -> dict[str, Any]:
        return {
            "scales": [
                [
                    {
                        "logits": scale.logits_K.tolist(),
                        "ranks": scale.ranks_K.tolist(),
                        "spread": scale.spread,
                    }
                    for scale in scales_L
                ]
                for scales_L in self.scales_ML
            ]
        }

    def _restore(self, state: dict[str, Any]) -> None:
        scales_ML = [
            [
                RankScale(
                    np.asarray(plain["logits"], np.float64),
                    np.asarray(plain["ranks"], np.float64),
                    float(plain["spread"]),
                )
                for plain in scales_L
            ]
            for scales_L in state["scales"]
        ]
        # compared one by one: a list of as many as a damaged file says may be larger than the memory
        if len(scales_ML) != self.members or any(len(each) != len(self.labels) for each in scales_ML):
            raise ValueError(
                f"rank scales are not those of {self.members} members, {len(self.labels)} labels"
            )
        if not all(scale.usable for scales_L in scales_ML for scale in scales_L):
            raise ValueError("a rank scale does not rise inside (0, 1), or holds no finite logits")
        self.scales_ML = scales_ML
