"""Positions under a Trainer: epochs differ, short epochs too, and a resumed fit sees what was left, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from tests.builders import quiet_trainer, tiny_classifier, tiny_data


class Watch(Callback):
    """Notes the messages of each optimiser step; saves a checkpoint after the step `save_after` (from 1)."""

    def __init__(self, save_after: int = 0, path: Path | None = None) -> None:
        self.steps: list[tuple[int, tuple[int, ...]]] = []
        self.save_after, self.path = save_after, path

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        rows = sorted(int(row) for part in batch.passes for row in part.rows_B)
        self.steps.append((trainer.current_epoch, tuple(rows)))
        if len(self.steps) == self.save_after:
            trainer.save_checkpoint(self.path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


def fit(
    folder: Path, watch: Watch, checkpoint: Path | None = None, pool_steps: int = 1, **options: Any
) -> Any:
    data = tiny_data(folder / "messages.parquet", pool_steps=pool_steps)
    settings = {"max_epochs": 3, "limit_val_batches": 0, "callbacks": [watch], **options}
    trainer = quiet_trainer(folder, **settings)
    trainer.fit(tiny_classifier(folder / "encoder"), datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return data


def epochs(watch: Watch) -> list[list[tuple[int, ...]]]:
    return [[rows for epoch, rows in watch.steps if epoch == number] for number in range(3)]


def test_each_epoch_shows_every_message_once_in_an_order_of_its_own(folder: Path) -> None:
    watch = Watch()
    data = fit(folder, watch)
    for steps in epochs(watch):
        assert sorted(row for step in steps for row in step) == data.rows("train").tolist()
    assert len({tuple(steps) for steps in epochs(watch)}) == 3


def test_epochs_cut_short_begin_as_whole_ones_do(folder: Path) -> None:
    whole, cut = Watch(), Watch()
    fit(folder, whole)
    fit(folder, cut, limit_train_batches=4)
    assert [len(steps) for steps in epochs(cut)] == [4, 4, 4]
    assert epochs(cut) == [steps[:4] for steps in epochs(whole)]


@pytest.mark.parametrize(
    ("done", "limit", "pool"), [(4, 1.0, 1), (9, 1.0, 3), (13, 1.0, 3), (6, 4, 1)], ids=str
)
def test_a_resumed_fit_sees_what_was_left_once(
    folder: Path, tmp_path: Path, done: int, limit: float, pool: int
) -> None:
    whole, resumed = Watch(done, tmp_path / "mid.ckpt"), Watch()
    fit(folder, whole, limit_train_batches=limit, pool_steps=pool)
    fit(folder, resumed, tmp_path / "mid.ckpt", limit_train_batches=limit, pool_steps=pool)
    assert resumed.steps == whole.steps[done:]


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_validation_end"])
def test_a_fit_resumed_between_epochs_goes_on_with_the_next(folder: Path, tmp_path: Path, hook: str) -> None:
    class Save(Callback):
        """Saves at the end of the first epoch, as checkpoint callbacks do."""

        def save(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "end.ckpt")

    setattr(Save, hook, Save.save)
    whole, resumed = Watch(), Watch()
    fit(folder, whole, limit_val_batches=1.0, max_epochs=2, callbacks=[whole, Save()])
    fit(folder, resumed, tmp_path / "end.ckpt", limit_val_batches=1.0, max_epochs=2)
    assert resumed.steps == whole.steps[9:]
    assert len(resumed.steps) == 9


def test_a_second_resume_goes_on_from_the_first(folder: Path, tmp_path: Path) -> None:
    whole, first, second = Watch(3, tmp_path / "a.ckpt"), Watch(2, tmp_path / "b.ckpt"), Watch()
    fit(folder, whole)
    fit(folder, first, tmp_path / "a.ckpt")
    fit(folder, second, tmp_path / "b.ckpt")
    assert second.steps == whole.steps[5:]
