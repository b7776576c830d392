"""transformers' Trainer on the same messages: its defaults, or bf16 (where fast) and grouped by length."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import torch
from common import Clock, Task, main, order_of
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import get_length_grouped_indices


class Order(torch.utils.data.Sampler[int]):
    """Rows in an order that is known beforehand."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)


class OrderedTrainer(Trainer):
    """The Trainer with the warm-up messages put before those that its own sampling orders."""

    order: list[int]

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return Order(self.order)


class CountingCollator:
    """Pads as the Trainer's own collator does, and counts tokens of the timed steps."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        self.pad = DataCollatorWithPadding(tokenizer)
        self.task = task
        self.calls = self.tokens = self.padded_tokens = 0

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        batch = self.pad(rows)
        self.calls += 1
        if self.calls > self.task.warmup:
            self.tokens += sum(len(row["input_ids"]) for row in rows)
            self.padded_tokens += batch["input_ids"].numel()
        return batch


class ClockCallback(TrainerCallback):
    """Counts the steps of the fit."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.start_if_warm()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.step_ended()


def measured_order(task: Task, lengths: list[int], grouped: bool) -> list[int]:
    """Positions among the measured messages, as the Trainer's own samplers would draw them.

    The Trainer's pools shrink with a small data set (a quarter of it at most); here they are those of the whole corpus,
    so that the few steps measured are as narrow as the steps of a full fit.
    """
    generator = torch.Generator().manual_seed(task.seed)
    if not grouped:
        return torch.randperm(len(lengths), generator=generator).tolist()
    return get_length_grouped_indices(
        lengths, task.batch_size, mega_batch_mult=task.pool_steps, generator=generator
    )


def arguments(task: Task, folder: str, grouped: bool) -> TrainingArguments:
    """Defaults, less logs, checkpoints and evaluation; at its best with precision and grouping besides."""
    known = inspect.signature(TrainingArguments).parameters
    options: dict[str, Any] = {}
    if grouped:
        # transformers 5 has one option for all kinds of sampling; 4 had a switch.
        name = "train_sampling_strategy"
        options |= {name: "group_by_length"} if name in known else {"group_by_length": True}
        options |= {"bf16": task.precision == "bf16-mixed", "fp16": task.precision == "16-mixed"}
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=task.batch_size,
        num_train_epochs=1,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=task.device == "cpu",
        seed=task.seed,
        **options,
    )


def measure(task: Task) -> dict[str, Any]:
    """Train and time."""
    set_seed(task.seed)
    grouped = task.program == "trainer-best"
    count = task.warm_messages + task.messages
    table = pq.read_table(task.table).slice(0, count)
    tokenizer = AutoTokenizer.from_pretrained(task.folder)
    encoded = tokenizer(table["text"].to_pylist(), truncation=True, max_length=task.max_length)
    targets = list(zip(*(table[name].to_pylist() for name in task.labels), strict=True))
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": [float(value) for value in labels]}
        for ids, mask, labels in zip(encoded["input_ids"], encoded["attention_mask"], targets, strict=True)
    ]
    lengths = [len(ids) for ids in encoded["input_ids"][task.warm_messages :]]
    model = AutoModelForSequenceClassification.from_pretrained(
        task.folder,
        num_labels=len(task.labels),
        problem_type="multi_label_classification",
        dtype=torch.float32,
    )
    clock, collator = Clock(task), CountingCollator(task, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = OrderedTrainer(
            model=model,
            args=arguments(task, folder, grouped),
            train_dataset=rows,
            data_collator=collator,
            callbacks=[ClockCallback(clock)],
        )
        trainer.order = order_of(task, measured_order(task, lengths, grouped))
        trainer.train()
    clock.count(collator.tokens, collator.padded_tokens, task.steps)
    return clock.result() | {"optimiser": str(trainer.args.optim)}


if __name__ == "__main__":
    main(measure)
