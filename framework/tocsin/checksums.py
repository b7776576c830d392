"""Checksums that travel with what they are of: a changed, missing or added byte is found when it is read.

    a file of the cache     its SHA-256 stands in a last line of its own (`add_checksum`)
    a Parquet file          in its metadata, over all its bytes with that digest as zeros (`add_parquet_checksum`)
    a folder of the cache   `checksums.json` in it names each file, its size and SHA-256 (`write_checksums`)

A checksum tells damage and mistakes; it is no signature: who changes a file on purpose can write its checksum anew. So
what reads a file bounds sizes, depths and counts before it believes them. SHA-256 takes about .6 s a GB.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tocsin.errors import DataError

__all__ = [
    "CHECKSUM_BYTES",
    "Entry",
    "Problem",
    "add_checksum",
    "add_parquet_checksum",
    "bounded_json",
    "check_file",
    "check_folder",
    "check_parquet",
    "checksummed_json",
    "compared",
    "entries_of",
    "identity_of",
    "is_unchanged_json",
    "listing",
    "open_regular",
    "write_checksums",
]

CHECKSUMS = "checksums.json"
_BLOCK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NONE = b"0" * 64
_LINE = re.compile(rb"\nsha256 ([0-9a-f]{64})\n")
CHECKSUM_BYTES = len(b"\nsha256 \n") + 64
"""Bytes that `add_checksum` appends."""
_JSON_TAIL = re.compile(rb',\n  "digest": "([0-9a-f]{64})"\n\}\n')
_JSON_TAIL_BYTES = len(b',\n  "digest": ""\n}\n') + 64
_PARQUET_KEY = b"tocsin.digest"
# Thrift's compact protocol: field 2 of a key and value (0x18), 64 bytes long (0x40).
_PARQUET = re.compile(re.escape(_PARQUET_KEY) + rb"\x18\x40([0-9a-f]{64})")
_PARQUET_OURS = re.compile(rb"\x18\x0dtocsin\.(?:labels|digest)")
_JSON_BYTES, _JSON_NODES = 1 << 24, 1_000_000


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file.

    Args:
        file: Its path.
        fault: What is wrong, as the end of a sentence that begins with the path.
        fatal: Whether what it belongs to must not be used; else it is only to be said.
    """

    file: str
    fault: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.file} {self.fault}"


@dataclass(frozen=True)
class Entry:
    """What is noted of a file: its SHA-256 in hexadecimal digits, and its size in bytes."""

    sha256: str
    bytes: int


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open an ordinary file for reading; neither a pipe nor a device is waited for.

    Args:
        path: The file.
        follow: Whether a link is followed.

    Raises:
        OSError: There is none, or it cannot be read.
        ValueError: It is a folder, a link that is not to be followed, a pipe or a device.
    """
    if not follow and path.is_symlink():
        raise ValueError("is a link, and none is followed out of the folder; put the file itself there")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is no ordinary file")
    handle = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # replaced in between
        file.close()
        raise ValueError("is no ordinary file")
    return file


def _digest(file: BinaryIO, size: int) -> str:
    """SHA-256 of the next `size` bytes; of fewer where the file ends."""
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(_BLOCK, size))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


# Files ---------------------------------------------------------------------------------------------------------------


def add_checksum(path: Path) -> None:
    """Append a file's SHA-256 to it, as a line of its own."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(f"\nsha256 {digest}\n".encode())


def check_file(path: Path) -> int:
    """Compare a file with the SHA-256 at its end; return the bytes before that.

    Raises:
        DataError: It is missing, torn or altered, or has none.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size - CHECKSUM_BYTES
            digest = _digest(file, max(0, size))
            line = _LINE.fullmatch(file.read(CHECKSUM_BYTES + 1))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", file=path) from error
    if line is None:
        raise DataError("is torn: it does not end with its SHA-256", file=path)
    if line[1].decode() != digest:
        raise DataError("is damaged: its SHA-256 is not the one that was noted", file=path)
    return size


# Parquet -------------------------------------------------------------------------------------------------------------


def add_parquet_checksum(path: Path) -> None:
    """Note the SHA-256 of a Parquet file's bytes in it; its metadata must hold `tocsin.digest`: 64 zeros."""
    with path.open("r+b") as file:
        content = file.read()
        places = [match for match in _PARQUET.finditer(content) if match[1] == _NONE]
        if len(places) != 1:
            raise ValueError(f"{path} has {len(places)} places for its digest")
        file.seek(places[0].start(1))
        file.write(hashlib.sha256(content).hexdigest().encode())


def check_parquet(content: bytes | memoryview) -> str | None:
    """Compare a Parquet file's bytes with the SHA-256 in its metadata; nothing of it is parsed before.

    Returns:
        The digest; None for a file of another program, which has none and nothing else of ours.

    Raises:
        ValueError: It was altered, or is ours and has no digest.
    """
    places = list(_PARQUET.finditer(content))
    if not places:
        if _PARQUET_OURS.search(content):
            raise ValueError(
                "holds no SHA-256 of its content, as our files do: it was damaged, edited by another tool, or written "
                "by a version before this one"
            )
        return None
    last = places[-1]
    digest = hashlib.sha256(content[: last.start(1)])
    digest.update(_NONE)
    digest.update(content[last.end(1) :])
    if digest.hexdigest().encode() != last[1]:
        raise ValueError(
            "is not as it was written: its SHA-256 is another than the one noted in it. It was damaged, or edited by "
            "another tool"
        )
    return last[1].decode()


# JSON ----------------------------------------------------------------------------------------------------------------


