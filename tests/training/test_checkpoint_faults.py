"""Saves that are killed at each of their calls, full disks, and files that were damaged afterwards."""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tocsin.errors import CheckpointError
from tocsin.training import checkpoint_files as module
from tocsin.training.checkpoint_files import RUN_KEY, AtomicCheckpointIO, manifest_path
from tocsin.training.resume import checkpoint_step, newest_checkpoint


def state(step: int) -> dict[str, Any]:
    """A checkpoint whose numbers all say its step."""
    return {
        "state_dict": {f"w{number}": torch.full((300,), float(step)) for number in range(3)},
        "global_step": step,
        RUN_KEY: {"save": step},
    }


def is_whole(path: Path, step: int) -> bool:
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    values = torch.cat([*loaded["state_dict"].values()])
    return bool(loaded["global_step"] == step and (values == step).all())


def files_in(folder: Path) -> AtomicCheckpointIO:
    files = AtomicCheckpointIO()
    files.kept[folder / "last.ckpt"] = folder / "last-previous.ckpt"
    return files


def save_all(files: AtomicCheckpointIO, folder: Path, step: int) -> None:
    """What a validation that is the best so far does."""
    files.save_checkpoint(state(step), folder / "best.ckpt")
    files.duplicate(folder / "best.ckpt", folder / "last.ckpt")


class Calls:
    """Counts every call that changes a file, and does something at one of them."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        self.number, self.then, self.count = number, then, 0

    def before(self) -> None:
        self.count += 1
        if self.count == self.number:
            self.then()

    def patch(self) -> None:
        for owner, name in (
            (os, "replace"), (os, "rename"), (os, "fsync"), (os, "open"), (os, "link"), (os, "unlink"),
            (os, "remove"), (os, "chmod"), (os, "close"), (Path, "write_bytes"), (shutil, "copyfile"),
            (tempfile, "mkstemp"), (module._HashingFile, "write"), (module, "write_footer"),
        ):  # fmt: skip
            self._wrap(owner, name)
        opened = builtins.open
        builtins.open = io.open = lambda *a, **k: (self.before(), opened(*a, **k))[1]

    def _wrap(self, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.before()
            return function(*arguments, **named)

        setattr(owner, name, call)


def forked(work: Callable[[], None]) -> int:
    """Do something in a child; minus the signal that ended it, or its exit code."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_at_calls_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    killed_saves(tmp_path, step=9)


@pytest.mark.slow
def test_a_kill_at_every_call_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    killed_saves(tmp_path, step=1)


def killed_saves(top: Path, step: int) -> None:
    """Kill a save at its first call, then at one `step` calls later, and so on until it is not reached."""
    save_all(files_in(top / "before"), top / "before", 1)
    save_all(files_in(top / "before"), top / "before", 2)
    moments = 0
    for number in range(1, 1000, step):
        folder = top / f"kill-{number}"
        shutil.copytree(top / "before", folder)
        files = files_in(folder)

        def work(number: int = number, folder: Path = folder, files: AtomicCheckpointIO = files) -> None:
            Calls(number, kill).patch()
            save_all(files, folder, 3)

        code = forked(work)
        assert code in (0, -signal.SIGKILL)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            newest = newest_checkpoint(folder)
        assert newest is not None
        assert is_whole(newest, 3 if code == 0 else checkpoint_step(newest) or 0)
        # Every name that stands is whole, and there are two of them at every moment.
        steps = [
            checkpoint_step(path)
            for path in folder.glob("*.ckpt")
            if is_whole(path, checkpoint_step(path) or 0)
        ]
        assert len(steps) == 3
        assert (folder / "last.ckpt").exists()
        # The next save is not troubled by what was left.
        save_all(files, folder, 4)
        assert is_whole(folder / "last.ckpt", 4)
        assert not list(folder.glob(".*"))
        shutil.rmtree(folder)
        if code == 0:
            break
        moments += 1
    assert moments * step > 60


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on another filesystem than the temporary folder's, of 256 KiB."""
    folder = Path(tempfile.mkdtemp(prefix="tocsin-small-disk-"))
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=256k tmpfs {folder} 2>/dev/null") != 0:
        folder.rmdir()
        pytest.skip("a small filesystem can be mounted by root alone")
    yield folder
    os.system(f"umount {folder}")
    folder.rmdir()


