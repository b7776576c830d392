"""Giving freed memory back to the system."""

import ctypes
import gc
import sys
from contextlib import suppress

__all__ = ["give_back"]


def give_back() -> None:
    """Return what the process has freed to the system, where its C library is glibc; elsewhere nothing.

    glibc keeps freed memory between what is still in use. Worth a call (tens of milliseconds) where much was let go for
    good, such as a tokenizer of 250,000 pieces: what comes after, gradients and moments, would not fit into its holes.
    """
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library, such as musl
            ctypes.CDLL(None).malloc_trim(0)
