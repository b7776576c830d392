"""Fits on the CPU that write what they did; run by the tests, with one process or with two.

Usage: python worker.py JOBS.json, a list of fits, one after another in the same processes. Each holds: folder, devices,
batch_size, max_steps, limit (messages of each split), out (where rank 0 writes), and may hold: pool_steps, probe, model
(options of the classifier), lora (options of adapters).

The seed is set as a config's `seed_everything` sets it, and the model is built inside the fit, as the command line does
it. Under DDP Lightning sets the seed once more before that: weights drawn earlier, or after other numbers were drawn,
would be others than those of one process.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch import Callback

from tests.builders import quiet_trainer, tiny_classifier, tiny_data
from tocsin.models.adapters import Lora
from tocsin.models.heads import LinearHead


class Curve(Callback):
    """Notes learning rate, loss and rows of each optimiser step of this rank."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.rows: list[list[int]] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.rates.append(float(trainer.callback_metrics["train/learning_rate"]))
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.rows.append([int(row) for part in batch.passes for row in part.rows_B])


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    folder = Path(job["folder"])
    # Passes are small, so that a step has several and the ranks unequal numbers of them.
    data = tiny_data(
        folder / "messages.parquet",
        batch_size=job["batch_size"],
        max_messages=job["limit"],
        tokens_per_pass=40,
        pool_steps=job.get("pool_steps", 1),
    )
    L.seed_everything(11, verbose=False)  # the first weights of head and adapters
    lora = job.get("lora")
    # The encoder's own rates are 0 in its folder: nothing has to be read before the fit to silence them.
    model = tiny_classifier(
        folder / "encoder",
        LinearHead(dropout=0.0),
        encoder=None if lora is None else {"lora": Lora(**lora)},
        start_from_probe=job.get("probe", False),
        **job.get("model", {}),
    )
    curve = Curve()
    trainer = quiet_trainer(
        folder,
        devices=job["devices"],
        strategy="ddp" if job["devices"] > 1 else "auto",
        max_steps=job["max_steps"],
        max_epochs=-1,
        callbacks=[curve],
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    # The whole test split in one pass: the other rank has none of its own, and must take part all the same.
    data.tokens_per_pass = 100_000
    trainer.test(model, datamodule=data, verbose=False)
    metrics |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    gathered: list[Any] = [curve.rows]
    if job["devices"] > 1:
        gathered = [None] * job["devices"]
        torch.distributed.all_gather_object(gathered, curve.rows)
    if trainer.is_global_zero:
        out = Path(job["out"])
        np.savez(
            out.with_suffix(".npz"), **{name: value.numpy() for name, value in model.state_dict().items()}
        )
        scores = {
            split: {"ids": list(table.ids), "logits": np.asarray(table.logits_NL).tolist()}
            for split, table in model.scores.items()
        }
        facts = {
            "rates": curve.rates,
            "losses": curve.losses,
            "rows": gathered,
            "metrics": metrics,
            "scores": scores,
        }
        out.write_text(json.dumps(facts))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for each in json.loads(Path(sys.argv[1]).read_text()):
        main(each)
