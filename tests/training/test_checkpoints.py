from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from tests.training.tiny import TinyClassifier, TinyData
from tocsin.errors import CheckpointError
from tocsin.training import checkpoint_files as module
from tocsin.training.checkpoints import AtomicCheckpointIO, BestCheckpoint, manifest_path

FIRST = {"state_dict": {"w": torch.arange(6.0)}, "epoch": 1}
SECOND = {"state_dict": {"w": torch.arange(9.0)}, "epoch": 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "last.ckpt"


@pytest.fixture
def files() -> AtomicCheckpointIO:
    return AtomicCheckpointIO()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_saves_loads_and_removes(files, path) -> None:
    files.save_checkpoint(FIRST, path)
    assert names(path.parent) == ["last.ckpt", "last.ckpt.sha256"]
    loaded = files.load_checkpoint(path)
    assert loaded["epoch"] == 1
    assert torch.equal(loaded["state_dict"]["w"], torch.arange(6.0))
    manifest = json.loads(manifest_path(path).read_text())
    assert manifest == {"sha256": module.file_sha256(path), "bytes": path.stat().st_size}
    files.save_checkpoint(SECOND, path)
    assert files.load_checkpoint(path)["epoch"] == 2
    files.remove_checkpoint(path)
    files.remove_checkpoint(path)
    assert names(path.parent) == []


@pytest.mark.parametrize("place", [0, 100, -1])
def test_flipped_byte_is_refused(files, path, place) -> None:
    files.save_checkpoint(FIRST, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last.ckpt was altered"):
        files.load_checkpoint(path)


def test_torn_and_missing_files_are_refused(files, path) -> None:
    files.save_checkpoint(FIRST, path)
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    with pytest.raises(CheckpointError, match=r"last.ckpt is torn"):
        files.load_checkpoint(path)
    manifest_path(path).unlink()
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        files.load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"best.ckpt: there is no such checkpoint; there: last.ckpt"):
        files.load_checkpoint(path.with_name("best.ckpt"))


def test_damaged_manifest_is_refused(files, path) -> None:
    files.save_checkpoint(FIRST, path)
    manifest_path(path).write_text("[]")
    with pytest.raises(CheckpointError, match="not a checkpoint's manifest"):
        files.load_checkpoint(path)


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize(
    "write", [torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb, protocol=2))]
)
def test_foreign_pickle_runs_nothing(files, tmp_path, write) -> None:
    marker, path = tmp_path / "ran", tmp_path / "foreign.ckpt"
    write({"state_dict": _Bomb(marker)}, path)
    for weights_only in (None, False):
        with pytest.raises(CheckpointError, match="not a plain-data checkpoint"):
            files.load_checkpoint(path, weights_only=weights_only)
    assert not marker.exists()


def test_state_that_could_not_be_read_again_is_refused_when_saved(files, path) -> None:
    files.save_checkpoint(FIRST, path)
    with pytest.raises(CheckpointError, match=r"more than plain data \(.*scalar"):
        files.save_checkpoint({"best": np.float64(0.5)}, path)
    with pytest.raises(CheckpointError, match="could not be written"):
        files.save_checkpoint({"step": lambda: None}, path)
    assert files.load_checkpoint(path)["epoch"] == 1
    assert names(path.parent) == ["last.ckpt", "last.ckpt.sha256"]


@pytest.mark.parametrize("limit", [0, 300])
def test_full_disk_keeps_the_checkpoint_that_was_there(files, path, monkeypatch, limit) -> None:
    files.save_checkpoint(FIRST, path)
    write = module._HashingFile.write

    def fill(self: module._HashingFile, data: bytes) -> int:
        if self.bytes + len(data) > limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(module._HashingFile, "write", fill)
    with pytest.raises(
        CheckpointError, match=r"could not be written.*earlier checkpoint of that name is kept"
    ):
        files.save_checkpoint(SECOND, path)
    assert files.load_checkpoint(path)["epoch"] == 1
    assert names(path.parent) == ["last.ckpt", "last.ckpt.sha256"]


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(3))
def test_a_kill_at_each_rename_leaves_a_loadable_pair(files, path, monkeypatch, moment) -> None:
    files.save_checkpoint(FIRST, path)
    replace, calls = os.replace, []

    def kill(source: object, target: object) -> None:
        calls.append(target)
        if len(calls) == moment + 1:
            raise _Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(_Killed):
        files.save_checkpoint(SECOND, path)
    monkeypatch.undo()
    assert files.load_checkpoint(path)["epoch"] == (2 if moment == 2 else 1)
    files.save_checkpoint(SECOND, path)
    assert "previous" not in json.loads(manifest_path(path).read_text())


def test_copy_survives_a_later_save(files, path) -> None:
    files.save_checkpoint(FIRST, path)
    copy = path.with_name("best.ckpt")
    files.duplicate(path, copy)
    files.save_checkpoint(SECOND, path)
    assert files.load_checkpoint(copy)["epoch"] == 1
    files.duplicate(path, copy)
    assert files.load_checkpoint(copy)["epoch"] == 2


