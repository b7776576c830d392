"""A fit that stops at any moment and goes on equals one that was never stopped, in one process."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch.callbacks import Callback, EarlyStopping

from tests.training.tiny import TinyClassifier, TinyData
from tocsin.batches.position import next_step, steps_done
from tocsin.errors import CheckpointError
from tocsin.training.checkpoint_files import RUN_KEY, AtomicCheckpointIO
from tocsin.training.checkpoints import BestCheckpoint
from tocsin.training.loggers import RunCsvLogger, RunTensorBoardLogger
from tocsin.training.random_states import random_states, set_random_states
from tocsin.training.resume import newest_checkpoint


class Stop(Exception):
    """Ends a fit at once, as a kill would."""


class Drawing(TinyClassifier):
    """Draws from every generator in every step, accumulates over epochs, and notes what it did."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(0.3)
        self.seen = torchmetrics.MeanMetric()

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        drawn = random.random() + float(np.random.rand()) + float(torch.rand(()))
        vectors_BD, targets_BL = batch
        super().training_step([self.dropout(vectors_BD) * (1 + 0.1 * drawn), targets_BL], batch_idx)
        self.seen.update(torch.tensor(drawn))
        self.log("train/drawn", torch.tensor(drawn), on_step=True, on_epoch=True, batch_size=batch_idx + 1)
        if batch_idx % 3 == 2:
            self.log("train/most", torch.tensor(drawn), on_epoch=True, on_step=False, reduce_fx="max")

    def on_train_epoch_end(self) -> None:
        self.log("train/seen", self.seen.compute())
        self.seen.reset()


class Data(TinyData):
    """Shuffles by epoch, and knows its position."""

    def __init__(self) -> None:
        super().__init__(batch_size=8)
        self.position: dict[str, Any] | None = None

    def train_dataloader(self) -> Any:
        return Loader(self)

    def state_dict(self) -> dict[str, Any]:
        epoch, step = next_step(self.trainer)
        return {"epoch": epoch, "step": step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = state_dict


class Loader:
    def __init__(self, data: Data) -> None:
        self.data = data

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Any:
        epoch, first = next_step(self.data.trainer)
        if self.data.position is not None:
            epoch, first = self.data.position["epoch"], self.data.position["step"]
            self.data.position = None
        order = np.random.default_rng(epoch).permutation(64)
        for step in range(first, 8):
            rows = order[step * 8 : step * 8 + 8]
            yield [tensor[rows] for tensor in self.data.dataset.tensors]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


class StopAt(Callback):
    """Raises before a step, or in a validation after saving there."""

    def __init__(self, step: int | None = None, batch: int | None = None) -> None:
        self.step, self.batch, self.validations = step, batch, 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise Stop

    def on_validation_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
        self.validations += 1
        if self.validations == self.batch:
            trainer.checkpoint_callback.save_now(trainer)
            raise Stop


def fit(
    folder: Path, stop: StopAt | None = None, resume: Path | None = None, **options: Any
) -> tuple[Any, Drawing]:
    """One session in a folder."""
    from tocsin.training import Trainer

    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    module = Drawing()
    if resume is not None:  # whatever was drawn on the way here does not count
        torch.manual_seed(99)
        random.seed(99)
        np.random.seed(99)
    best = BestCheckpoint(every_minutes=1e-9, dirpath=str(folder / "checkpoints"))
    stopping = EarlyStopping("validation/macro_roc_auc", mode="max", patience=options.pop("patience", 3))
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        precision="32-true",
        logger=[RunCsvLogger(str(folder)), RunTensorBoardLogger(str(folder))],
        log_every_n_steps=3,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*([stop] if stop else []), best, stopping],
        default_root_dir=str(folder),
        **{"max_epochs": 3, **options},
    )
    try:
        trainer.fit(module, datamodule=Data(), ckpt_path=resume and str(resume), weights_only=True)
    except Stop:
        pass
    else:
        assert stop is None
    for logger in trainer.loggers:
        logger.finalize("failed")
    return trainer, module


def facts(folder: Path) -> dict[str, Any]:
    checkpoint = AtomicCheckpointIO().load_checkpoint(folder / "checkpoints" / "last.ckpt")
    best = AtomicCheckpointIO().load_checkpoint(folder / "checkpoints" / "best.ckpt")
    run = checkpoint[RUN_KEY]
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "weights": [w.tolist() for each in (checkpoint, best) for w in each["state_dict"].values()],
        "optimiser": str(checkpoint["optimizer_states"]),
        "loops": str(checkpoint["loops"]["fit_loop"]),
        "stopping": [str(v) for k, v in checkpoint["callbacks"].items() if k.startswith("EarlyStopping")],
        "random": str(run["ranks"][0]["random"]),
        "logged": str(run["logged"]),
        "best step": best["global_step"],
        "rows": rows,
    }


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*exists and is not empty", "ignore:.*in eval mode at the start"
)
SETTINGS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "within": {"val_check_interval": 3},
    "across": {"val_check_interval": 5, "check_val_every_n_epoch": None},
    "second": {"check_val_every_n_epoch": 2},
    "steps": {"max_steps": 13},
    "part": {"limit_train_batches": 5},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_fit_that_stops_before_a_step_goes_on_equal(kind: str, tmp_path: Path) -> None:
    goes_on_equal(tmp_path, SETTINGS[kind], (7, 3) if kind == "within" else (10,))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_fit_that_stops_before_any_step_goes_on_equal(kind: str, tmp_path: Path) -> None:
    goes_on_equal(tmp_path, SETTINGS[kind], range(1, 25))


