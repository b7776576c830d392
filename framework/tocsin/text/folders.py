"""Where Tocsin keeps what it can make again, and how a file or folder appears there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cache_folder", "whole_file", "whole_folder"]


def cache_folder(*parts: str) -> Path:
    """The folder of that name in the cache; it is not created.

    The cache lies in `$TOCSIN_CACHE`, else in `~/.cache/tocsin`. Everything in it can be deleted at any time.
    """
    root = os.environ.get("TOCSIN_CACHE") or Path("~", ".cache", "tocsin")
    return Path(root).expanduser().joinpath(*parts)


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Write a file so that nobody ever sees half of it.

    Yields the path of a temporary file in the same folder. When the block ends without an error the file is
    flushed to the disk and renamed to `target`, replacing what stands there; after an error it is deleted.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        _flush(part)
        part.replace(target)
        _flush(target.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Write a folder so that nobody ever sees half of it, even when two processes write it at once.

    Yields a temporary folder beside `target`. When the block ends without an error its files are flushed to
    the disk and it is renamed to `target`. A `target` that another process finished meanwhile is kept and
    ours is dropped: use it for folders whose content follows from their name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
        mode = 0o777 & ~_umask()
        part.chmod(mode)
        for path in part.rglob("*"):
            path.chmod(mode if path.is_dir() else mode & 0o666)
            _flush(path)
        _flush(part)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        _flush(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _umask() -> int:
    """The process's mask of file modes, which temporary files ignore."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _flush(path: Path) -> None:
    """Force a file or a folder's list of names onto the disk, where the system can do that."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