def test_a_disk_that_fills_up_keeps_what_was_saved(small_disk: Path) -> None:
    folder = small_disk / "checkpoints"
    files = AtomicCheckpointIO()
    files.save_checkpoint(state(1), folder / "last.ckpt")
    (small_disk / "filler").write_bytes(bytes(200 * 1024))
    with pytest.raises(
        CheckpointError, match=r"No space left.*an earlier checkpoint of that name is kept"
    ) as error:
        files.save_checkpoint({**state(2), "more": torch.zeros(20_000)}, folder / "last.ckpt")
    assert isinstance(error.value.__cause__, OSError)
    assert is_whole(folder / "last.ckpt", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]


@pytest.mark.parametrize("number", range(1, 12))
def test_no_room_for_a_save_costs_the_one_before_the_last(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path
    files = files_in(folder)
    for step in (1, 2):
        files.save_checkpoint(state(step), folder / "last.ckpt")
    opened, count = builtins.open, 0

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            nonlocal count
            count += 1
            if count == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def open_full(path: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        return Full(path, "w") if mode == "wb" else opened(path, mode, *rest, **named)

    monkeypatch.setattr(builtins, "open", open_full)
    with pytest.warns(UserWarning, match=r"last-previous.ckpt was removed to make room for last.ckpt"):
        files.save_checkpoint(state(3), folder / "last.ckpt")
    assert is_whole(folder / "last.ckpt", 3)
    assert is_whole(folder / "last-previous.ckpt", 2)


# Damage ------------------------------------------------------------------------------------------------------------


def damages(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content))
    kind = generator.randrange(4)
    if kind == 0:
        return (
            content[:place] + bytes([content[place] ^ (1 << generator.randrange(8))]) + content[place + 1 :]
        )
    if kind == 1:
        return content[:place] + content[place + 1 :]
    if kind == 2:
        return content[:place] + bytes([generator.randrange(256)]) + content[place:]
    return content[:place]


def damaged_once(folder: Path, name: str, generator: random.Random) -> None:
    """Damage a file of the newest checkpoint: an older one is taken, aloud, and nothing else is believed."""
    path = folder / name
    content = path.read_bytes()
    changed = damages(content, generator)
    if changed == content:
        return
    path.write_bytes(changed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        newest = newest_checkpoint(folder)
    assert newest is not None
    step = checkpoint_step(newest) or 0
    assert is_whole(newest, step)
    if newest.name == "last.ckpt":  # white space and the like in the manifest
        assert step == 3
    else:
        assert step == 2
        assert any("goes on from last-previous.ckpt (step 2)" in str(each.message) for each in told)
    path.write_bytes(content)


def sampled_damages(folder: Path, count: int) -> None:
    files = files_in(folder)
    files.save_checkpoint(state(1), folder / "best.ckpt")
    for step in (2, 3):
        files.save_checkpoint(state(step), folder / "last.ckpt")
    generator = random.Random(5)
    for number in range(count):
        damaged_once(folder, ("last.ckpt", "last.ckpt.sha256")[number % 4 == 3], generator)


def test_sampled_damages_are_found_and_the_older_checkpoint_is_used(tmp_path: Path) -> None:
    sampled_damages(tmp_path, 100)


@pytest.mark.slow
def test_two_thousand_damages_are_found_and_the_older_checkpoint_is_used(tmp_path: Path) -> None:
    sampled_damages(tmp_path, 2000)


def test_all_damaged_is_said_with_each_fault(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    for step in (1, 2):
        files.save_checkpoint(state(step), tmp_path / "last.ckpt")
    for path in tmp_path.glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        CheckpointError, match=r"(?s)No checkpoint of this run.*last.ckpt is torn.*last-previous.ckpt is torn"
    ):
        newest_checkpoint(tmp_path)
    assert newest_checkpoint(tmp_path / "none") is None


def test_the_newest_goes_before_the_one_called_last(tmp_path: Path) -> None:
    """A kill between best.ckpt and last.ckpt leaves the best as the newest."""
    files = files_in(tmp_path)
    files.save_checkpoint(state(4), tmp_path / "last.ckpt")
    files.save_checkpoint(state(5), tmp_path / "best.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "best.ckpt"
    files.duplicate(tmp_path / "best.ckpt", tmp_path / "last.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "last.ckpt"
    assert not manifest_path(tmp_path / "last.ckpt").read_text().count("previous")
