"""Tocsin's MultilabelClassifier as its users run it: pools by length, passes, rows in use, precision of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from common import Clock, Task, main
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from tocsin.batches.messages import LabelledMessages
from tocsin.batches.sampler import StepSampler
from tocsin.labels.schemes import Columns
from tocsin.models.classifier import MultilabelClassifier
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.native_head import NativeHead
from tocsin.models.optimizers import AdamW
from tocsin.text.splitters import GivenSplit
from tocsin.training import Trainer


class MeasuredSteps:
    """Steps over the warm-up messages, then steps that Tocsin's own sampler draws from the measured messages."""

    def __init__(self, task: Task, own: Any) -> None:
        self.warm = task.warm_messages
        end = self.warm + task.messages
        self.first, self.measured = (
            StepSampler(
                own.lengths[part],
                task.batch_size,
                own.tokens_per_pass,
                pool,
                seed=task.seed,
                packed=own.packed,
            )
            for part, pool in ((slice(self.warm), 1), (slice(self.warm, end), task.pool_steps))
        )

    def __len__(self) -> int:
        return len(self.first) + len(self.measured)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        yield from self.first
        for passes in self.measured:
            yield [positions + self.warm for positions in passes]


class MeasuredMessages(LabelledMessages):
    """The whole training split (its pieces are the rows in use); only the chosen messages are stepped over."""

    task: Task

    def train_dataloader(self) -> DataLoader[Any]:
        loader = super().train_dataloader()
        sampler: Any = loader.batch_sampler
        steps: Any = MeasuredSteps(self.task, sampler)
        return DataLoader(loader.dataset, batch_sampler=steps, collate_fn=loader.collate_fn)


class ClockCallback(Callback):
    """Counts the steps of the fit."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.clock.start_if_warm()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.clock.running:
            facts = pl_module.last_step
            self.clock.count(facts.tokens, facts.padded_tokens, facts.passes)
        self.clock.step_ended()


def build(task: Task) -> tuple[MultilabelClassifier, MeasuredMessages]:
    """The model and the data of a task."""
    labels = Columns(task.labels)
    data = MeasuredMessages(
        labels,
        train=task.table,
        id=None,
        splitter=GivenSplit(),
        max_length=task.max_length,
        batch_size=task.batch_size,
        pool_steps=task.pool_steps,
        seed=task.seed,
        cache=task.cache,
    )
    data.task = task
    model = MultilabelClassifier(
        labels, TransformerEncoder(task.folder), NativeHead(), optimizer=AdamW(lr=5e-5)
    )
    return model, data


def fit(task: Task, model: MultilabelClassifier, data: MeasuredMessages, callbacks: list[Callback]) -> None:
    """One epoch without logs, checkpoints or evaluation."""
    trainer = Trainer(
        precision=task.precision,  # type: ignore[arg-type]
        accelerator=task.device,
        devices=1,
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(model, data)


def measure(task: Task) -> dict[str, Any]:
    """Train and time."""
    seed_everything(task.seed, verbose=False)
    model, data = build(task)
    clock = Clock(task)
    if not task.profile:
        fit(task, model, data, [ClockCallback(clock)])
        facts = {"rows_in_use": sum(p.shape[0] for p in model.encoder.embedding_parameters())}
        return clock.result() | facts
    from breakdown import Breakdown

    breakdown = Breakdown(clock)
    fit(task, model, data, [breakdown, ClockCallback(clock)])
    return clock.result() | breakdown.result()


if __name__ == "__main__":
    main(measure)
