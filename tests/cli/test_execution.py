"""What ends a run: lost workers and processes in our own words, and how a session is recorded."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.training.tiny import TinyClassifier, TinyData
from tocsin.cli.execution import execute, session
from tocsin.errors import DataError, Interrupted, TrainingError
from tocsin.plugins.manager import load_plugins
from tocsin.training.listing import read_run
from tocsin.training.runs import Run, start_run
from tocsin.training.trainer import Trainer


class Deadly(Dataset[Any]):
    """Its third row ends the process that reads it."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, row: int) -> Any:
        if row == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(4), torch.zeros(3)


class DeadlyData(TinyData):
    def train_dataloader(self) -> DataLoader:
        return DataLoader(Deadly(), batch_size=1, num_workers=1)


def test_a_dead_worker_of_the_data_ends_the_run_with_a_message(tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=str(tmp_path),
    )
    with pytest.raises(TrainingError, match="A worker process of the data ended before its time"):
        execute(trainer, "fit", TinyClassifier(), DeadlyData(), None)


def ended(
    tmp_path: Path, error: BaseException, argv: tuple[str, ...] = ("--config", "c.yaml")
) -> tuple[Run, dict]:
    run = start_run("floods", "fit", tmp_path)
    registry = load_plugins({"TOCSIN_PLUGINS": "off"})
    with pytest.raises(type(error)), session(run, "fit", argv, registry):
        raise error
    return run, json.loads((run.path / "provenance.json").read_text())


def test_an_error_before_the_trainer_is_recorded_without_message_texts(tmp_path: Path) -> None:
    run, record = ended(
        tmp_path, DataError("the text 'help us the water rises' is no date", file="a.csv", row=3)
    )
    assert (record["status"], record["error"]) == (
        "failed",
        "DataError: a.csv, row 3: the text '…' is no date",
    )
    found = read_run(run.path)
    assert (found.status, found.reason) == ("failed", record["error"])


def test_an_interrupt_is_no_failure_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stop = Interrupted(signal.SIGINT)
    run, record = ended(tmp_path, stop)
    assert (record["status"], record["signal"], record["error"]) == ("interrupted", "SIGINT", None)
    assert record["go_on"] == "tocsin fit --config c.yaml"
    assert str(stop) == "stopped by SIGINT; go on with: tocsin fit --config c.yaml"
    (run.path / "config.yaml").write_text("a: 1\n")
    _, record = ended(tmp_path, KeyboardInterrupt())
    assert (record["status"], record["signal"]) == ("interrupted", "SIGINT")


def test_a_killed_run_has_a_record_from_its_beginning(tmp_path: Path) -> None:
    run = start_run("floods", "fit", tmp_path)
    assert read_run(run.path).status == "running"
    run.close()
    assert read_run(run.path).status == "killed"
