"""Files and folders of the cache: made by one process, whole or not at all, and compared with their checksum when read.

A damaged entry is told of and made anew. Everything in the cache can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tocsin.checksums import (
    Problem,
    add_checksum,
    add_parquet_checksum,
    check_file,
    check_folder,
    check_parquet,
    identity_of,
    write_checksums,
)
from tocsin.errors import DataError
from tocsin.files import discard, free_bytes, is_no_room, one_writer, whole_file, whole_folder

__all__ = [
    "CacheWarning",
    "cache_room",
    "cached_file",
    "cached_folder",
    "check_cache_room",
    "is_sound_file",
    "verify_cache",
]

# Beside what `is_no_room` knows: the disk fails, or a file stands where a folder is wanted.
_NO_PLACE = (errno.EIO, errno.EEXIST)


class CacheWarning(UserWarning):
    """An entry of the cache is damaged and is made anew."""


_sound: set[tuple[Any, ...]] = set()  # what this process has checked, or made, and is unchanged


def check_cache_room(target: Path, needed: int) -> None:
    """Refuse to begin a cache entry that its disk has no room for.

    Args:
        target: The entry, missing so far.
        needed: Bytes that it will have, about.

    Raises:
        DataError: What is needed, what there is, and how to go on.
    """
    free = free_bytes(target.parent)
    if needed > free and os.environ.get("TOCSIN_CHECK_DISK", "").lower() != "off":
        raise DataError(
            f"the cache has {free / 1e6:,.1f} MB of room, and this needs about {needed / 1e6:,.1f} MB. Make room, set "
            "TOCSIN_CACHE (or the option cache) to another folder, or TOCSIN_CHECK_DISK=off to begin all the same",
            file=target.parent,
        )


def is_sound_file(target: Path) -> bool:
    """Whether a file of the cache is there and as `cached_file` wrote it; of a damaged one it is said."""
    return _is_sound(target, _check_of(target), warn=True)


def cached_file(target: Path, make: Callable[[Path], None]) -> Path:
    """A file of the cache: the one that is there where it is sound, else a new one; a damaged one is told of.

    Args:
        target: Its path; the name must say all that its content depends on. Parquet where it ends in .parquet.
        make: Writes it into the path that it is given; a Parquet file's metadata with `tocsin.digest`: 64 zeros.

    Raises:
        DataError: The cache has no room or cannot be written.
    """
    check = _check_of(target)
    if _is_sound(target, check):
        return target
    with cache_room(target), one_writer(target, say=_say):
        if not _is_sound(target, check, warn=True):
            with whole_file(target) as part:
                make(part)
                add_parquet_checksum(part) if target.suffix == ".parquet" else add_checksum(part)
            _sound.add(identity_of(target))
    return target


def cached_folder(target: Path, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, as `cached_file`; `make` gets an empty folder to write into."""
    if _is_sound(target, check_folder):
        return target
    with cache_room(target), one_writer(target, say=_say):
        if not _is_sound(target, check_folder, warn=True):
            if target.exists():
                discard(target)
            with whole_folder(target) as part:
                make(part)
                write_checksums(part)
            _sound.add(identity_of(target))
    return target


def _say(text: str) -> None:
    warnings.warn(text, CacheWarning, stacklevel=4)


def _check_of(target: Path) -> Callable[[Path], Any]:
    return _check_parquet_file if target.suffix == ".parquet" else check_file


def _check_parquet_file(path: Path) -> None:
    try:
        if check_parquet(path.read_bytes()) is None:
            raise ValueError("holds no SHA-256 of its content")
    except (OSError, ValueError) as error:
        raise DataError(str(error), file=path) from error


def _is_sound(target: Path, check: Callable[[Path], Any], *, warn: bool = False) -> bool:
    """Whether an entry is there and as it was written; `warn` of a damaged one, which is made anew."""
    if not target.exists():
        return False
    identity = identity_of(target)
    if identity in _sound:
        return True
    try:
        check(target)
    except DataError as error:
        if warn:
            _say(f"{error}. It is made anew.")
        return False
    _sound.add(identity)
    return True


@contextlib.contextmanager
def cache_room(target: Path) -> Iterator[None]:
    """Say in one message, a DataError, that the cache cannot be written at `target`."""
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and not str(error.filename).startswith(str(target.parent))
        if not (is_no_room(error) or error.errno in _NO_PLACE) or elsewhere:
            raise
        raise DataError(
            f"the cache cannot be written ({error.strerror or error}). Set TOCSIN_CACHE (or the option cache) to a "
            "folder with room that can be written; all that lies in the cache may be deleted",
            file=target.parent,
        ) from error


def verify_cache(root: Path) -> list[Problem]:
    """Compare all entries of a cache with their digests; each is made anew when it is used next.

    The teachers' vectors have digests of their own: `tocsin.models.vector_store.verify_store`.
    """
    found = []
    for pattern, check in (
        ("tokens/*.arrow", check_file),
        ("vectors/*.npy", check_file),
        ("hub/*.parquet", _check_parquet_file),
        ("pairs/*", check_folder),
        ("encoders/*", check_folder),
    ):
        for path in sorted(root.glob(pattern)):
            if path.name.startswith("."):
                continue
            try:
                check(path)
            except DataError as error:
                found.append(Problem(str(path), str(error).removeprefix(f"{path}: ")))
    return found
