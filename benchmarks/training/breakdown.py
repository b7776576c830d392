"""Where the time of Tocsin's step goes: by part of the step (timed) and by kind of operation (torch's profiler)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from common import Clock, now
from lightning.pytorch.callbacks import Callback

# First match wins; matched against the profiler's names of operations.
KINDS = {
    "dropout": ("dropout", "bernoulli", "random_", "_drop", "aten::ge"),
    "optimiser and clipping": ("adamw", "foreach", "vector_norm", "optimizer"),
    "matrix products": (
        "addmm",
        "bmm",
        "aten::mm",
        "mkl_linear",
        "mkldnn",
        "gemm",
        "cutlass",
        "nvjet",
        "aten::dot",
    ),
    "attention": ("attention", "softmax", "flash", "fmha", "index_select", "index_copy", "_take", "_give"),
    "norms and GELU": ("layer_norm", "gelu", "tanh"),
    "embedding rows": ("embedding", "index"),
    "additions, copies, sums": (
        "add",
        "copy",
        "clone",
        "mul",
        "sum",
        "fill",
        "zero",
        "cat",
        "div",
        "where",
        "memcpy",
    ),
}


def kind_of(name: str) -> str:
    """Kind of an operation by its name in the profile."""
    lowered = name.lower()
    return next((kind for kind, words in KINDS.items() if any(word in lowered for word in words)), "other")


class Breakdown(Callback):
    """Times forward, backward, optimiser and data of the steps after the warm-up, and profiles them.

    On a GPU every boundary waits for the device, so the parts are right and their sum is more than an undisturbed step.

    Args:
        clock: Tells which steps are timed.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self.batch_ended: float | None = None
        self.profiler: Any = None
        self.kinds: dict[str, float] = defaultdict(float)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.clock.running:
                return function(*args, **kwargs)
            start = now(self.clock.task.device)
            result = function(*args, **kwargs)
            self.seconds[name] += now(self.clock.task.device) - start
            return result

        return call

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.forward = self._timed("forward", pl_module.forward)
        pl_module.manual_backward = self._timed("backward", pl_module.manual_backward)
        trainer.strategy.optimizer_step = self._timed(
            "optimiser and clipping", trainer.strategy.optimizer_step
        )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self.clock.running:
            return
        if self.batch_ended is not None:
            self.seconds["data and loop"] += now(self.clock.task.device) - self.batch_ended
        if self.profiler is None:
            from torch.profiler import ProfilerActivity, profile

            activities = [ProfilerActivity.CPU]
            if self.clock.task.device == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self.profiler = profile(activities=activities)
            self.profiler.__enter__()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batch_ended = now(self.clock.task.device)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.profiler.__exit__(None, None, None)
        cuda = self.clock.task.device == "cuda"
        for event in self.profiler.key_averages():
            spent = event.self_device_time_total if cuda else event.self_cpu_time_total
            self.kinds[kind_of(event.key)] += spent / 1e6

    def result(self) -> dict[str, Any]:
        """Seconds by part and by kind; what no operation accounts for is Python, Lightning and the data."""
        return {"parts": dict(self.seconds), "kinds": dict(self.kinds)}
