"""sentence-transformers' own recipe on the same pairs: MSELoss and its trainer, teacher's vectors computed before.

As it comes (fp32, plain shuffling, the defaults of its arguments), in bf16 alone, or at its best: in bf16 where that is
fast and with steps grouped by length, by overriding `get_batch_sampler` as its documentation tells users to.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from common import Clock, main, order_of
from datasets import Dataset
from pair_task import Chosen, PairTask
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.losses import MSELoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch.utils.data import BatchSampler
from trainer_program import ClockCallback, measured_order
from transformers import set_seed


@dataclass
class CountingCollator(SentenceTransformerDataCollator):
    """Tokenises and pads as its parent does, and counts tokens and seconds of the timed steps."""

    warmup: int = 0
    calls: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    padded_tokens: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        start = time.perf_counter()
        batch = super().__call__(features)
        self.calls += 1
        if self.calls > self.warmup:
            self.seconds += time.perf_counter() - start
            masks = [value for name, value in batch.items() if name.endswith("_attention_mask")]
            self.tokens += sum(int(mask.sum()) for mask in masks)
            self.padded_tokens += sum(mask.numel() for mask in masks)
        return batch


class Batches(BatchSampler):
    """Batches in an order that is known beforehand."""

    def __init__(self, rows: list[int], size: int) -> None:
        self.batches = [rows[at : at + size] for at in range(0, len(rows), size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """One epoch is all there is."""


class OrderedTrainer(SentenceTransformerTrainer):
    """The trainer with the warm-up pairs put before those that its own or the user's sampler orders."""

    order: list[int]

    def get_batch_sampler(self, dataset: Any, batch_size: int, *args: Any, **kwargs: Any) -> Any:
        return Batches(self.order, batch_size)


def build_student(task: PairTask) -> SentenceTransformer:
    """The student as its documentation builds one: a transformer and mean pooling."""
    transformer = Transformer(
        task.folder, max_seq_length=task.max_length, model_kwargs={"dtype": torch.float32}
    )
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling], device=task.device)


def arguments(task: PairTask, folder: str) -> SentenceTransformerTrainingArguments:
    """Defaults, less logs, checkpoints and evaluation; the task's precision; for quality the common optimiser."""
    options: dict[str, Any] = {
        "bf16": task.precision == "bf16-mixed",
        "fp16": task.precision == "16-mixed",
    }
    if task.equal:
        options |= {"learning_rate": task.lr, "warmup_steps": 0.1, "weight_decay": 0.0}
    return SentenceTransformerTrainingArguments(
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


def measure(task: PairTask) -> dict[str, Any]:
    """Train and time."""
    set_seed(task.seed)
    grouped = task.program == "peer-best"
    chosen = Chosen(task.chosen)
    dataset = Dataset.from_dict(
        {"english": chosen.english, "non_english": chosen.text, "label": chosen.vectors}
    )
    if grouped:
        # Vectors as tensors, not as lists of Python's numbers.
        dataset = dataset.with_format("torch", columns=["label"], output_all_columns=True)
    model = build_student(task)
    width = chosen.vectors.shape[1]
    loss = MSELoss(model, projection_dim=None if width == model.get_embedding_dimension() else width)
    clock = Clock(task)
    collator = CountingCollator(preprocess_fn=model.preprocess, warmup=task.warmup)
    lengths = np.maximum(chosen.english_tokens, chosen.text_tokens)[task.warm_messages :].tolist()
    with tempfile.TemporaryDirectory() as folder:
        trainer = OrderedTrainer(
            model=model,
            args=arguments(task, folder),
            train_dataset=dataset,
            loss=loss,
            data_collator=collator,
            callbacks=[ClockCallback(clock)],
        )
        trainer.order = order_of(task, measured_order(task, lengths, grouped))
        trainer.train()
        clock.count(collator.tokens, collator.padded_tokens, task.steps)
        result = clock.result() | {
            "optimiser": str(getattr(trainer.args.optim, "value", trainer.args.optim)),
            "tokenising_s": collator.seconds,
        }
    if task.student:
        model.save_pretrained(task.student, create_model_card=False)
    return result


if __name__ == "__main__":
    main(measure, PairTask)
