"""What a fit does when memory runs out: the same messages again, in smaller micro-batches."""

import gc
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from tocsin.batches.passes import cut_again
from tocsin.errors import TrainingError
from tocsin.models.encoders import Encoder
from tocsin.models.heap import trim

__all__ = ["SmallerPasses", "WithinMemory", "is_out_of_memory", "random_state"]

_Pass = TypeVar("_Pass")
_Step = TypeVar("_Step")

# What allocators say that raise no error of their own kind: torch's on a CPU, cuBLAS, Apple's.
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
    "out of memory",
)
_LONGEST = 200  # characters of an allocator's words that a message shows


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator of a device, or of the host, had no room."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def random_state(device: torch.device) -> Callable[[], None]:
    """Return what puts every random generator back to where it is now: Python's, numpy's, torch's, the device's."""
    host, numbers, own = torch.get_rng_state(), np.random.get_state(), random.getstate()
    there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def put_back() -> None:
        torch.set_rng_state(host)
        np.random.set_state(numbers)
        random.setstate(own)
        if there is not None:
            torch.cuda.set_rng_state(there, device)

    return put_back


class SmallerPasses:
    """The budget of a pass once memory ran out; it is halved once.

    Attributes:
        tokens: Tokens of a pass since then; None: the data's own budget.
    """

    def __init__(self) -> None:
        self.tokens: int | None = None

    def halve(self, error: str, where: str, tokens: int) -> dict[str, Any]:
        """Take half the budget and say so; return what a record keeps of it.

        Args:
            error: What the allocator said.
            where: What was under way, such as "optimiser step 12".
            tokens: Tokens of a pass until now.

        Raises:
            TrainingError: It was halved before, or cannot be.
        """
        if self.tokens is not None or tokens < 2:
            raise TrainingError(
                f"Memory ran out in {where} though a pass holds {tokens:,} tokens only ({error}). Set "
                f"data.init_args.tokens_per_pass to {max(1, tokens // 2):,} or less, lower data.init_args.max_length, "
                "or take a smaller encoder; batch_size does not matter."
            )
        self.tokens = tokens // 2
        print(
            f"Memory ran out in {where} ({error}): the same messages again with {self.tokens:,} tokens a pass instead "
            f"of {tokens:,}, and so from now on. data.init_args.tokens_per_pass: {self.tokens} spares the attempt.",
            flush=True,
        )
        return {"kind": "out of memory", "where": where, "tokens_per_pass": self.tokens}

    @staticmethod
    def let_go(device: torch.device) -> None:
        """Give back what the failed attempt held; its error must be gone by now, for it holds the pass's tensors."""
        gc.collect()
        trim()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    """The error's first line, cut to what a message has room for."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= _LONGEST else lines[0][: _LONGEST - 1] + "…"


class WithinMemory(LightningModule):
    """A module whose steps and evaluations go on in smaller passes where memory runs out.

    Attributes:
        events: What happened to the fit that its record keeps: memory that ran out, states that were put back.
    """

    encoder: Encoder

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        self._smaller = SmallerPasses()
        self._synchronising = False  # whether processes share gradients, which cannot be done twice

    def _pass_tokens(self, passes: Sequence[Any]) -> int:
        """Tokens of a pass: as the data say, else as the largest of these passes has."""
        largest = max(part[0].numel() for part in passes)
        return int(getattr(getattr(self.trainer, "datamodule", None), "pass_tokens", largest))

    def _cut_again(self, passes: Sequence[Any], packed: bool) -> tuple[list[Any], list[int]]:
        assert self._smaller.tokens is not None
        pad_id = int(getattr(getattr(self.trainer, "datamodule", None), "pad_id", 0))
        return cut_again(passes, self._smaller.tokens, pad_id, packed)

    def _smaller_passes(self, step: _Step) -> _Step:
        """The step in passes of the budget that is left since memory ran out; as it is where it never did."""
        if self._smaller.tokens is None:
            return step
        passes, sizes = self._cut_again(step.passes, self.encoder.packs(self.device))  # type: ignore[attr-defined]
        changed: dict[str, Any] = {"passes": passes}
        teacher = getattr(step, "teacher", ())
        if len(teacher):
            changed["teacher"] = list(torch.split(torch.cat(list(teacher)), sizes))
        return step._replace(**changed)  # type: ignore[attr-defined]

    def _within_memory(self, step: _Step, run: Callable[[_Step], Tensor]) -> tuple[Tensor, _Step]:
        """Run the passes of a step; where memory runs out, all of them again in smaller ones.

        Nothing of the first attempt is left: gradients are gone, random numbers are those that it began with.

        Returns:
            What `run` gave, and the step as it was run.

        Raises:
            TrainingError: Memory ran out for the second time.
        """
        put_back = random_state(self.device)
        self._synchronising = False
        try:
            return run(step), step
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._ran_out(error, f"optimiser step {self.global_step}", self._pass_tokens(step.passes))  # type: ignore[attr-defined]
        for parameter in self.parameters():
            parameter.grad = None
        self._smaller.let_go(self.device)
        put_back()
        return self._within_memory(self._smaller_passes(step), run)

    def _evaluate_within_memory(self, part: _Pass, run: Callable[[_Pass], None]) -> None:
        """Run a pass without gradients; where memory runs out, its rows again in smaller passes."""
        left = [part] if self._smaller.tokens is None else self._cut_again([part], packed=False)[0]
        while left:
            try:
                run(left[0])
                del left[0]
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._ran_out(error, "an evaluation", self._pass_tokens(left))
            self._smaller.let_go(self.device)
            left = self._cut_again(left, packed=False)[0]

    def _ran_out(self, error: Exception, where: str, tokens: int) -> None:
        if self._synchronising:
            raise TrainingError(
                f"Memory ran out in {where} while processes shared their gradients, so that the step cannot be made "
                f"again ({_first_line(error)}). Set data.init_args.tokens_per_pass below {tokens:,}."
            )
        self.events.append(self._smaller.halve(_first_line(error), where, self._smaller.tokens or tokens))
