from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from tocsin.files import cache_folder, fallback_folder, one_writer, whole_file, whole_folder, write_text


def test_the_cache_lies_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path / "cache"))
    assert cache_folder("tokens", "a") == tmp_path / "cache" / "tokens" / "a"
    assert not (tmp_path / "cache").exists()
    monkeypatch.delenv("TOCSIN_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "tocsin"


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with whole_file(target) as part:
        part.write_bytes(b"half")
        assert part.parent == target.parent
        assert not target.exists()
    assert target.read_bytes() == b"half"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def torn() -> None:
        with whole_file(target) as part:
            part.write_bytes(b"ha")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        torn()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_files_have_the_usual_modes(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with whole_file(tmp_path / "file") as part:
        part.write_text("x")
    with whole_folder(tmp_path / "folder") as part:
        (part / "inner").mkdir()
        (part / "inner" / "file").write_text("x")
    usual = plain.stat().st_mode
    assert (tmp_path / "file").stat().st_mode == usual
    assert (tmp_path / "folder" / "inner" / "file").stat().st_mode == usual
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "folder" / "inner").stat().st_mode


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "folder"
    with whole_folder(target) as part:
        (part / "x").write_text("1")
        assert not target.exists()
    assert (target / "x").read_text() == "1"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_somebody_else_finished_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with whole_folder(target) as part:
        (part / "x").write_text("ours")
        target.mkdir()
        (target / "x").write_text("theirs")
    assert (target / "x").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    def torn() -> None:
        with whole_folder(tmp_path / "folder") as part:
            (part / "x").write_text("1")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        torn()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """A file and a folder; another target whose name begins alike, and work in progress, stay."""
    (tmp_path / ".a.csv.12345678.part").write_text("left")
    (tmp_path / ".a.csv.x.12345678.part").write_text("another target's")
    (tmp_path / ".folder.12345678.part" / "inner").mkdir(parents=True)
    with whole_file(tmp_path / "a.csv") as first:
        first.write_text("1")
        with whole_file(tmp_path / "a.csv") as second:
            second.write_text("2")
            assert first.exists()
    with whole_folder(tmp_path / "folder") as part:
        (part / "x").write_text("1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.csv.x.12345678.part", "a.csv", "folder"]
    assert (tmp_path / "a.csv").read_text() == "1"


def test_one_process_at_a_time_makes_an_entry(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    target, inside, made, said = tmp_path / "cache" / "entry", [], [], []

    def make(number: int) -> None:
        with one_writer(target, say=said.append):
            inside.append(number)
            assert inside == [number]
            if not target.exists():
                time.sleep(0.05)
                target.write_text(str(number))
                made.append(number)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    assert len(made) == 1
    assert any("is making entry" in sentence for sentence in said)
    assert [path.name for path in target.parent.iterdir()] == ["entry"]


@pytest.mark.skipif(sys.platform == "win32", reason="locks are of POSIX systems")
def test_a_killed_writer_leaves_no_lock_behind(tmp_path: Path) -> None:
    target = tmp_path / "entry"
    program = (
        "import pathlib, sys, time\nfrom tocsin.files import one_writer\n"
        f"with one_writer(pathlib.Path({str(target)!r})):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert int((tmp_path / ".entry.lock").read_text()) == holder.pid
        holder.kill()
        holder.wait()
        with one_writer(target):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_sync_folders_is_no_broken_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(number)) if told else nullcontext():
        write_text(tmp_path / "a", "b")
    assert (tmp_path / "a").read_text() == "b"


def test_a_fallback_folder_is_not_another_ones_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fallback_folder(Path("floods", "one")) == tmp_path / "tocsin-floods-one"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tocsin-floods-two").symlink_to("elsewhere")
    taken = fallback_folder(Path("floods", "two"))
    assert taken.parent == tmp_path
    assert taken.name.startswith("tocsin-floods-two-")
    assert taken.stat().st_mode & 0o777 == 0o700