def bounded_json(content: bytes, most: int = _JSON_BYTES) -> Any:
    """What JSON in UTF-8 holds; numbers must be finite.

    Args:
        content: The bytes.
        most: Bytes that are read at most.

    Raises:
        ValueError: It is none, or too large or nested too deep to be read in a second and some hundred MB.
    """
    nodes = content.count(b",") + content.count(b"[") + content.count(b"{")
    if len(content) > most or nodes > _JSON_NODES:
        raise ValueError(f"it has {len(content):,} bytes and about {nodes:,} values; {most:,} bytes are read")
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"it holds {text[:40]}, and finite numbers alone are wanted")
    return number


def checksummed_json(plain: Mapping[str, Any]) -> bytes:
    """A mapping as JSON whose last key, `digest`, is the SHA-256 of all bytes before it."""
    text = json.dumps({**plain}, indent=2, ensure_ascii=False).removesuffix("\n}")
    body = text.encode("utf-8")
    return body + f',\n  "digest": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def is_unchanged_json(content: bytes) -> bool:
    """Whether these are the bytes that `checksummed_json` gave."""
    tail = _JSON_TAIL.fullmatch(content[-_JSON_TAIL_BYTES:])
    return tail is not None and hashlib.sha256(content[:-_JSON_TAIL_BYTES]).hexdigest().encode() == tail[1]


# Folders -------------------------------------------------------------------------------------------------------------


def listing(folder: Path, without: str = CHECKSUMS) -> dict[str, Entry]:
    """Size and SHA-256 of each file of a folder, by its path inside, all but one.

    Raises:
        OSError: A file cannot be read.
        ValueError: There is a link, a pipe or a device in it; names it.
    """
    found = {}
    for name, path in _walk(folder):
        if name == without:
            continue
        try:
            with open_regular(path, follow=False) as file:
                size = os.fstat(file.fileno()).st_size
                found[name] = Entry(_digest(file, size), size)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
    return found


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the path inside and the path of all that is no folder, links to folders among it, in order."""
    left = [folder]
    while left:
        below = []
        for entry in sorted(os.scandir(left.pop()), key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                below.append(path)
            else:
                yield path.relative_to(folder).as_posix(), path
        left += reversed(below)


def entries_of(plain: Any) -> dict[str, Entry]:
    """What a JSON file notes of files.

    Raises:
        ValueError: It is no such mapping, or names a path that leads out of the folder.
    """
    if not isinstance(plain, dict):
        raise ValueError("it notes no files")
    found = {}
    for name, entry in plain.items():
        parts = name.split("/")
        plain_name = all(part not in ("", ".", "..") for part in parts) and not set(name) & set("\\:\0")
        known = isinstance(entry, dict) and {"sha256", "bytes"} == set(entry)
        if not plain_name or not known or not isinstance(entry["bytes"], int) or entry["bytes"] < 0:
            raise ValueError(f"{name[:80]!r} is no file of the folder")
        if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]):
            raise ValueError(f"the SHA-256 of {name[:80]!r} is none")
        found[name] = Entry(entry["sha256"], entry["bytes"])
    return found


def compared(
    folder: Path,
    entries: Mapping[str, Entry],
    without: str = CHECKSUMS,
    harmless: Callable[[str], bool] = lambda name: False,
) -> Iterator[Problem]:
    """Yield what differs between the files of a folder and what is noted of them: missing, altered and added ones.

    Each file is read once, links are not followed, and what has another size is not read at all.

    Args:
        folder: The folder.
        entries: What is noted, by path inside.
        without: The file that notes it.
        harmless: Of which paths a difference is not fatal; a link always is.
    """
    there = dict(_walk(folder))
    for name in [name for name, path in there.items() if path.is_symlink()]:
        yield Problem(str(there.pop(name)), "is a link, and none is followed out of the folder")
    for name, entry in entries.items():
        path = there.pop(name, None)
        fault = "is missing" if path is None else _fault(path, entry)
        if fault:
            yield Problem(str(folder / name), fault, fatal=not harmless(name))
    there.pop(without, None)
    for name, path in there.items():
        yield Problem(str(path), "was added later", fatal=not harmless(name))


def _fault(path: Path, entry: Entry) -> str:
    """What is wrong with a file, "" for nothing."""
    try:
        with open_regular(path, follow=False) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.bytes:
                return f"has {size:,} bytes, and was written with {entry.bytes:,}"
            changed = _digest(file, size) != entry.sha256
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except ValueError as error:
        return str(error)
    return "was changed: its SHA-256 is not the one that was noted" if changed else ""


def write_checksums(folder: Path) -> None:
    """Write `checksums.json` into a folder: size and SHA-256 of each of its files."""
    files = {name: vars(entry) for name, entry in listing(folder).items()}
    (folder / CHECKSUMS).write_bytes(checksummed_json({"files": files}))


def check_folder(folder: Path) -> None:
    """Compare the files of a folder with its `checksums.json`.

    Raises:
        DataError: One is missing, altered or added, or there is no sound `checksums.json`.
    """
    problems = _folder_problems(folder)
    if problems:
        raise DataError(problems[0].fault, file=problems[0].file)


def _folder_problems(folder: Path) -> list[Problem]:
    path = folder / CHECKSUMS
    try:
        with open_regular(path, follow=False) as file:
            content = file.read(_JSON_BYTES + 1)
        if not is_unchanged_json(content):
            raise ValueError("its SHA-256 is not the one noted in it")
        entries = entries_of(bounded_json(content).get("files"))
    except (OSError, ValueError, AttributeError) as error:
        return [Problem(str(path), f"is missing or damaged: {error}")]
    return list(compared(folder, entries))


def identity_of(path: Path) -> tuple[Any, ...]:
    """Names, sizes and times of a file, or of all files of a folder."""
    stats = [(name, each.lstat()) for name, each in (_walk(path) if path.is_dir() else [("", path)])]
    return str(path), *(
        (name, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in stats
    )
