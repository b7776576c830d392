"""What the measured processes of distillation share: their task, the pairs they read, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from common import Task
from torch.utils.data import DataLoader

from tocsin.batches.pair_sampler import PairSampler, Sentences
from tocsin.batches.pair_sampling import PairOrder
from tocsin.batches.parallel import ParallelSentences
from tocsin.batches.sentences import SentencePass
from tocsin.models.encoders import Encoder, TransformerEncoder

PACKAGES = ["django", "rest_framework", "allauth", "django_countries", "humanize", "wtforms"]
"""Those of the extra `catalogs` of tocsin-crisis."""


@dataclass(frozen=True)
class PairTask(Task):
    """What one process of the distillation benchmark does; a message of `Task` is a pair here.

    Args:
        layers: Layers that the student keeps, from the bottom; None for all.
        teacher: Encoder folder of the teacher; empty for MiniLmEnglish.
        chosen: File with the chosen pairs (rows, texts, tokens, the teacher's vectors), which `prepare_pairs` wrote.
        held_out: Pairs of a language that are held out at most.
        equal: Train with sentence-transformers' very loss, learning rate and no weight decay, so that quality compares.
        lr: Learning rate where it is.
        recipe: Train with the losses and the start of experiments/distil-quickstart instead.
        student: Folder that the trained student is written to; empty for none.
        students: Folders of students to be matched, by name.
    """

    layers: int | None = None
    teacher: str = ""
    chosen: str = ""
    held_out: int = 20
    equal: bool = False
    lr: float = 1e-4
    recipe: bool = False
    student: str = ""
    students: dict[str, str] | None = None


class Chosen:
    """The chosen pairs: those of the warm-up, then those that are timed.

    Args:
        path: The file that `prepare_pairs` wrote.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.rows = arrays["rows"]
            self.english, self.text = arrays["english"].tolist(), arrays["text"].tolist()
            self.english_tokens, self.text_tokens = arrays["english_tokens"], arrays["text_tokens"]
            self.vectors = arrays["vectors"].astype(np.float32)


class ChosenSteps:
    """Steps over the warm-up pairs, then those that Tocsin's own sampler cuts of the timed pairs.

    Args:
        task: Tells how many pairs and steps.
        rows: Training rows of the chosen pairs.
        loader: Tocsin's own, over all pairs.
    """

    def __init__(self, task: PairTask, rows: np.ndarray, loader: DataLoader[Any]) -> None:
        own: Any = loader.batch_sampler
        self.parts = []
        for part, pool in ((rows[: task.warm_messages], 1), (rows[task.warm_messages :], task.pool_steps)):
            if len(part):
                order = PairOrder(np.array([len(part)]), np.array([1.0]), len(part), task.seed)
                self.parts.append(
                    PairSampler(
                        order,
                        part,
                        own.train_english,
                        own.text,
                        own.english,
                        task.batch_size,
                        own.tokens_per_pass,
                        pool,
                        packed=own.packed,
                    )
                )

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[list[Sentences]]:
        for part in self.parts:
            part.set_epoch(0)
            part.step = 0
            yield from part


class ChosenPairs(ParallelSentences):
    """All pairs of the sources (their pieces are the rows in use); only the chosen ones are stepped over."""

    task: PairTask

    def train_dataloader_of_all(self) -> DataLoader[Any]:
        return super().train_dataloader()

    def train_dataloader(self) -> DataLoader[Any]:
        loader = self.train_dataloader_of_all()
        steps: Any = ChosenSteps(self.task, Chosen(self.task.chosen).rows, loader)
        return DataLoader(loader.dataset, batch_sampler=steps, collate_fn=loader.collate_fn)

    def first_passes(self) -> Iterator[SentencePass]:
        for step in self.train_dataloader():
            yield from step.passes


def build_data(task: PairTask) -> ChosenPairs:
    """The data of a task: the filters of experiments/distil-quickstart, over the catalogs or a table of pairs."""
    source: Any
    if task.table:
        from tocsin.text.pair_table import PairTable

        source = PairTable(files=task.table)
    else:
        from tocsin_crisis.gettext_catalogs import GettextCatalogs

        source = GettextCatalogs(PACKAGES)
    data = ChosenPairs(
        {"pairs": source},
        max_characters=250 if task.table else 120,
        held_out=task.held_out,
        sampling="temperature",
        alpha=0.5,
        max_length=task.max_length,
        batch_size=task.batch_size,
        pool_steps=task.pool_steps,
        seed=task.seed,
    )
    data.task = task
    return data


def without_fit(data: ParallelSentences, tokenizer: Any) -> None:
    """Let a DataModule be asked by somebody who fits nothing."""
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        max_epochs=None,  # nobody knows how long a fit will be: vectors of every pair
        lightning_module=SimpleNamespace(tokenizer=tokenizer, prompt=""),
        global_rank=0,
        world_size=1,
        is_global_zero=False,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    data.setup("validate")


def teacher_encoder(task: PairTask) -> Encoder:
    """The teacher, not loaded."""
    if task.teacher:
        return TransformerEncoder(task.teacher)
    from tocsin_wheels.encoders import MiniLmEnglish

    return MiniLmEnglish()


def student_folder(task: PairTask, target: Path) -> Path:
    """The folder that both programs load: the encoder as it is, or cut to pieces and layers and saved."""
    layers = None if task.layers is None else list(range(task.layers))
    if task.pieces is None and layers is None:
        if task.folder:
            return Path(task.folder)
        from tocsin_wheels.encoders import e5_folder

        return e5_folder()
    encoder: Any
    if task.folder:
        encoder = TransformerEncoder(task.folder, keep_pieces=task.pieces, keep_layers=layers)
    else:
        from tocsin_wheels.encoders import E5SmallMultilingual

        encoder = E5SmallMultilingual(prompt="", keep_pieces=task.pieces, keep_layers=layers)
    encoder.load()
    encoder.model.save_pretrained(target)
    encoder.tokenizer.save_pretrained(target)
    return target
