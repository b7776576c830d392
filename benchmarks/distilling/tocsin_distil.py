"""Tocsin's Distiller as its users run it: cached tokens and teacher, passes, rows in use, precision of the machine."""

from __future__ import annotations

import gc
import logging
import warnings
from importlib.metadata import version
from typing import Any

from common import Clock, main
from lightning.pytorch import seed_everything
from pair_task import Chosen, ChosenSteps, PairTask, build_data, teacher_encoder

from tocsin.models.distiller import Distiller
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.losses import Contrastive, MeanSquaredError
from tocsin.models.optimizers import AdamW
from tocsin.training import Trainer
from tocsin_program import ClockCallback


def build(task: PairTask) -> Distiller:
    """The Distiller with its defaults; for quality with sentence-transformers' loss, or with our own recipe."""
    student = TransformerEncoder(task.folder, torch_compile=task.program == "tocsin-compiled")
    teacher = teacher_encoder(task)
    if task.recipe:
        return Distiller(
            student,
            teacher,
            losses=[MeanSquaredError(), Contrastive()],
            loss_weights=[1.0, 10.0],
            start_from_probe=True,
            optimizer=AdamW(lr=2e-4, weight_decay=0.01),
            gradient_clip=None,
        )
    if task.equal:
        # MSELoss takes the mean over the width and over both sides: half of the mean over the width alone.
        return Distiller(
            student,
            teacher,
            losses=[MeanSquaredError(scaling="mean")],
            loss_weights=[0.5],
            optimizer=AdamW(lr=task.lr, weight_decay=0.0),
        )
    return Distiller(student, teacher)


def measure(task: PairTask) -> dict[str, Any]:
    """Train and time."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(task.seed, verbose=False)
    model, data, clock = build(task), build_data(task), Clock(task)
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
        callbacks=[ClockCallback(clock)],
    )
    trainer.fit(model, data)
    result = clock.result()
    # The steps are a function of the seed: walked through once more, off the clock, for what they held.
    steps = ChosenSteps(task, Chosen(task.chosen).rows, data.train_dataloader_of_all())
    lengths = [
        int(steps.parts[-1].text.lengths_of(part.rows_B[at : at + 1])[0])
        if part.rows_B[at] >= 0
        else int(steps.parts[-1].english.lengths_of(part.english_B[at : at + 1])[0])
        for number, step in enumerate(steps)
        if number >= task.warmup
        for part in step
        for at in range(len(part.rows_B))
    ]
    result["lengths"] = lengths
    result["rows_in_use"] = sum(p.shape[0] for p in model.encoder.embedding_parameters())
    if task.student:
        from tocsin.bundles.encoder import save_encoder_bundle

        gc.collect()
        save_encoder_bundle(
            task.student,
            model.cpu(),
            max_length=task.max_length,
            card="# A student of the benchmark\n",
            version=version("tocsin"),
        )
    return result


if __name__ == "__main__":
    main(measure, PairTask)
