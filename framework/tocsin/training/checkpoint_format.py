"""What a checkpoint file has to look like, checked before anything of it is built, in bounded time and memory.

A checkpoint is the zip archive that `torch.save` writes: one pickle of plain data and the bytes of the tensors. The
archive's comment is its footer: format version, number of the save, optimiser steps, and the SHA-256 of all bytes
before that digest. Nothing in a pickle is run here: a name in it that is not on the list below is refused.
"""

import hashlib
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch

from tocsin.errors import CheckpointError

__all__ = [
    "FORMAT",
    "PlainDataError",
    "Footer",
    "check_content",
    "hash_with_footer",
    "read_footer",
    "write_footer",
]

FORMAT = 1
"""Version of the file format that this version writes, and the newest that it reads."""

_MOST_ENTRIES = 100_000  # tensors and a handful of others; 10 to 1,000 times what models have
_MOST_DIRECTORY = 32 << 20  # bytes of the archive's table of contents
_MOST_PICKLE = 16 << 20  # bytes; 300 validations of 500 languages take a third of it
_MOST_CONTAINERS = 1_500_000
# Opcodes that make a list, dict, set or tuple or call something: a byte of a pickle that costs hundreds in memory.
_CONTAINERS = b"])}RldtO\x81\x85\x86\x87\x8f\x91"
_DEEPEST = 100  # containers within one another
_END = b"PK\5\6"
_END64 = b"PK\6\6"
_FOOTER = re.compile(rb"tocsin-checkpoint (\d{4}) save=(\d{12}) step=(\d{12}) sha256=([0-9a-f]{64})")
_FOOTER_BYTES = len(b"tocsin-checkpoint 0001 save=000000000000 step=000000000000 sha256=") + 64
_BLOCK = 1 << 20


class PlainDataError(CheckpointError):
    """A checkpoint holds something else than plain data."""


@dataclass(frozen=True)
class Footer:
    """What a checkpoint file says of itself at its end.

    Args:
        save: Number of the save in its run, from 1; a later save has a higher one. 0 where nobody counted.
        step: Optimiser steps.
        sha256: Of all bytes before this digest.
    """

    save: int
    step: int
    sha256: str


def write_footer(file: BinaryIO, hasher: Any, last: bytes, *, save: int, step: int) -> None:
    """Put the footer at the end of an archive that has just been written.

    Args:
        file: The archive, open for writing, at its end.
        hasher: Of all its bytes but `last`.
        last: The last bytes that were written.
        save: See `Footer`.
        step: See `Footer`.
    """
    end = len(last) - 22
    if end < 0 or last[end : end + 4] != _END or last[-2:] != b"\0\0":
        raise CheckpointError("torch.save wrote an archive whose end is not where this version knows it.")
    comment = b"tocsin-checkpoint %04d save=%012d step=%012d sha256=" % (FORMAT, save, step)
    changed = struct.pack("<H", _FOOTER_BYTES) + comment
    hasher.update(last[:-2] + changed)
    file.seek(-2, 2)
    file.write(changed + hasher.hexdigest().encode())


def read_footer(path: Path) -> Footer | None:
    """Read a file's footer; None where it has none, as the files of other programs.

    Raises:
        CheckpointError: A later version of Tocsin wrote the file.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _FOOTER_BYTES))
        found = _FOOTER.fullmatch(file.read(_FOOTER_BYTES))
    if found is None:
        return None
    version, save, step = (int(number) for number in found.groups()[:3])
    if version > FORMAT:
        raise CheckpointError(
            f"{path} has the checkpoint format {version}; this version of Tocsin reads up to {FORMAT}. Go on with the "
            "version that wrote it (provenance.json of its run names it), or a later one."
        )
    return Footer(save, step, found[4].decode())


def hash_with_footer(path: Path) -> tuple[str, str]:
    """SHA-256 of a file, and of all its bytes before a footer's digest, reading it once."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        left = max(0, file.seek(0, 2) - 64)
        file.seek(0)
        while left and (block := file.read(min(left, _BLOCK))):
            hasher.update(block)
            left -= len(block)
        before = hasher.hexdigest()
        hasher.update(file.read())
    return hasher.hexdigest(), before


def check_content(path: Path) -> None:
    """Refuse a file whose archive or pickle would cost absurd memory, or holds more than plain data.

    Raises:
        PlainDataError: Its pickle names something that is not plain data.
        CheckpointError: It is no archive that `torch.save` writes, or its sizes and shapes are absurd.
    """
    try:
        with open(path, "rb") as file:
            if file.read(1) == b"\x80":
                raise PlainDataError("a bare pickle")
            _check_directory(file)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise ValueError(f"{len(pickles)} pickles in it, wanted one")
            stored = all(e.compress_type == 0 and e.file_size == e.compress_size for e in entries)
            if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("its entries are compressed or overlap, which torch.save never does")
            if pickles[0].file_size > _MOST_PICKLE:
                raise ValueError(
                    f"the data beside its tensors are {pickles[0].file_size:,} bytes; at most {_MOST_PICKLE:,} are read"
                )
            content = archive.read(pickles[0])
            # Counted over all bytes, those within numbers included: random ones are a seventeenth of 16 MiB.
            if sum(content.count(opcode) for opcode in _CONTAINERS) > _MOST_CONTAINERS:
                raise ValueError("more lists and dicts in it than any state has")
            prefix = pickles[0].filename.removesuffix("data.pkl")
            sizes = {entry.filename.removeprefix(prefix): entry.file_size for entry in entries}
            _check_depth(_Checker(content, sizes).load())
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error
    except Exception as error:  # MemoryError too
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint; it is torn or another kind ({first})"
        ) from error


