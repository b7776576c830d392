"""Which messages stand in which optimiser step, on which rank: a function of seed, epoch and step alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tocsin.batches.balance import draw_epoch, messages_an_epoch, repeats_digest
from tocsin.batches.passes import cut_even_passes, cut_passes
from tocsin.errors import ConfigError

__all__ = ["EpochSteps", "PassSampler", "StepSampler", "epoch_steps"]


def epoch_steps(
    lengths: np.ndarray,
    batch_size: int,
    pool_steps: int,
    seed: int,
    epoch: int,
    repeats: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Shuffle messages into optimiser steps of one epoch; each message stands in exactly one, unless it is repeated.

    Args:
        lengths: Tokens of each message, `(N,)`.
        batch_size: Messages a step; the last step of an epoch holds what is left.
        pool_steps: Steps that a pool holds. 1: plain shuffling. k > 1: the shuffled messages are cut into pools of k
            steps, each pool is sorted by length and cut into steps, and the steps of all pools are shuffled. Messages
            of a step are then alike in length: less padding, at the price that a step is no longer a random sample of
            all lengths (the gradient of a step leans towards short or long messages; over an epoch nothing changes).
        seed: Of the fit.
        epoch: From 0.
        repeats: How often each message is to come in an epoch, `(N,)`, at least 1: see `draw_epoch`. None: once. A
            message may then stand twice in one step; with pools, where alike lengths meet, it mostly does.

    Returns:
        Positions into `lengths`, one array a step.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths)) if repeats is None else draw_epoch(repeats, generator)
    if pool_steps <= 1:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    steps: list[np.ndarray] = []
    pool = pool_steps * batch_size
    for start in range(0, len(order), pool):
        chunk = order[start : start + pool]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        steps.extend(chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size))
    return [steps[i] for i in generator.permutation(len(steps))]


class EpochSteps(ABC):
    """Yields what this rank works on in each optimiser step, epoch after epoch.

    Its position is state: it goes on with the step after the last one that was counted.

    Attributes:
        epoch: The epoch of the next step, from 0.
        step: The next step in it, from 0.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.step = 0

    @abstractmethod
    def __len__(self) -> int:
        """Optimiser steps in an epoch."""

    @abstractmethod
    def _members(self, epoch: int) -> Callable[[int], np.ndarray]:
        """Return what gives the members of each step of an epoch, by the step's number."""

    @abstractmethod
    def _passes(self, members: np.ndarray) -> list[Any]:
        """Cut this rank's part of a step into passes."""

    def __iter__(self) -> Iterator[list[Any]]:
        """Steps from the present position to the end of the epoch; each a list of passes."""
        if self.step >= len(self) > 0:
            # Who knows the length stops asking after the last step: that epoch is over all the same.
            self.epoch, self.step = self.epoch + 1, 0
        members = self._members(self.epoch)
        for number in range(self.step, len(self)):
            # Counted before the step is handed out: a state saved during or after it goes on with the next.
            self.step = number + 1
            yield self._passes(members(number))
        self.epoch, self.step = self.epoch + 1, 0

    @property
    def sampler(self) -> "EpochSteps":
        """Itself: Lightning calls `set_epoch` of a DataLoader's `batch_sampler.sampler`, not of its `batch_sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; a position inside that very epoch stays. Lightning calls this before each.

        Args:
            epoch: From 0. The epoch before may have been cut short (`limit_train_batches`).
        """
        if epoch != self.epoch:
            self.epoch, self.step = epoch, 0


