"""Giving freed memory back to the system."""

import ctypes
import gc
import sys
from contextlib import suppress

__all__ = ["give_back", "trim"]


def give_back() -> None:
    """Collect garbage and `trim`: where much was let go for good, such as a tokenizer of 250,000 pieces."""
    gc.collect()
    trim()


def trim() -> None:
    """Return freed memory to the system, where the C library is glibc; elsewhere nothing.

    glibc keeps what was freed between what is still in use, and holes of that kind are of no use to a large tensor. A
    call takes milliseconds, with half a gigabyte to return some 50.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library, such as musl
            ctypes.CDLL(None).malloc_trim(0)
