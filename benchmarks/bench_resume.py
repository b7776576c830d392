"""What it costs that a fit can be resumed exactly: turned on and off in turn within one fit. Prints Markdown.

    .venv/bin/python benchmarks/bench_resume.py --steps 400

A BERT of random weights (no download) classifies invented messages. In blocks of steps, the checkpoint callback's hooks
are called or left out; a block's time is that of its steps. Then a checkpoint is written and verified a few times: a
fit writes one every ten minutes and after each validation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, TensorDataset

from tocsin.training import BestCheckpoint, Trainer
from tocsin.training.checkpoint_files import verify_checkpoint

_AIM_STEP, _AIM_SAVES, _EVERY_SECONDS = 0.03, 0.01, 600.0


class Model(LightningModule):
    """A BERT with dropout and a linear head, optimised by hand."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        self.automatic_optimization = False
        config = AutoConfig.for_model(
            "bert",
            vocab_size=30_000,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
        )
        self.encoder = AutoModel.from_config(config, add_pooling_layer=False)
        self.head = torch.nn.Linear(width, 8)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One step of one micro-batch."""
        optimizer: Any = self.optimizers()
        states_BTD = self.encoder(batch[0]).last_hidden_state
        self.manual_backward(self.head(states_BTD.mean(1)).square().mean())
        optimizer.step()
        optimizer.zero_grad()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, whose two averages make a checkpoint three times the weights."""
        return torch.optim.AdamW(self.parameters(), lr=1e-5)


class InTurn(Callback):
    """Turns the checkpoint callback's hooks of a step on and off, block by block, and takes the time of blocks."""

    def __init__(self, best: BestCheckpoint, block: int) -> None:
        self.best, self.block = best, block
        self.hooks = {name: getattr(best, name) for name in ("on_train_batch_start", "on_train_batch_end")}
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self.begun = self.inside = 0.0
        self.calls = 0

    def timed(self, hook: Any) -> Any:
        """The hook, its time counted: a busy machine blurs the difference of blocks, not this."""

        def call(*arguments: Any, **named: Any) -> None:
            begun = time.perf_counter()
            hook(*arguments, **named)
            self.inside += time.perf_counter() - begun
            self.calls += 1

        return call

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Take the time at a block's border, and turn over."""
        if batch_idx % self.block:
            return
        now, on = time.perf_counter(), batch_idx // self.block % 2 == 0
        if batch_idx > self.block:  # the first block warms up
            self.seconds[not on].append((now - self.begun) / self.block)
        for name, hook in self.hooks.items():
            setattr(self.best, name, self.timed(hook) if on else lambda *arguments, **named: None)
        self.begun = now


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--block", type=int, default=10, help="steps of a block")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--batch", type=int, default=8, help="messages a step, 32 tokens each")
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        best = BestCheckpoint(dirpath=folder, every_minutes=1e6)
        turns = InTurn(best, options.block)
        trainer = Trainer(
            accelerator="cpu",
            precision="32-true",
            max_epochs=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[turns, best],
            default_root_dir=folder,
        )
        ids = torch.randint(0, 30_000, (options.steps * options.batch, 32))
        trainer.fit(
            Model(options.layers, options.width), DataLoader(TensorDataset(ids), batch_size=options.batch)
        )
        path = Path(folder, "last.ckpt")
        saves, checks = [], []
        for _ in range(options.saves):
            begun = time.perf_counter()
            trainer.save_checkpoint(path)
            saves.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            verify_checkpoint(path)
            checks.append(time.perf_counter() - begun)
        size = path.stat().st_size
    on, off = (statistics.median(turns.seconds[which]) for which in (True, False))
    save, check = statistics.median(saves), statistics.median(checks)
    inside = turns.inside / turns.calls * len(turns.hooks)
    figures = {
        "hooks": inside,
        "step_on": on, "step_off": off, "overhead": on / off - 1, "megabytes": size / 1e6, "save": save,
        "share_of_ten_minutes": save / _EVERY_SECONDS, "verify": check,
    }  # fmt: skip
    print(
        f"| | measured | aim |\n|---|---|---|\n| step, on | {on * 1e3:.1f} ms | |\n| step, off | {off * 1e3:.1f} ms | |"
    )
    print(f"| in the hooks of a step | {inside * 1e6:.0f} µs ({inside / off:.3%}) | under {_AIM_STEP:.0%} |")
    print(f"| overhead of a step, by blocks | {on / off - 1:+.2%} | under {_AIM_STEP:.0%} |")
    print(f"| a checkpoint of {size / 1e6:,.0f} MB, written | {save:.2f} s | |")
    print(f"| every ten minutes | {save / _EVERY_SECONDS:.3%} | under {_AIM_SAVES:.0%} |")
    print(f"| verified before it is loaded | {check:.2f} s ({size / 1e6 / check:,.0f} MB/s) | |")
    if options.json is not None:
        options.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
