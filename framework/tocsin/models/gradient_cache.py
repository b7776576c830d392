"""Cached gradients (GradCache): a loss over a whole step, with the memory of one pass.

Gao, Zhang, Han and Callan (2021, "Scaling deep contrastive learning batch size under memory limited setup", arXiv
2101.06983): all vectors first without a graph, then the loss's gradient of the vectors, then each pass forward and
backward with its part of that gradient. Axes: B sentences of a pass, S sentences of a step, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["PassesTwice", "gather_rows"]

_Pass = TypeVar("_Pass")


class PassesTwice:
    """Runs the passes of a step without a graph, and again with one, under the same random numbers.

    Args:
        device: Where dropout draws its numbers, beside the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._states: list[tuple[Tensor, Tensor | None]] = []

    @torch.no_grad()
    def first(self, passes: Sequence[_Pass], vectors: Callable[[_Pass], Tensor]) -> list[Tensor]:
        """Vectors `(B, D)` float32 of each pass, without a graph."""
        found = []
        for part in passes:
            self._states.append(self._state())
            found.append(vectors(part).float())
        # Weights that autocast rounded here have no graph; kept, they would leave the second run without gradients.
        torch.clear_autocast_cache()
        return found

    @contextmanager
    def again(self, number: int) -> Iterator[None]:
        """Give the block the random numbers that pass `number` had; those after it are as if it had not run."""
        before = self._state()
        self._restore(self._states[number])
        try:
            yield
        finally:
            self._restore(before)

    def _state(self) -> tuple[Tensor, Tensor | None]:
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return torch.get_rng_state(), cuda

    def _restore(self, state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self.device)


def gather_rows(own: Tensor, world_size: int) -> list[Tensor]:
    """The rows of every rank, whose numbers may differ, in the order of ranks; without a graph."""
    if world_size == 1:
        return [own]
    sizes = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(world_size)]
    torch.distributed.all_gather(sizes, torch.tensor([len(own)], device=own.device))
    longest = max(int(size) for size in sizes)
    padded = own.new_zeros(longest, *own.shape[1:])
    padded[: len(own)] = own.detach()
    gathered = [torch.empty_like(padded) for _ in range(world_size)]
    torch.distributed.all_gather(gathered, padded)
    return [rows[: int(size)] for rows, size in zip(gathered, sizes, strict=True)]
