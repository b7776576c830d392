"""What every measured process shares: its task, its result, its clock and its memory figure."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Task:
    """What one process does; plain data, so that it travels as JSON.

    Args:
        program: "tocsin", "trainer-best", "trainer-default", or a part's own word.
        folder: Encoder folder that both programs load.
        table: Parquet file: warm-up messages first, then the measured ones, then the rest of the training split.
        labels: Label columns of the table, 0 or 1.
        cache: Folder of Tocsin's token cache.
        device: "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or "16-mixed".
        max_length: Tokens a message keeps at most.
        batch_size: Messages of an optimiser step.
        warmup: Optimiser steps before the clock starts.
        steps: Optimiser steps that are timed.
        pool_steps: Steps of the pools from which messages alike in length are drawn.
        pieces: Pieces of the vocabulary to keep; None for all.
        seed: Of everything.
        pass_tokens: Tokens that go through the model at once, at which the matrix products are timed.
        profile: Whether Tocsin's step is taken apart (and its speed then not quoted).
    """

    program: str
    folder: str
    table: str
    labels: list[str]
    cache: str
    device: str = "cpu"
    precision: str = "32-true"
    max_length: int = 96
    batch_size: int = 32
    warmup: int = 3
    steps: int = 10
    pool_steps: int = 50
    pieces: int | None = None
    seed: int = 42
    pass_tokens: int = 1024
    profile: bool = False

    @property
    def warm_messages(self) -> int:
        """Messages that stand first in the table and are not timed."""
        return self.warmup * self.batch_size

    @property
    def messages(self) -> int:
        """Messages that are timed, each exactly once."""
        return self.steps * self.batch_size

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, path: str) -> Self:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(**{field.name: given[field.name] for field in fields(cls)})


def main(work: Callable[[Any], dict[str, Any]], kind: type[Task] = Task) -> None:
    """Entry of a measured process: `python PART.py TASK.json RESULT.json`; `kind` is the task's class."""
    result = work(kind.read(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


class Clock:
    """Wall-clock seconds and token counts of the steps after the warm-up."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.done = 0
        self.tokens = 0
        self.padded_tokens = 0
        self.passes = 0
        self.started = self.stopped = self.processor_started = self.processor_stopped = float("nan")

    @property
    def running(self) -> bool:
        return self.task.warmup <= self.done < self.task.warmup + self.task.steps

    def count(self, tokens: int, padded_tokens: int, passes: int) -> None:
        """Add what a timed step worked on."""
        self.tokens += tokens
        self.padded_tokens += padded_tokens
        self.passes += passes

    def start_if_warm(self) -> None:
        """Call before the first step, for a task without warm-up."""
        if self.done == self.task.warmup:
            self.started, self.processor_started = now(self.task.device), time.process_time()

    def step_ended(self) -> None:
        self.done += 1
        self.start_if_warm()
        if self.done == self.task.warmup + self.task.steps:
            self.stopped, self.processor_stopped = now(self.task.device), time.process_time()

    def result(self) -> dict[str, Any]:
        if self.done != self.task.warmup + self.task.steps:
            raise RuntimeError(f"{self.done} steps ran; wanted {self.task.warmup} + {self.task.steps}")
        seconds = self.stopped - self.started
        return {
            "seconds": seconds,
            # Far below seconds times threads, something else was running: do not trust the run.
            "processor_seconds": self.processor_stopped - self.processor_started,
            "messages": self.task.messages,
            "messages_per_s": self.task.messages / seconds,
            "tokens": self.tokens,
            "padded_tokens": self.padded_tokens,
            "passes": self.passes,
            **memory(self.task.device),
        }


def now(device: str) -> float:
    """Seconds, after everything that was asked of the device is done."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def memory(device: str) -> dict[str, float]:
    """Peak resident memory of this process in MB (10^6 bytes), and of the GPU's allocator where there is one."""
    figures = {"peak_mb": _peak_bytes() / 1e6}
    if device == "cuda":
        import torch

        figures["gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return figures


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.is_file():
        # Not ru_maxrss: Linux lets it start at what the parent held when it started us.
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if found:
            return int(found.group(1)) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def order_of(task: Task, measured: list[int]) -> list[int]:
    """Warm-up rows as they stand in the table, then the measured rows in the order given."""
    return [*range(task.warm_messages), *(task.warm_messages + position for position in measured)]
