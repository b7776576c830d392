"""One step of Tocsin on the CPU in fp32 and on the device: loss and gradients side by side, dropout off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from common import Task, main
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Callback

from tocsin_program import build, fit


class Gradients(Callback):
    """Silences dropout, and keeps the gradients of the step before they are clipped."""

    def __init__(self) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self.loss = float("nan")

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        for module in pl_module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout_prob"):  # attention keeps its rate as a number
                module.dropout_prob = 0.0

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None:
                self.values[name] = parameter.grad.detach().float().cpu().clone()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.loss = float(trainer.callback_metrics["train/loss"])


def one_step(task: Task) -> Gradients:
    """Loss and gradients of one step from the same start."""
    seed_everything(task.seed, verbose=False)
    model, data = build(task)
    gradients = Gradients()
    fit(task, model, data, [gradients])
    return gradients


def compare(task: Task) -> dict[str, Any]:
    """Relative difference and cosine of all gradients together, for each precision the device has."""
    task = replace(task, warmup=0, steps=1)
    reference = one_step(replace(task, device="cpu", precision="32-true"))
    names = sorted(reference.values)
    wanted = torch.cat([reference.values[name].flatten() for name in names])
    figures = {}
    for precision in ["32-true"] if task.device == "cpu" else ["32-true", "bf16-mixed", "16-mixed"]:
        given = one_step(replace(task, precision=precision))
        gradient = torch.cat([given.values[name].flatten() for name in names])
        figures[precision] = {
            "loss_difference": abs(given.loss - reference.loss),
            "gradient_difference": float((gradient - wanted).norm() / wanted.norm()),
            "gradient_cosine": float(torch.nn.functional.cosine_similarity(gradient, wanted, dim=0)),
        }
    return {"parity": figures}


if __name__ == "__main__":
    main(compare)
