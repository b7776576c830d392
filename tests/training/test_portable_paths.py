"""A checkpoint names the other files of its run from its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tocsin.training.checkpoints import AtomicCheckpointIO


def state(folder: Path) -> dict[str, Any]:
    """What Lightning's checkpoint callback keeps, and paths elsewhere."""
    return {
        "BestCheckpoint": {
            "dirpath": str(folder),
            "best_model_path": str(folder / "best.ckpt"),
            "best_k_models": {str(folder / "best.ckpt"): torch.tensor(0.5)},
            "last_model_path": "",
            "kept": ["/elsewhere/best.ckpt", 3, None],
        },
        "run": str(folder.parent),
        "beside": f"{folder.parent}-2/best.ckpt",
    }


def test_a_checkpoint_gives_its_paths_back_where_it_lies_now(tmp_path: Path) -> None:
    files = AtomicCheckpointIO()
    folder = tmp_path / "people" / "run" / "checkpoints"
    callbacks = state(folder)
    given = {"callbacks": callbacks, "epoch": 1}
    files.save_checkpoint(given, folder / "last.ckpt")
    assert given["callbacks"] is callbacks  # the trainer's own state is as it was
    assert callbacks == state(folder)
    raw = (folder / "last.ckpt").read_bytes()
    assert str(folder).encode() not in raw
    assert files.load_checkpoint(folder / "last.ckpt") == given
    (tmp_path / "people").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "run" / "checkpoints"
    wanted = state(moved) | {"beside": f"{folder.parent}-2/best.ckpt"}
    assert files.load_checkpoint(moved / "last.ckpt")["callbacks"] == wanted
    (tmp_path / "latest").symlink_to(tmp_path / "moved" / "run")
    assert files.load_checkpoint(tmp_path / "latest" / "checkpoints" / "last.ckpt")["callbacks"] == wanted