def _check_depth(content: Any) -> None:
    """Refuse what would overflow the stack of whoever walks through it."""
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a checkpoint's dict")
    level: list[Any] = [content]
    seen = {id(content)}
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in level:
            # Keys are hashed when they are read: tuples in them are the only containers, and are not walked through.
            for value in each.values() if isinstance(each, dict) else each:
                # One object can stand in many places: it is looked at once, or a small file would never end.
                if isinstance(value, dict | list | tuple | set) and id(value) not in seen:
                    seen.add(id(value))
                    inner.append(value)
        level = inner
        if not level:
            return
    raise ValueError(f"its data are nested deeper than {_DEEPEST}")


def _check_directory(file: BinaryIO) -> None:
    """Bound the table of contents before the zip module reads it whole."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 22 - 65535 - 76))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise ValueError("no zip archive")
    entries, directory, _, comment = struct.unpack("<HLLH", tail[at + 10 : at + 22])
    if at + 22 + comment != len(tail):
        raise ValueError("its end is missing")
    if entries == 0xFFFF or directory == 0xFFFFFFFF:
        at = tail.rfind(_END64, 0, at)
        if at < 0 or len(tail) < at + 48:
            raise ValueError("no zip archive")
        entries, directory = struct.unpack("<QQ", tail[at + 32 : at + 48])
    if entries > _MOST_ENTRIES or directory > _MOST_DIRECTORY:
        raise ValueError(f"{entries:,} entries are more than any model has")


# Plain data ------------------------------------------------------------------------------------------------------


class _Marker:
    """Stands for a tensor, a type of numbers or a kind of storage: never called, never filled."""

    __slots__ = ("itemsize", "numel")

    def __init__(self, itemsize: int = 0, numel: int = 0) -> None:
        self.itemsize, self.numel = itemsize, numel


class _Checker(pickle._Unpickler):
    """Reads a pickle with markers in place of tensors, so that sizes are compared before anything is allocated.

    In Python: the unpickler in C allocates a table up to the largest number that a pickle refers to, 16 GB for 4 bytes.
    Python's own allocates a bytearray of any size that is named; torch.save writes none, nor buffers.
    """

    dispatch = {  # noqa: RUF012  as in the base class
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in (pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0])
    }

    def __init__(self, content: bytes, sizes: dict[str, int]) -> None:
        super().__init__(BytesIO(content), encoding="utf-8")
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage"):
            if name in _STORAGES:
                return _Marker(_STORAGES[name])
            dtype = getattr(torch, name, None)
            if isinstance(dtype, torch.dtype):
                return _Marker(dtype.itemsize)
        found = _ALLOWED.get(("builtins" if module == "__builtin__" else module, name))
        if found is None:
            raise PlainDataError(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        kind, storage, key, _, numel = pid
        if kind != "storage" or not isinstance(storage, _Marker) or numel < 0:
            raise ValueError("a reference that torch.save does not write")
        if self.sizes.get(f"data/{key}") != numel * storage.itemsize:
            raise ValueError(f"tensor data {key!r} of {numel * storage.itemsize:,} bytes are not in it")
        return _Marker(storage.itemsize, numel)


def _tensor(
    storage: _Marker, offset: int, size: Any, stride: Any, *others: Any, itemsize: int | None = None
) -> Any:
    numel = storage.numel * storage.itemsize // (itemsize or storage.itemsize)
    wanted = prod(size)
    if min((offset, *size, *stride), default=0) < 0 or len(size) != len(stride):
        raise ValueError("a tensor of negative size")
    reach = 1 + offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if wanted else 0
    if wanted > numel or reach > numel:
        raise ValueError(f"a tensor of {wanted:,} numbers with data for {numel:,}")
    return _Marker()


def _tensor_of_type(storage: Any, offset: int, size: Any, stride: Any, *others: Any) -> Any:
    return _tensor(storage, offset, size, stride, itemsize=others[2].itemsize)


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin-1")


def _set(values: list[Any]) -> set[Any]:
    if type(values) is not list:
        raise ValueError("a set that is not made of a list")
    return set(values)


def _ordered(*pairs: Any) -> OrderedDict[Any, Any]:
    if pairs and type(pairs[0]) is not list:
        raise ValueError("an OrderedDict that is not made of a list")
    return OrderedDict(*pairs)


_STORAGES = {
    f"{name}Storage": size
    for size, names in {
        1: "Untyped Byte Char Bool QInt8 QUInt8",
        2: "Half BFloat16 Short",
        4: "Float Int QInt32",
        8: "Double Long ComplexFloat",
        16: "ComplexDouble",
    }.items()
    for name in names.split()
}


def _callable(function: Callable[..., Any]) -> Any:
    """The function as an object that a pickle can call but not change."""
    return type(function.__name__, (), {"__slots__": (), "__call__": staticmethod(function)})()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _callable(_ordered),
    ("torch._utils", "_rebuild_tensor_v2"): _callable(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _callable(_tensor_of_type),
    ("torch._utils", "_rebuild_parameter"): _callable(lambda data, requires_grad, hooks: data),
    ("torch", "Size"): tuple,
    ("torch", "device"): _callable(lambda *names: None),
    ("builtins", "set"): _callable(_set),
    ("builtins", "complex"): complex,
    ("_codecs", "encode"): _callable(_encode),
}
