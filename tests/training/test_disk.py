"""Room is counted before a fit; a disk that fills up, or becomes read-only, ends nothing."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import message_file, quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tocsin.bundles.callback import _of_checkpoint, where_there_is_room
from tocsin.cache_entries import check_cache_room
from tocsin.errors import CheckpointError, ConfigError, DataError
from tocsin.files import FullDiskWarning, is_no_room
from tocsin.scores.table import ScoresTable
from tocsin.training import disk, fallback
from tocsin.training.checkpoints import BestCheckpoint
from tocsin.training.disk import DiskCheck
from tocsin.training.fallback import FallbackCheckpointIO


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


def fill(place: Path) -> Path:
    filler = place / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(place).free == 0
    return filler


def state(number: float) -> dict[str, Any]:
    return {"state_dict": {"weight": torch.full((20_000,), number)}, "global_step": int(number)}


def test_checkpoints_leave_a_full_disk_and_come_back(small_disk: Path, elsewhere: Path) -> None:
    home = small_disk / "runs" / "floods" / "2026-11-21T18-04-05-fit" / "checkpoints"
    files = FallbackCheckpointIO()
    files.save_checkpoint(state(1), home / "best.ckpt")
    filler = fill(small_disk)
    with pytest.warns(FullDiskWarning, match=r"best.ckpt cannot be written \(No space left on device\)"):
        files.save_checkpoint(state(2), home / "best.ckpt")
    files.duplicate(home / "best.ckpt", home / "last.ckpt")  # said already
    place = files.where(home / "best.ckpt")
    assert place is not None
    assert place.is_relative_to(elsewhere)
    for name in ("best.ckpt", "last.ckpt"):
        assert files.load_checkpoint(home / name)["global_step"] == 2
    assert (
        FallbackCheckpointIO().load_checkpoint(home / "best.ckpt")["global_step"] == 1
    )  # whole all the time
    filler.unlink()
    files.save_checkpoint(state(3), home / "last.ckpt")
    assert not files.moved
    found = FallbackCheckpointIO()
    assert [found.load_checkpoint(home / name)["global_step"] for name in ("best.ckpt", "last.ckpt")] == [
        2,
        3,
    ]
    assert not list(elsewhere.rglob("*.ckpt"))


def test_without_room_anywhere_they_stay_in_memory(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    home, files = small_disk / "runs" / "floods" / "a" / "checkpoints", FallbackCheckpointIO()
    filler = fill(small_disk)
    with pytest.warns(FullDiskWarning, match="kept in memory|its checkpoints go to"):
        files.save_checkpoint(state(2), home / "best.ckpt")
    assert files.where(home / "best.ckpt") is None
    assert files.load_checkpoint(home / "best.ckpt")["global_step"] == 2
    filler.unlink()
    files.save_checkpoint(state(3), home / "last.ckpt")
    assert FallbackCheckpointIO().load_checkpoint(home / "best.ckpt")["global_step"] == 2


def test_what_is_no_matter_of_room_is_raised(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="more than plain data"):
        FallbackCheckpointIO().save_checkpoint({"model": torch.nn.Linear(1, 1)}, tmp_path / "a" / "b.ckpt")
    assert not is_no_room(OSError(errno.EIO, "broken"))
    assert is_no_room(OSError(errno.EROFS, "read-only"))


def test_a_bundle_goes_where_there_is_room(tmp_path: Path, elsewhere: Path) -> None:
    def save(folder: Path) -> None:
        if tmp_path / "run" in folder.parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        folder.mkdir()

    with pytest.warns(FullDiskWarning, match="it goes to"):
        found = where_there_is_room(tmp_path / "run" / "bundle", save)
    assert found.is_dir()
    assert elsewhere in found.parents


def test_a_fit_without_room_is_refused_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_encoder(tmp_path / "encoder")

    def fit() -> Any:
        saver = BestCheckpoint(dirpath=str(tmp_path / "run" / "checkpoints"))
        callbacks = [DiskCheck(str(tmp_path / "run" / "bundle")), saver]
        trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(tiny_classifier(tmp_path / "encoder"), datamodule=tiny_data(tmp_path / "m.parquet"))
        return trainer

    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1_000_000)
    with pytest.raises(ConfigError, match=r"has 1\.00 MB of room; .* 4 checkpoints of 0\.\d\d MB .*=off"):
        fit()
    monkeypatch.setenv(disk.CHECK_DISK, "off")
    assert fit().global_step == 9
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    largest = max(file.stat().st_size for file in (tmp_path / "run" / "checkpoints").glob("*.ckpt"))
    expected = disk.checkpoint_bytes(tiny_built(tmp_path))
    assert (
        expected < largest < expected + 200_000
    )  # names and structure of a tiny one weigh as much as its numbers


def tiny_built(folder: Path) -> Any:
    model = tiny_classifier(folder / "encoder")
    model.build()
    return model


def test_a_cache_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin.cache_entries.free_bytes", lambda folder: 100)
    path = message_file(tmp_path / "m.parquet")
    tiny_encoder(tmp_path / "encoder")
    with pytest.raises(DataError, match=r"the cache has 0\.0 MB of room.*TOCSIN_CACHE"):
        quiet_trainer(tmp_path).fit(tiny_classifier(tmp_path / "encoder"), datamodule=tiny_data(path))
    check_cache_room(tmp_path / "a", 100)


def test_the_place_of_a_stand_in_is_named_after_the_run(tmp_path: Path, elsewhere: Path) -> None:
    target = tmp_path / "runs" / "floods" / "2026-fit" / "checkpoints" / "last.ckpt"
    assert fallback._stand_in(target) == elsewhere / "tocsin-floods-2026-fit" / "checkpoints" / "last.ckpt"


def test_scores_of_an_earlier_best_are_not_those_of_one_in_memory() -> None:
    table = ScoresTable(ids=["a"], labels=("x",), probabilities_NL=np.full((1, 1), 0.5))
    assert _of_checkpoint(table, {}) is table
    earlier = replace(table, metadata={"checkpoint": "0" * 64})
    assert _of_checkpoint(earlier, {"checkpoint": "0" * 64}) is earlier
    for facts in ({}, {"checkpoint": "1" * 64}):
        with pytest.warns(UserWarning, match="of another checkpoint"):
            assert _of_checkpoint(earlier, facts) is None
