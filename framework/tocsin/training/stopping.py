"""Ends a fit between two steps when a signal asks for it: on all its processes at the same step, and saved."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from tocsin.errors import Interrupted, TocsinError
from tocsin.training.checkpoints import BestCheckpoint
from tocsin.training.signals import SignalWatch

__all__ = ["StopOnSignal"]


class StopOnSignal(Callback):
    """Saves and raises `Interrupted` at the next step, or at the next pass of a validation, after a signal.

    Before the first step and after the last one nobody waits: the signal itself raises. Several processes ask one
    another before each step, so that all end at the same one, whichever got the signal.

    Args:
        watch: Notices the signals.
    """

    def __init__(self, watch: SignalWatch) -> None:
        self.watch = watch
        self._passes = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep Lightning's own handlers away: one of them waits for other processes within the handler."""
        # The Trainer makes this connector itself and has no option for another.
        trainer._signal_connector = _NoHandlers(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The steps before are done, logged and validated: stop here, or not before the next step."""
        self.watch.deferred = True
        self._stop_if_asked(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the passes that every process has; one process may have one more."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.watch.deferred = True
        passes = trainer.num_val_batches
        own = sum(passes) if isinstance(passes, list) else passes
        self._passes = -_largest(trainer, -int(min(own, 1 << 30)))

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """The last step is done, this validation will be made again."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and batch_idx < self._passes:
            self._stop_if_asked(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All steps are done and saved; what follows (the bundle) is begun again by who goes on."""
        self.watch.obey()

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        asked = _largest(trainer, self.watch.pending or 0)
        if not asked:
            return
        self.watch.pending, self.watch.leaving = asked, True
        stop = Interrupted(asked)
        try:
            stop.note = _save(trainer)
        except (TocsinError, OSError) as error:
            stop.note = f"; the state could not be saved ({str(error).splitlines()[0]})"
        raise stop


def _save(trainer: pl.Trainer) -> str:
    """Write the last checkpoint and say so."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint):
            callback.save_now(trainer)
            return f"; saved after step {trainer.global_step:,}"
    return (
        "; nothing was saved, for trainer.enable_checkpointing is false and no callback is a BestCheckpoint"
    )


def _largest(trainer: pl.Trainer, number: int) -> int:
    """The largest number over all processes of the fit."""
    if trainer.world_size == 1:
        return number
    shared = torch.tensor(number, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return int(shared)


class _NoHandlers(_SignalConnector):
    def register_signal_handlers(self) -> None:
        """None: a `SignalWatch` has installed its own, SLURM's signal included."""