class StepSampler(EpochSteps):
    """Yields, for each optimiser step, the positions that this rank works on, cut into passes.

    The messages of a step are dealt to the ranks in order of length, one each in turn, so that ranks carry equal
    numbers of tokens. A rank that gets none (the last, short step) is given a filler, marked by -1.
    Its position is state: after `load_state_dict` it goes on with the step after the last one that was counted.

    Args:
        lengths: Tokens of each message, `(N,)`.
        batch_size: Messages a step, over all ranks.
        tokens_per_pass: Budget of a pass; see `cut_passes`.
        pool_steps: See `epoch_steps`.
        seed: Of the fit.
        rank: This process, from 0.
        world_size: Number of processes.
        repeats: See `epoch_steps`; the same on every rank.
        packed: Whether the model works on real tokens alone; see `cut_passes`.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        tokens_per_pass: int,
        pool_steps: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeats: np.ndarray | None = None,
        packed: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < world_size:
            raise ConfigError(
                f"batch_size is {batch_size} messages over {world_size} devices; wanted at least one message a device."
            )
        self.lengths = lengths
        self.batch_size = batch_size
        self.tokens_per_pass = tokens_per_pass
        self.packed = packed
        self.pool_steps = pool_steps
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.repeats = repeats
        self.messages = len(lengths) if repeats is None else messages_an_epoch(repeats)

    def __len__(self) -> int:
        """Optimiser steps in an epoch."""
        return -(-self.messages // self.batch_size)

    def _members(self, epoch: int) -> Callable[[int], np.ndarray]:
        return epoch_steps(
            self.lengths, self.batch_size, self.pool_steps, self.seed, epoch, self.repeats
        ).__getitem__

    def _passes(self, members: np.ndarray) -> list[np.ndarray]:
        members = members[np.argsort(-self.lengths[members], kind="stable")]
        mine = members[self.rank :: self.world_size]
        if not len(mine):
            return [np.array([-1])]
        cut = cut_even_passes(self.lengths[mine], self.tokens_per_pass, self.packed)
        return [mine[chosen] for chosen in cut]

    def state_dict(self) -> dict[str, Any]:
        """Position as plain data."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seed": self.seed,
            "messages": len(self.lengths),
            "batch_size": self.batch_size,
            "pool_steps": self.pool_steps,
            "repeats": None if self.repeats is None else repeats_digest(self.repeats),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a saved position.

        Raises:
            ConfigError: The state was saved for other messages or steps, so its positions mean others now.
        """
        if state["messages"] != len(self.lengths):
            raise ConfigError(
                f"The position was saved over {state['messages']} training messages; there are "
                f"{len(self.lengths)} now. Resume "
                "with the same data, or start a new fit from the weights."
            )
        for name in ("batch_size", "pool_steps"):
            if state["step"] > 0 and state[name] != getattr(self, name):
                raise ConfigError(
                    f"The position lies inside an epoch of {name} {state[name]}; {name} is "
                    f"{getattr(self, name)} now, so "
                    "messages would be skipped or seen twice. Resume with the same setting, or from an epoch's end."
                )
        # Absent from states that were saved before messages could be repeated.
        if state["step"] > 0 and state.get("repeats") != self.state_dict()["repeats"]:
            raise ConfigError(
                "The position lies inside an epoch that repeated its messages in another way, so messages would be "
                "skipped or seen too often. Resume with the same `balanced` and the same labels, or from an epoch's "
                "end."
            )
        self.epoch, self.step, self.seed = state["epoch"], state["step"], state["seed"]


class PassSampler:
    """Yields passes for evaluation: each message exactly once over all ranks, without padded duplicates.

    A rank for which no pass is left is given a filler, marked by -1.

    Args:
        lengths: Tokens of each message, `(N,)`.
        tokens_per_pass: Budget of a pass, padding included.
        rank: This process, from 0.
        world_size: Number of processes.
    """

    def __init__(self, lengths: np.ndarray, tokens_per_pass: int, rank: int = 0, world_size: int = 1) -> None:
        # A rank without any pass would not take part when the ranks put their logits together.
        self.passes = cut_passes(lengths, tokens_per_pass)[rank::world_size] or [np.array([-1])]

    def __len__(self) -> int:
        """Passes of this rank; ranks may differ by one."""
        return len(self.passes)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """One pass at a time, in a list of one, as a training step would have it."""
        return iter([[chosen] for chosen in self.passes])
