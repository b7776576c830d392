"""Simulated scores tables whose figures are known: what a share of 95% intervals must hold.

A label is on with its share as chance. Its score is normal with variance 1 and mean 0, or `skill` where it is on, so
that the probability that it is on, given the score x, has the logit

    logit(share) + skill x - skill² / 2

A model gives this logit times `sharpness`: 1 is calibrated, more is overconfident. All figures of endless messages
follow from the normal distribution by sums over a fine grid: by other code than that which is tested.

In grouped tables the messages of a group share part of their scores and of their labels, and the groups differ in size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom

from tocsin.scores.probabilities import BINS
from tocsin.scores.table import ScoresTable


@dataclass(frozen=True)
class World:
    """What tables are drawn from.

    Args:
        shares: Chance of each label.
        skill: Distance of the two means of a label's scores.
        sharpness: By what a calibrated logit is multiplied.
        messages: Of a table.
        grouped: Whether they come in groups of 1 to 5, half of all variance shared.
    """

    shares: tuple[float, ...] = (0.3, 0.15)
    skill: float = 1.2
    sharpness: float = 1.4
    messages: int = 400
    grouped: bool = False

    def draw(self, seed: int, models: int = 1) -> list[ScoresTable]:
        """Tables of `models` equally skilled models on the same messages; the column `event` holds the groups."""
        generator = np.random.default_rng(seed)
        shares = np.array(self.shares)
        sizes = generator.integers(1, 6, self.messages) if self.grouped else np.ones(self.messages, int)
        groups = np.repeat(np.arange(self.messages), sizes)[: self.messages]
        shared = np.sqrt(0.5) if self.grouped else 0.0
        own = np.sqrt(1 - shared**2)

        def normal() -> np.ndarray:
            between = generator.normal(size=(self.messages, len(shares)))[groups]
            return shared * between + own * generator.normal(size=between.shape)

        targets = normal() < ndtri(shares)
        tables = []
        for _ in range(models):
            logits = np.log(shares / (1 - shares)) + self.skill * (normal() + self.skill * targets)
            tables.append(
                ScoresTable(
                    ids=np.arange(self.messages),
                    labels=tuple(f"label {i}" for i in range(len(shares))),
                    logits_NL=self.sharpness * (logits - self.skill**2 / 2),
                    targets_NL=targets,
                    slices={"event": groups},
                )
            )
        return tables

    def truth(self) -> dict[str, float]:
        """The figures of endless messages."""
        x = np.linspace(-9.0, 9.0 + self.skill, 40_001)
        by_label = [self._of_label(share, x) for share in self.shares]
        found = {f"macro_{name}": float(np.mean([one[name] for one in by_label])) for name in by_label[0]}
        # all cells pooled: mixtures over labels, on a grid of logits
        z = np.linspace(-40.0, 40.0, 40_001)
        shares = np.array(self.shares)
        offset = np.log(shares / (1 - shares)) - self.skill**2 / 2
        at = (z[:, None] / self.sharpness - offset) / self.skill
        on = (ndtr(self.skill - at) * shares).sum(axis=1) / shares.sum()
        off = (ndtr(-at) * (1 - shares)).sum(axis=1) / (1 - shares).sum()
        found |= {f"micro_{name}": value for name, value in _ranks(shares.mean(), on, off).items()}
        return found

    def _of_label(self, share: float, x: np.ndarray) -> dict[str, float]:
        on, off = ndtr(self.skill - x), ndtr(-x)
        logit = np.log(share / (1 - share)) + self.skill * x - self.skill**2 / 2
        says, holds = expit(self.sharpness * logit), expit(logit)
        edge = (self.skill**2 / 2 - np.log(share / (1 - share))) / self.skill
        hits, alarms = share * ndtr(self.skill - edge), (1 - share) * ndtr(-edge)
        mass = -np.diff(share * on + (1 - share) * off)
        middle = slice(None, -1)
        says, holds = says[middle], holds[middle]
        bins = np.minimum((np.cumsum(mass) * BINS).astype(int), BINS - 1)
        counts = np.bincount(bins, mass)
        gap = np.bincount(bins, mass * (says - holds)) / counts
        return {
            **_ranks(share, on, off),
            "f1": 2 * hits / (hits + alarms + share),
            "precision": hits / (hits + alarms),
            "recall": hits / share,
            "brier": float(mass @ (holds * (1 - says) ** 2 + (1 - holds) * says**2)),
            "log_loss": float(-mass @ (holds * np.log(says) + (1 - holds) * np.log(1 - says))),
            "calibration_error": float(np.sqrt(counts @ gap**2)),
        }


def _ranks(share: float, on: np.ndarray, off: np.ndarray) -> dict[str, float]:
    """ROC-AUC and average precision from the shares of positives and negatives above falling to rising scores."""
    precision = share * on / np.maximum(share * on + (1 - share) * off, 1e-300)
    return {
        "roc_auc": float(-np.trapezoid(on, off)),
        "average_precision": float(-np.trapezoid(precision, on)),
    }


def band(sets: int, low: float, high: float, chance: float = 0.001) -> tuple[int, int]:
    """The counts that a rate between `low` and `high` leaves less often than `chance`, over `sets` trials."""
    return int(binom.ppf(chance / 2, sets, low)), int(binom.isf(chance / 2, sets, high))
