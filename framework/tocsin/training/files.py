"""Files that are whole or not there: a temporary name beside it, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

__all__ = ["file_digest", "fsync_folder", "temporary_name", "write_text_atomically"]


def temporary_name(path: Path) -> Path:
    """Return where `path` is prepared: one hidden name beside it, so that a kill leaves at most one."""
    return path.with_name(f".{path.name}.tmp")


def fsync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut; a no-op where folders cannot be opened (Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace `path` by UTF-8 `text` in one step; an interrupted call leaves the old file.

    Raises:
        OSError: The folder is missing, read-only or full; the old file is untouched.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
