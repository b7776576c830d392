"""Whether the disk has room for what a fit will write: counted before its first step."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from tocsin.errors import ConfigError
from tocsin.files import free_bytes
from tocsin.training.checkpoints import BestCheckpoint

__all__ = ["CHECK_DISK", "DiskCheck", "checkpoint_bytes"]

CHECK_DISK = "TOCSIN_CHECK_DISK"
"""Environment variable: "off" lets a fit begin whatever room there is."""
_MOMENTS = 2  # numbers that AdamW keeps of each weight; other optimisers keep fewer
_BESIDE = 4 << 20  # bytes of curves, scores and records, beside checkpoints and bundle


class DiskCheck(Callback):
    """Refuses a fit whose checkpoints and bundle have no room in the run's folder.

    Args:
        bundle: Where the bundle will lie.
    """

    def __init__(self, bundle: str) -> None:
        self.bundle = Path(bundle)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Weights and optimiser are known by now, and no step is made.

        Raises:
            ConfigError: What is needed, what there is, and how to go on.
        """
        if not trainer.is_global_zero or os.environ.get(CHECK_DISK, "").lower() == "off":
            return
        saver = next(
            (each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None
        )
        if saver is None or saver.dirpath is None:
            return
        one = checkpoint_bytes(pl_module)
        # best, last, the one before it where it is kept, and the one that is being written
        copies = 3 + saver.keep_previous
        there = sum(
            file.stat().st_size for file in Path(saver.dirpath).glob("*.ckpt")
        )  # of a run that goes on
        bundle = _bytes_of([*pl_module.parameters(), *pl_module.buffers()])
        needed, free = max(0, copies * one - there) + bundle + _BESIDE, free_bytes(self.bundle.parent)
        if needed > free:
            raise ConfigError(
                f"The run's folder {self.bundle.parent} has {_words(free)} of room; this fit may need "
                f"{_words(needed)}: {copies} checkpoints of {_words(one)} (weights, optimiser, average) and a bundle "
                f"of {_words(bundle)}. "
                "Make room, take another folder (--runs), save fewer (keep_previous: false of BestCheckpoint), or set "
                f"{CHECK_DISK}=off to begin all the same."
            )


def checkpoint_bytes(module: pl.LightningModule) -> int:
    """Bytes of a checkpoint, about: what is trained, what the optimiser keeps of it, and an average of it."""
    trained = _bytes_of(p for p in module.parameters() if p.requires_grad)
    copies: Any = 1 + _MOMENTS + (getattr(module, "ema_decay", None) is not None)
    return int(trained * copies)


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _words(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e7 else f"{count / 1e6:,.2f} MB"
