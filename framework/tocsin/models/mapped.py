"""Reading tensors that are mapped from a file without keeping the file's pages. Axes: V rows of a table, D its width.

transformers maps `model.safetensors`: a page of it counts as the process's memory once it was read. A fit reads an
embedding table of 250,000 rows whole, to pick the rows in use and to hash it, and not again: 384 MB that would stay.
Read from the file in blocks, none of it does. Nothing is unmapped, written or advised to the kernel, so that no fault
of this module can change a weight; where it is not certain that file and tensor agree, the tensor is read as ever.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Source", "blocks_of", "copy_of", "rows_of", "source_of"]

_BLOCK = 1 << 23  # bytes that are read at once
_SMALL = 1 << 20  # bytes of a tensor below which looking for its file is not worth it
# Bits of an entry of /proc/self/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst).
_PRESENT, _SWAPPED, _OF_FILE = (np.uint64(1) << np.uint64(bit) for bit in (63, 62, 61))


class Source(NamedTuple):
    """The file that a tensor was mapped from, as it was then.

    Args:
        path: Where it lay.
        offset: Of the tensor in it, in bytes.
        address: Of the tensor in memory.
        identity: Device, inode, size and times: another file, or this one written to, has others.
    """

    path: Path
    offset: int
    address: int
    identity: tuple[int, ...]


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def source_of(tensor: Tensor) -> Source | None:
    """Where a tensor that was read a moment ago is mapped from.

    None where that is not certain: no such mapping, the file is another by now, the tensor is small, not contiguous or
    not in the host's memory, or the system is not Linux.
    """
    size = tensor.nbytes
    if sys.platform != "linux" or tensor.device.type != "cpu" or size < _SMALL or not tensor.is_contiguous():
        return None
    start = tensor.data_ptr()
    try:
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            # 7f71d0200000-7f71ec246000 rw-p 00000000 fe:00 16040090    /folder/model.safetensors
            span, _, offset, _, inode, *path = line.split(maxsplit=5)
            low, high = (int(address, 16) for address in span.split("-"))
            if low <= start < high:
                break
        else:
            return None
        # A deleted file's line ends in " (deleted)". The device is not compared: btrfs has two numbers for one.
        if start + size > high or not path or os.stat(path[0]).st_ino != int(inode):
            return None
        found = Source(Path(path[0]), int(offset, 16) + start - low, start, _identity(os.stat(path[0])))
    except (OSError, ValueError):
        return None
    return found if _still(tensor, found) else None


def _still(tensor: Tensor, source: Source) -> bool:
    """Whether the tensor still is what was mapped, and no page that holds nothing else was written to."""
    page = os.sysconf("SC_PAGESIZE")
    first, last = -(-source.address // page), (source.address + tensor.nbytes) // page
    try:
        return tensor.data_ptr() == source.address and not (last > first and _has_own_pages(first, last))
    except OSError:
        return False


def _has_own_pages(first: int, end: int) -> bool:
    """Whether one of these pages is the process's own, in memory or swapped out, rather than the file's."""
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(first * 8)
        entries = np.frombuffer(file.read((end - first) * 8), dtype=np.uint64)
    own = ((entries & _PRESENT) != 0) & ((entries & _OF_FILE) == 0) | ((entries & _SWAPPED) != 0)
    return len(entries) != end - first or bool(own.any())


def blocks_of(tensor: Tensor, source: Source | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yield (first element, block) over all elements of a tensor in their order, blocks 1-d and in the host's memory.

    A block lasts until the next one is asked for.

    Args:
        tensor: Any shape.
        source: What `source_of` said of it when it was read; None: the tensor itself is read.
    """
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    width = flat.element_size()
    step = max(1, _BLOCK // width)
    with ExitStack() as stack:
        file: int | None = None
        if source is not None and _still(flat, source):
            with suppress(OSError):  # no longer there, while the mapping is
                file = stack.enter_context(source.path.open("rb")).fileno()
                if _identity(os.fstat(file)) != source.identity:
                    file = None
        buffer = torch.empty(0 if file is None else min(step, len(flat)), dtype=flat.dtype)
        for at in range(0, len(flat), step):
            block = flat[at : at + step]
            if file is not None and source is not None:
                read = buffer[: len(block)]
                if _fill(read, file, source.offset + at * width):
                    _take_ends(read, flat, at)
                    block = read
            yield at, block


def _fill(block: Tensor, file: int, offset: int) -> bool:
    """Read a block from there in a file; whether all of it came."""
    room = block.view(torch.uint8).numpy()
    try:
        return os.preadv(file, [room.data], offset) == len(room)
    except OSError:
        return False


def _take_ends(block: Tensor, flat: Tensor, at: int) -> None:
    """Take from memory what lies in a page beside another tensor, which may have been written to: it is the process's
    own then, with these bytes in it.
    """
    page, width, start = os.sysconf("SC_PAGESIZE"), flat.element_size(), flat.data_ptr()
    head = min(len(flat), -start % page // width)
    tail = max(head, len(flat) - (start + flat.nbytes) % page // width)
    if at < head:
        block[: head - at] = flat[at : at + len(block)][: head - at]
    if at + len(block) > tail:
        place = max(tail, at)
        block[place - at :] = flat[place : at + len(block)]


def copy_of(tensor: Tensor, source: Source | None) -> Tensor:
    """A copy, as `clone()` gives it."""
    if source is None:
        return tensor.detach().clone()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype)
    flat = copy.view(-1)
    for at, block in blocks_of(tensor, source):
        flat[at : at + len(block)] = block
    return copy


def rows_of(table_VD: Tensor, rows: Tensor, source: Source | None) -> Tensor:
    """Rows of a table by number, as `table_VD[rows].clone()` gives them; from the file where they ascend."""
    ascending = len(rows) > 0 and rows[0] >= 0 and rows[-1] < len(table_VD) and bool((rows.diff() > 0).all())
    if source is None or not ascending:
        return table_VD.detach()[rows].clone()
    width = table_VD.shape[1]
    found = torch.empty((len(rows), width), dtype=table_VD.dtype)
    done = 0
    kept = torch.empty(0, dtype=table_VD.dtype)
    for at, block in blocks_of(table_VD, source):
        # A block may end inside a row: what is left of it goes before the next one.
        joined = torch.cat([kept, block])
        first = (at - len(kept)) // width
        whole = len(joined) // width
        upto = int(torch.searchsorted(rows, first + whole))
        found[done:upto] = joined[: whole * width].view(whole, width)[rows[done:upto] - first]
        done, kept = upto, joined[whole * width :].clone()
    return found