def test_copy_where_links_are_impossible(files, path, monkeypatch) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    files.save_checkpoint(FIRST, path)
    files.duplicate(path, path.with_name("best.ckpt"))
    assert files.load_checkpoint(path.with_name("best.ckpt"))["epoch"] == 1
    assert not path.samefile(path.with_name("best.ckpt"))


def test_remote_stores_are_refused_with_advice(files) -> None:
    with pytest.raises(CheckpointError, match="TorchCheckpointIO"):
        files.save_checkpoint(FIRST, "s3://bucket/last.ckpt")


def test_best_and_last_keep_their_names(trainer, tmp_path) -> None:
    best = BestCheckpoint(dirpath=str(tmp_path / "run" / "checkpoints"))
    built = trainer(max_epochs=4, callbacks=[best])
    built.fit(TinyClassifier(metrics=[0.5, 0.8, 0.7, 0.6]), datamodule=TinyData())
    folder = tmp_path / "run" / "checkpoints"
    kept = ("best.ckpt", "last-previous.ckpt", "last.ckpt")
    assert names(folder) == sorted([*kept, *(f"{name}.sha256" for name in kept)])
    assert len({(folder / name).stat().st_ino for name in kept}) == 3  # damage to one spares the others
    files = AtomicCheckpointIO()
    assert files.load_checkpoint(folder / "best.ckpt")["epoch"] == 1
    last = files.load_checkpoint(folder / "last.ckpt")
    assert (last["epoch"], last["global_step"]) == (3, 16)
    assert best.best_model_score.item() == pytest.approx(0.8)
    assert [Path(best.best_model_path).name, Path(best.last_model_path).name] == ["best.ckpt", "last.ckpt"]


def test_trainer_tests_the_best_checkpoint_and_refuses_a_flipped_byte(trainer, tmp_path) -> None:
    built = trainer(callbacks=[BestCheckpoint()])
    built.fit(TinyClassifier(), datamodule=TinyData())
    path = tmp_path / "checkpoints" / "best.ckpt"
    fresh = TinyClassifier()
    built.test(fresh, datamodule=TinyData(), ckpt_path=str(path), verbose=False)
    wanted = AtomicCheckpointIO().load_checkpoint(path)["state_dict"]["layer.weight"]
    assert torch.equal(fresh.layer.weight, wanted)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best.ckpt was altered"):
        trainer().test(TinyClassifier(), datamodule=TinyData(), ckpt_path=str(path))


def test_a_resumed_fit_goes_on_from_last(trainer, tmp_path) -> None:
    settings = {"callbacks": [BestCheckpoint()]}
    trainer(max_epochs=1, **settings).fit(TinyClassifier(metrics=[0.9]), datamodule=TinyData())
    built = trainer(max_epochs=2, callbacks=[BestCheckpoint()])
    with pytest.warns(UserWarning, match="exists and is not empty"):
        built.fit(
            TinyClassifier(metrics=[0.9, 0.4]),
            datamodule=TinyData(),
            ckpt_path=str(tmp_path / "checkpoints" / "last.ckpt"),
        )
    assert built.global_step == 8
    files = AtomicCheckpointIO()
    assert files.load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["epoch"] == 0
    assert files.load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 1


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_without_validation_data_only_last_is_kept_and_said(trainer, tmp_path, caplog) -> None:
    with caplog.at_level("INFO"):
        best = BestCheckpoint(keep_previous=False)
        trainer(callbacks=[best]).fit(TinyClassifier(), datamodule=TinyData(validation=False))
    assert "only last.ckpt is kept" in caplog.text
    assert names(tmp_path / "checkpoints") == ["last.ckpt", "last.ckpt.sha256"]
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 8


def test_a_fit_cut_short_by_steps_is_kept_whole(trainer, tmp_path) -> None:
    trainer(max_epochs=3, max_steps=6, callbacks=[BestCheckpoint()]).fit(
        TinyClassifier(), datamodule=TinyData()
    )
    files = AtomicCheckpointIO()
    assert files.load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["global_step"] == 4
    assert files.load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 6


def test_validation_within_an_epoch_saves_too(trainer, tmp_path) -> None:
    best = BestCheckpoint()
    trainer(max_epochs=1, val_check_interval=2, callbacks=[best]).fit(TinyClassifier(), datamodule=TinyData())
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4
    assert (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_a_metric_nobody_logs_is_named(trainer) -> None:
    with pytest.raises(Exception, match=r"validation/accuracy.*validation/macro_roc_auc"):
        trainer(callbacks=[BestCheckpoint(monitor="validation/accuracy")]).fit(
            TinyClassifier(), datamodule=TinyData()
        )


def test_a_callback_with_unreadable_state_fails_at_the_first_save(trainer) -> None:
    class Keeper(Callback):
        def state_dict(self) -> dict:
            return {"best": np.float64(1.0)}

    with pytest.raises(CheckpointError, match="more than plain data"):
        trainer(callbacks=[BestCheckpoint(), Keeper()]).fit(TinyClassifier(), datamodule=TinyData())
