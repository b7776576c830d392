"""Which pairs stand in which optimiser step, and which of their sentences on which rank and in which pass.

Axes: B sentences of a pass, N training pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tocsin.batches.cache import TokenStore
from tocsin.batches.pair_sampling import PairOrder, permuted
from tocsin.batches.passes import cut_even_passes
from tocsin.batches.sampler import EpochSteps
from tocsin.errors import ConfigError

__all__ = ["PairSampler", "Sentences"]


class Sentences(NamedTuple):
    """The sentences of a pass, before they are padded.

    Args:
        rows_B: Training row of a translation; -1 for an English sentence and a filler.
        english_B: Number of the English sentence.
        weight_B: Sides of pairs that the sentence stands for; 0 for a filler.
        pairs: Pairs of the step that the pass belongs to, over all ranks; 0 outside of training.
    """

    rows_B: np.ndarray
    english_B: np.ndarray
    weight_B: np.ndarray
    pairs: int = 0


class PairSampler(EpochSteps):
    """Yields, for each optimiser step, the passes of sentences that this rank works on.

    A step's sentences are the translations of its pairs and, each once, their English sentences. They are dealt to the
    ranks in order of length, one each in turn, so that ranks carry equal numbers of tokens. A rank that gets none is
    given a filler.

    Args:
        order: The pairs of each epoch.
        train_order: Training rows in the order that `order` counts them, `(N,)`.
        train_english: Number of the English sentence of each training row, `(N,)`.
        text: Tokens of the translations, by training row.
        english: Tokens of the English sentences, by number.
        batch_size: Pairs a step, over all ranks.
        tokens_per_pass: Budget of a pass; see `cut_passes`.
        pool_steps: 1: a step takes the pairs that come next. k: those of k steps are sorted by the tokens of their
            translations and cut into steps, and all steps of the epoch are shuffled.
        corpus: Content key of the pairs and how they are drawn: positions mean nothing elsewhere.
        rank: This process, from 0.
        world_size: Number of processes.
        packed: Whether the student works on real tokens alone; see `cut_passes`.
    """

    def __init__(
        self,
        order: PairOrder,
        train_order: np.ndarray,
        train_english: np.ndarray,
        text: TokenStore,
        english: TokenStore,
        batch_size: int,
        tokens_per_pass: int,
        pool_steps: int = 1,
        corpus: str = "",
        rank: int = 0,
        world_size: int = 1,
        packed: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < world_size:
            raise ConfigError(
                f"batch_size is {batch_size} pairs over {world_size} devices; wanted at least one pair a device."
            )
        self.order, self.train_order, self.train_english = order, train_order, train_english
        self.text, self.english = text, english
        self.batch_size, self.tokens_per_pass, self.pool_steps = batch_size, tokens_per_pass, pool_steps
        self.corpus, self.rank, self.world_size, self.packed = corpus, rank, world_size, packed

    def __len__(self) -> int:
        """Optimiser steps in an epoch; the last holds what is left."""
        return -(-self.order.draws // self.batch_size)

    def _members(self, epoch: int) -> Callable[[int], np.ndarray]:
        return lambda number: self.step_rows(epoch, number)

    def step_rows(self, epoch: int, number: int) -> np.ndarray:
        """Training rows of a step's pairs; a row that is drawn twice stands twice.

        Args:
            epoch: From 0.
            number: The step in it, from 0.
        """
        size = self.batch_size
        if self.pool_steps <= 1:
            return self._rows(epoch, number * size, size)
        key = np.array([self.order.seed & (2**64 - 1)], np.uint64) ^ np.uint64(epoch * 2 + 1)
        chosen = int(permuted(np.array([number]), np.array([len(self)]), key)[0])
        pool, inside = divmod(chosen, self.pool_steps)
        rows = self._rows(epoch, pool * self.pool_steps * size, self.pool_steps * size)
        rows = rows[np.argsort(self.text.lengths_of(rows), kind="stable")]
        return rows[inside * size : (inside + 1) * size]

    def english_of(self, epoch: int) -> np.ndarray:
        """Numbers of the English sentences of an epoch's pairs, ascending, each once."""
        return np.unique(self.train_english[self._rows(epoch, 0, self.order.draws)])

    def _rows(self, epoch: int, start: int, count: int) -> np.ndarray:
        positions = np.arange(start, min(start + count, self.order.draws))
        return np.asarray(self.train_order[self.order.pairs(epoch, positions)])

    def _passes(self, members: np.ndarray) -> list[Sentences]:
        of_pairs = np.asarray(self.train_english[members])
        distinct, shared = np.unique(of_pairs, return_counts=True)
        rows = np.concatenate([members, np.full(len(distinct), -1)])
        english = np.concatenate([of_pairs, distinct])
        weight = np.concatenate([np.ones(len(members)), shared]).astype(np.float32)
        lengths = np.concatenate([self.text.lengths_of(members), self.english.lengths_of(distinct)])
        mine = np.argsort(-lengths, kind="stable")[self.rank :: self.world_size]
        if not len(mine):
            return [Sentences(np.array([-1]), distinct[:1], np.zeros(1, np.float32), len(members))]
        cut = [mine[chosen] for chosen in cut_even_passes(lengths[mine], self.tokens_per_pass, self.packed)]
        return [Sentences(rows[part], english[part], weight[part], len(members)) for part in cut]

    def state_dict(self) -> dict[str, Any]:
        """Position as plain data."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seed": self.order.seed,
            "corpus": self.corpus,
            "pairs_per_epoch": self.order.draws,
            "batch_size": self.batch_size,
            "pool_steps": self.pool_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a saved position.

        Raises:
            ConfigError: The position lies inside an epoch that drew its pairs or cut its steps otherwise.
        """
        now = self.state_dict()
        if state["step"] > 0 and state["corpus"] != now["corpus"]:
            raise ConfigError(
                "The position lies inside an epoch over other pairs, or pairs that were drawn otherwise, so it means "
                "nothing here. Resume with the same sources, filters and sampling, or from an epoch's end."
            )
        for name in ("pairs_per_epoch", "batch_size", "pool_steps"):
            if state["step"] > 0 and state[name] != now[name]:
                raise ConfigError(
                    f"The position lies inside an epoch of {name} {state[name]}; {name} is {now[name]} now, so pairs "
                    "would be skipped or seen twice. Resume with the same setting, or from an epoch's end."
                )
        self.epoch, self.step = state["epoch"], state["step"]
        self.order.reseed(state["seed"])
