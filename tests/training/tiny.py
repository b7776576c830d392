"""A classifier of random vectors that optimises by hand and keeps the promises our callbacks rely on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from tocsin.scores.metrics import evaluate
from tocsin.scores.table import ScoresTable

LABELS = ("flood", "fire", "child_alone")
WIDTH = 4


class TinyClassifier(pl.LightningModule):
    """Logits of three labels from vectors of width 4; the last label never has a positive."""

    def __init__(self, metrics: list[float] | None = None, fail_at: int | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(WIDTH, len(LABELS))
        self.scores: dict[str, ScoresTable] = {}
        self.last_step: Any = None
        self.metrics = metrics  # what validation claims, an epoch each; None: the truth
        self.fail_at = fail_at
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.layer.parameters(), lr=0.05)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        if self.fail_at == self.global_step:
            raise RuntimeError("the machine caught fire\nand more")
        vectors_BD, targets_BL = batch
        optimizer = self.optimizers()
        optimizer.zero_grad()
        known_BL = ~torch.isnan(targets_BL)
        losses_BL = torch.nn.functional.binary_cross_entropy_with_logits(
            self.layer(vectors_BD), targets_BL.nan_to_num(), reduction="none"
        )
        loss = losses_BL[known_BL].mean()
        self.manual_backward(loss)
        optimizer.step()
        self.log("train/loss", loss.detach())
        rows = len(vectors_BD)
        self.last_step = SimpleNamespace(messages=rows, tokens=10 * rows, padded_tokens=12 * rows, passes=2)

    def _evaluate(self, batch: list[torch.Tensor]) -> None:
        self._rows.append((self.layer(batch[0]).float(), batch[1]))

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self._evaluate(batch)

    def _finish(self, stage: str) -> None:
        logits_NL = torch.cat([logits for logits, _ in self._rows]).numpy()
        targets_NL = torch.cat([targets for _, targets in self._rows]).numpy()
        self._rows.clear()
        n = len(logits_NL)
        self.scores[stage] = ScoresTable(
            ids=np.arange(n).astype(str),
            labels=LABELS,
            logits_NL=logits_NL,
            targets_NL=targets_NL,
            langs=np.array(["en", "ht", "es", None] * n, dtype=object)[:n],
            metadata={"epoch": str(self.current_epoch)},
        )
        found = evaluate(self.scores[stage])
        value = found.macro["roc_auc"] if self.metrics is None else self.metrics[self.current_epoch]
        self.log(f"{stage}/macro_roc_auc", value)
        self.log(f"{stage}/macro_f1", found.macro["f1"])

    def on_validation_epoch_end(self) -> None:
        self._finish("validation")

    def on_test_epoch_end(self) -> None:
        self._finish("test")


class TinyData(pl.LightningDataModule):
    """64 random vectors; two numbers decide two labels, and one target in eight is unknown."""

    def __init__(self, batch_size: int = 16, validation: bool = True) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.validation = validation
        generator = torch.Generator().manual_seed(1)
        vectors_ND = torch.randn(64, WIDTH, generator=generator)
        targets_NL = (vectors_ND[:, : len(LABELS)] > 0).float()
        targets_NL[:, -1] = 0
        targets_NL[::8, 0] = torch.nan
        self.dataset = TensorDataset(vectors_ND, targets_NL)

    def _loader(self) -> DataLoader:
        return DataLoader(self.dataset, batch_size=self.batch_size)

    def train_dataloader(self) -> DataLoader:
        return self._loader()

    def val_dataloader(self) -> Any:
        return self._loader() if self.validation else []

    def test_dataloader(self) -> DataLoader:
        return self._loader()
