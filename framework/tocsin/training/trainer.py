"""Lightning's Trainer as our modules need it, without the settings that manual optimisation forbids."""

from collections.abc import Iterable
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.plugins import _PLUGIN_INPUT
from lightning.pytorch.plugins import Precision as PrecisionPlugin
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
)

from tocsin.errors import ConfigError
from tocsin.training.fallback import FallbackCheckpointIO
from tocsin.training.precision import resolve_precision

__all__ = ["Trainer"]

_PrecisionName = Literal[
    "auto",
    "32-true",
    "bf16-mixed",
    "16-mixed",
    "bf16-true",
    "16-true",
    "64-true",
    "transformer-engine",
    "transformer-engine-float16",
    "32",
    "bf16",
    "16",
    "64",
    16,
    32,
    64,
]


class Trainer(pl.Trainer):
    """Lightning's Trainer for modules that optimise by hand.

    Args:
        precision: Arithmetic of the forward and backward passes. "auto" takes bf16-mixed where the GPU or
            processor is fast at it, 16-mixed on older CUDA GPUs and 32-true elsewhere.
        accelerator: "cpu", "gpu", "cuda", "mps", "tpu", "auto" or an accelerator.
        devices: Number of devices, their indices, or "auto" for all.
        strategy: How several devices share the work: "auto", "ddp" and others, or a strategy.
        plugins: Lightning plugins. Checkpoints are written by FallbackCheckpointIO unless one of them is
            another CheckpointIO (sharding strategies write their own).
        num_sanity_val_steps: Validation passes run before the first step. 0: scores of a few rows would be
            mistaken for scores of the validation set.
        use_distributed_sampler: Must stay false: our samplers know the ranks and pad nobody.
        gradient_clip_val: Must stay null: set `gradient_clip` of the model instead.
        gradient_clip_algorithm: Must stay null: set `gradient_clip` of the model instead.
        accumulate_grad_batches: Must stay 1: set `batch_size` and `tokens_per_pass` of the data instead.

    Raises:
        ConfigError: A setting that manual optimisation forbids.
    """

    def __init__(
        self,
        *,
        precision: _PrecisionName | None = "auto",
        accelerator: str | Accelerator = "auto",
        devices: list[int] | str | int = "auto",
        strategy: str | Strategy = "auto",
        plugins: _PLUGIN_INPUT | list[_PLUGIN_INPUT] | None = None,
        num_sanity_val_steps: int | None = 0,
        use_distributed_sampler: bool = False,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
        accumulate_grad_batches: int = 1,
        **kwargs: Any,
    ) -> None:
        _refuse("gradient_clip_val", gradient_clip_val, None, "set `gradient_clip` of the model")
        _refuse("gradient_clip_algorithm", gradient_clip_algorithm, None, "set `gradient_clip` of the model")
        _refuse(
            "accumulate_grad_batches",
            accumulate_grad_batches,
            1,
            "set `batch_size` of the data to the messages of one step; `tokens_per_pass` bounds the memory",
        )
        _refuse(
            "use_distributed_sampler",
            use_distributed_sampler,
            False,
            "remove it: the data's own sampler shares the messages between the devices",
        )
        given = [] if plugins is None else list(plugins) if isinstance(plugins, Iterable) else [plugins]
        if _wants_our_checkpoints(strategy, given):
            given.append(FallbackCheckpointIO())
        if precision == "auto":
            # a precision plugin, or a strategy that carries one, has decided already
            decided = any(isinstance(plugin, PrecisionPlugin) for plugin in given)
            decided = decided or getattr(strategy, "_precision_plugin", None) is not None
            precision = None if decided else resolve_precision(accelerator, devices)
        super().__init__(
            precision=precision,
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            plugins=given,
            num_sanity_val_steps=num_sanity_val_steps,
            use_distributed_sampler=use_distributed_sampler,
            gradient_clip_val=None,
            gradient_clip_algorithm=None,
            accumulate_grad_batches=1,
            **kwargs,
        )


def _refuse(name: str, given: object, wanted: object, advice: str) -> None:
    if given != wanted:
        raise ConfigError(
            f"trainer.{name} is {given!r}, but the models optimise by hand, where Lightning's {name} "
            f"must stay {wanted!r}: {advice}."
        )


def _wants_our_checkpoints(strategy: str | Strategy, plugins: list[Any]) -> bool:
    if any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        return False
    if isinstance(strategy, str):
        return not any(name in strategy.lower() for name in ("fsdp", "deepspeed", "model_parallel", "xla"))
    sharded = isinstance(strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy)
    return not sharded and getattr(strategy, "_checkpoint_io", None) is None
