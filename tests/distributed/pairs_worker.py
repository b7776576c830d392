"""One distillation on the CPU that writes what it did; run by the tests, with one process or with two.

Usage: python pairs_worker.py JOB.json, which holds: folder, devices, coupled, out (where rank 0 writes).
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

import numpy as np
import torch
from lightning.pytorch import Callback

from tests.builders import quiet_trainer
from tests.pairs import MemoryPairs, tiny_distiller
from tocsin.models.losses import Contrastive, MeanSquaredError, SpreadOut
from tocsin.models.optimizers import AdamW


class Losses(Callback):
    """Notes the loss of each optimiser step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        self.values.append(float(trainer.callback_metrics["train/loss"]))


def main(job: dict[str, Any]) -> None:
    """Distil, and write losses, figures and weights."""
    torch.manual_seed(3)
    options: dict[str, Any] = {"optimizer": AdamW(lr=1e-3, eps=1e-3)}
    if job["coupled"]:
        # The coupled one also starts at a probe, which rank 0 solves for both.
        options["start_from_probe"] = True
        options["losses"] = [MeanSquaredError(), Contrastive(), SpreadOut()]
        options["loss_weights"] = [1.0, 0.5, 2.0]
    model = tiny_distiller(Path(job["folder"]), **options)
    losses = Losses()
    trainer = quiet_trainer(
        Path(job["folder"]),
        devices=job["devices"],
        strategy="ddp" if job["devices"] > 1 else "auto",
        max_epochs=2,
        callbacks=[losses],
        num_sanity_val_steps=0,
    )
    # 45 training pairs in steps of 11: the last step of an epoch holds one pair.
    trainer.fit(model, datamodule=MemoryPairs(batch_size=11, tokens_per_pass=60))
    if trainer.is_global_zero:
        out = Path(job["out"])
        np.savez(out.with_suffix(".npz"), **{n: v.numpy() for n, v in model.state_dict().items()})
        out.write_text(json.dumps({"losses": losses.values, "history": [f.plain() for f in model.history]}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(json.loads(Path(sys.argv[1]).read_text()))
