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

import numpy as np
import torch
from torch import Tensor

__all__ = ["blocks_of", "copy_of", "file_of", "rows_of"]

_BLOCK = 1 << 23  # bytes that are read at once
_SMALL = 1 << 20  # bytes of a tensor below which looking for its file is not worth it
# Bits of an entry of /proc/self/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst).
_PRESENT, _SWAPPED, _OF_FILE = (np.uint64(1) << np.uint64(bit) for bit in (63, 62, 61))


def file_of(tensor: Tensor) -> tuple[Path, int] | None:
    """The file that holds the tensor's bytes, and where in it they begin, in bytes.

    None where that is not certain: no such mapping, the file is another by now, a page of the tensor was written to
    (it is then a copy of the process's own), the tensor is small, not contiguous or not in the host's memory, or the
    system is not Linux.
    """
    size = tensor.numel() * tensor.element_size()
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
        if _has_own_pages(start, size):
            return None
    except (OSError, ValueError):
        return None
    return Path(path[0]), int(offset, 16) + start - low


def _has_own_pages(start: int, size: int) -> bool:
    """Whether a page of these addresses is the process's own, in memory or swapped out, rather than the file's."""
    page = os.sysconf("SC_PAGESIZE")
    first, last = start // page, (start + size - 1) // page
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(first * 8)
        entries = np.frombuffer(file.read((last - first + 1) * 8), dtype=np.uint64)
    own = ((entries & _PRESENT) != 0) & ((entries & _OF_FILE) == 0) | ((entries & _SWAPPED) != 0)
    return len(entries) != last - first + 1 or bool(own.any())


def blocks_of(tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (first element, block) over all elements of a tensor in their order, blocks 1-d and in the host's memory.

    A block lasts until the next one is asked for.
    """
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    found = file_of(flat)
    width = flat.element_size()
    step = max(1, _BLOCK // width)
    if found is None:
        yield from ((at, flat[at : at + step]) for at in range(0, len(flat), step))
        return
    path, offset = found
    buffer = torch.empty(step, dtype=flat.dtype)
    room = buffer.view(torch.uint8).numpy()
    with ExitStack() as stack:
        file: int | None = None
        with suppress(OSError):  # no longer readable, while the mapping is
            file = stack.enter_context(path.open("rb")).fileno()
        for at in range(0, len(flat), step):
            count = min(step, len(flat) - at)
            read = _fill(room[: count * width], file, offset + at * width)
            yield at, buffer[:count] if read else flat[at : at + count]


def _fill(room: np.ndarray, file: int | None, offset: int) -> bool:
    """Read bytes of a file from there; whether all came."""
    try:
        return file is not None and os.preadv(file, [room.data], offset) == len(room)
    except OSError:
        return False


def copy_of(tensor: Tensor) -> Tensor:
    """A copy, as `clone()` gives it."""
    if file_of(tensor) is None:
        return tensor.detach().clone()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype)
    flat = copy.view(-1)
    for at, block in blocks_of(tensor):
        flat[at : at + len(block)] = block
    return copy


def rows_of(table_VD: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table by number (ascending), as `table_VD[rows].clone()` gives them."""
    if file_of(table_VD) is None:
        return table_VD.detach()[rows].clone()
    width = table_VD.shape[1]
    found = torch.empty((len(rows), width), dtype=table_VD.dtype)
    done = 0
    kept = torch.empty(0, dtype=table_VD.dtype)
    for at, block in blocks_of(table_VD):
        # A block may end inside a row: what is left of it goes before the next one.
        joined = torch.cat([kept, block])
        first = (at - len(kept)) // width
        whole = len(joined) // width
        upto = int(torch.searchsorted(rows, first + whole))
        found[done:upto] = joined[: whole * width].view(whole, width)[rows[done:upto] - first]
        done, kept = upto, joined[whole * width :].clone()
    return found
