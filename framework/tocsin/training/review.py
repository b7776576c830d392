"""What TensorBoard needs to compare runs: a short list of settings with the final metric, and vectors to look at.

Axes: N messages, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from tocsin.batches.protocols import ServesMessages
from tocsin.escaping import csv_cell, terminal_text
from tocsin.models.classifier import MultilabelClassifier
from tocsin.models.distiller import Distiller
from tocsin.privacy import shown_data
from tocsin.training.provenance import seed_of_run

__all__ = [
    "VectorSample",
    "final_metric",
    "short_settings",
    "validation_sample",
    "write_sample",
    "write_settings",
]

Setting = int | float | str


def short_settings(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Setting]:
    """The settings that runs differ in, flat: name -> number or short text; "none" for null.

    Args:
        trainer: Of the fit.
        module: A MultilabelClassifier or a Distiller tells most; another module its class alone.
    """
    found: dict[str, Any] = {"model": type(module).__name__}
    if isinstance(module, MultilabelClassifier):
        encoder, lora = module.encoder, getattr(module.encoder, "lora", None)
        found |= {
            "encoder": getattr(encoder, "name", type(encoder).__name__),
            "freeze": getattr(encoder, "freeze", None),
            "lora_rank": None if lora is None else lora.rank,
            "pooling": None if module.pooling is None else type(module.pooling).__name__,
            "head": type(module.head).__name__,
            "loss": type(module.loss).__name__,
            "optimizer": type(module.optimizer).__name__,
            "lr": getattr(module.optimizer, "lr", None),
            "weight_decay": module.optimizer.weight_decay,
            "schedule": type(module.schedule).__name__,
            "layer_decay": module.layer_decay,
            "ema_decay": module.ema_decay,
            "gradient_clip": module.gradient_clip,
            "start_from_probe": module.start_from_probe,
        }
    if isinstance(module, Distiller):
        found |= {
            "encoder": getattr(module.encoder, "name", type(module.encoder).__name__),
            "teacher": getattr(module.teacher.encoder, "name", type(module.teacher.encoder).__name__),
            "projected": module.projection is not None,
            "losses": ", ".join(
                f"{weight:g} {name}"
                for name, weight in zip(module.loss_names, module.loss_weights, strict=True)
            ),
            "optimizer": type(module.optimizer).__name__,
            "lr": getattr(module.optimizer, "lr", None),
            "weight_decay": module.optimizer.weight_decay,
            "schedule": type(module.schedule).__name__,
            "layer_decay": module.layer_decay,
            "ema_decay": module.ema_decay,
            "gradient_clip": module.gradient_clip,
        }
    data = getattr(trainer, "datamodule", None)
    for name in ("batch_size", "max_length"):
        if hasattr(data, name):
            found[name] = getattr(data, name)
    found |= {"precision": str(trainer.precision), "seed": seed_of_run(), "epochs": trainer.max_epochs}
    return {name: _plain(shown_data(value)) for name, value in found.items()}


def _plain(value: Any) -> Setting:
    if value is None:
        return "none"
    if isinstance(value, bool):  # torch's writer would make numbers of them
        return str(value).lower()
    return value if isinstance(value, int | float) else terminal_text(value)


def final_metric(trainer: pl.Trainer, monitor: str = "validation/macro_roc_auc") -> dict[str, float]:
    """The best checkpoint's score, else the last value of `monitor`, as `final/NAME`; empty where there is neither."""
    checkpoint = trainer.checkpoint_callback
    value: Any = None
    if isinstance(checkpoint, ModelCheckpoint) and checkpoint.monitor is not None:
        monitor, value = checkpoint.monitor, checkpoint.best_model_score
    if value is None:
        value = trainer.callback_metrics.get(monitor)
    return {} if value is None else {f"final/{monitor.rpartition('/')[2]}": float(value)}


@dataclass
class VectorSample:
    """Vectors of some messages, with what is told of each.

    Args:
        vectors_ND: float32.
        header: Names of the columns.
        rows: N rows of as many cells, without tabs and line ends.
    """

    vectors_ND: Tensor
    header: list[str]
    rows: list[list[str]]


def validation_sample(
    module: MultilabelClassifier, data: ServesMessages, count: int, *, text: bool = False
) -> VectorSample | None:
    """Vectors of up to `count` validation messages, evenly spaced over the split, with id, language and labels.

    A label whose target is unknown stands with a question mark.

    Args:
        module: Built; its modes are left as they were.
        data: Set up.
        count: Most messages.
        text: Add the messages' texts. They then lie in the run's folder, readable.

    Returns:
        None where there is no validation message.
    """
    rows = data.rows("validation")
    if not len(rows) or count < 1:
        return None
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]
    vectors_ND = torch.zeros(len(rows), module.encoder.width)
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            for part in data.passes(rows):
                at = np.searchsorted(rows, part.rows_B.cpu().numpy())
                vectors_ND[torch.from_numpy(at)] = _vectors(module, part).float().cpu()
    finally:
        for one, mode in modes.items():
            one.training = mode
    told = data.describe(rows)
    langs = [None] * len(rows) if told["langs"] is None else told["langs"]
    columns: dict[str, list[str]] = {
        "id": [str(one) for one in told["ids"]],
        "lang": [lang or "" for lang in langs],
        "labels": [_labels(targets_L, module.label_names) for targets_L in data.targets(rows)],
    }
    corpus: Any = getattr(data, "corpus", None)
    if text and callable(corpus):
        columns["text"] = corpus().table["text"].take(rows).to_pylist()
    told_of = zip(*columns.values(), strict=True)
    cells = [[csv_cell(terminal_text(" ".join(cell.split()))) for cell in row] for row in told_of]
    return VectorSample(vectors_ND, list(columns), cells)


def _vectors(module: MultilabelClassifier, part: Any) -> Tensor:
    ids_BT, mask_BT = part.input_ids_BT.to(module.device), part.mask_BT.to(module.device)
    hidden_BTD = module.encoder(ids_BT, mask_BT)
    return hidden_BTD[:, 0] if module.pooling is None else module.pooling(hidden_BTD, mask_BT)


def _labels(targets_L: np.ndarray, names: tuple[str, ...]) -> str:
    marks = [
        f"{name}?" if np.isnan(target) else name
        for name, target in zip(names, targets_L, strict=True)
        if np.isnan(target) or target >= 0.5
    ]
    return ", ".join(marks) or "(none)"


def write_sample(writer: Any, step: int, sample: VectorSample) -> None:
    """Hand the sample to TensorBoard's projector."""
    writer.add_embedding(
        sample.vectors_ND,
        metadata=sample.rows,
        metadata_header=sample.header,
        global_step=step,
        tag="validation_vectors",
    )


def write_settings(
    writer: Any, step: int, settings: Mapping[str, Setting], metric: Mapping[str, float]
) -> None:
    """Write the settings and the metric to TensorBoard's page of hyperparameters, beside the run's other events."""
    writer.add_hparams(dict(settings), dict(metric), run_name=".", global_step=step)