def goes_on_equal(tmp_path: Path, options: dict[str, Any], steps: Iterable[int]) -> None:
    trainer, _ = fit(tmp_path / "whole", **options)
    wanted = facts(tmp_path / "whole")
    for step in (step for step in steps if step <= trainer.global_step):
        folder = tmp_path / f"step-{step}"
        fit(folder, StopAt(step=step), **options)
        newest = newest_checkpoint(folder / "checkpoints")
        fit(folder, None, newest, **options)
        found = facts(folder)
        assert {name: found[name] for name in wanted} == wanted, step


@pytest.mark.parametrize("kind", ["epochs", "within"])
def test_a_fit_that_stops_within_a_validation_repeats_it(kind: str, tmp_path: Path) -> None:
    options = SETTINGS[kind]
    fit(tmp_path / "whole", **options)
    wanted = facts(tmp_path / "whole")
    for batch in (9,):
        folder = tmp_path / f"batch-{batch}"
        fit(folder, StopAt(batch=batch), **options)
        fit(folder, None, folder / "checkpoints" / "last.ckpt", **options)
        assert facts(folder) == wanted, batch


def test_random_states_go_round() -> None:
    before = random_states()

    def draw() -> list[float]:
        return [random.gauss(0, 1), float(np.random.normal()), float(torch.rand(()))]

    first = draw()
    between = random_states()
    second = draw()
    assert set_random_states(before) == []
    assert draw() == first
    set_random_states(between)
    assert draw() == second
    assert set_random_states({**before, "cuda": [torch.zeros(16, dtype=torch.uint8)] * 99})[0].startswith(
        "the random"
    )


def test_another_number_of_processes_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, StopAt(step=5))
    path = tmp_path / "checkpoints" / "last.ckpt"
    files = AtomicCheckpointIO()
    checkpoint = files.load_checkpoint(path)
    checkpoint[RUN_KEY]["ranks"] *= 2
    files.save_checkpoint(checkpoint, path)
    with caplog.at_level("INFO"):
        trainer, _ = fit(tmp_path, None, path)
    assert "written by 2 processes, the fit goes on with 1" in caplog.text
    assert "Not bit-equal" in caplog.text
    assert trainer.global_step == 24


def test_a_checkpoint_without_run_state_is_said_and_one_of_a_later_version_refused(tmp_path: Path) -> None:
    fit(tmp_path, StopAt(step=5))
    path = tmp_path / "checkpoints" / "last.ckpt"
    files = AtomicCheckpointIO()
    checkpoint = files.load_checkpoint(path)
    later = {**checkpoint, RUN_KEY: {**checkpoint[RUN_KEY], "format": 2}}
    files.save_checkpoint(later, path)
    with pytest.raises(CheckpointError, match="run state has format 2; this version of Tocsin reads up to 1"):
        fit(tmp_path, None, path)
    del checkpoint[RUN_KEY]
    files.save_checkpoint(checkpoint, path)
    with pytest.warns(UserWarning, match="holds no random states"):
        fit(tmp_path, None, path)


def test_a_best_of_a_branch_that_was_left_is_not_mixed_up(tmp_path: Path) -> None:
    fit(tmp_path, StopAt(step=10))
    early = tmp_path / "early.ckpt"
    AtomicCheckpointIO().duplicate(tmp_path / "checkpoints" / "last.ckpt", early)
    fit(tmp_path, StopAt(step=17), early)  # its best may be that of step 16
    AtomicCheckpointIO().duplicate(
        tmp_path / "checkpoints" / "last.ckpt", tmp_path / "checkpoints" / "best.ckpt"
    )
    with pytest.warns(UserWarning, match="was saved after the checkpoint from which the fit goes on"):
        trainer, _ = fit(tmp_path, StopAt(step=11), early)
    assert trainer.checkpoint_callback.best_model_score is None


def test_positions_are_counted_from_the_trainer(tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, None, max_steps=11)
    assert steps_done(trainer) == (1, 3)
    assert next_step(trainer) == (1, 3)
    trainer, _ = fit(tmp_path / "whole", None)
    assert (steps_done(trainer), next_step(trainer)) == ((2, 8), (3, 0))


def test_a_fit_that_early_stopping_ended_stays_ended(tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, None, max_epochs=20, patience=1)
    ended = trainer.global_step
    assert ended < 160
    again, _ = fit(tmp_path, None, tmp_path / "checkpoints" / "last.ckpt", max_epochs=20, patience=1)
    assert again.global_step == ended
    longer, _ = fit(tmp_path, None, tmp_path / "checkpoints" / "last.ckpt", max_epochs=21, patience=1)
    assert longer.global_step > ended
