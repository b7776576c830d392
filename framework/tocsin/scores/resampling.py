"""Which messages a bootstrap draws, and which a randomisation swaps: blocks of weights. N messages, D draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tocsin.errors import DataError

__all__ = ["group_numbers", "message_weights", "swaps"]

_BLOCK_CELLS = 2**17
"""Weights of one block: few draws of many messages, many of few, at least 64 (a cache line of bytes a message)."""


def message_weights(
    n: int, draws: int, seed: int, *, group_N: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield blocks (N, D) of how often each message was drawn, `draws` columns in all.

    The draws depend on the seed alone, not on the size of a block. Weights are uint8; where a message was drawn more
    than 255 times in a draw of the block, they are float64.

    Args:
        n: Messages.
        draws: Resamples in all.
        seed: Of the resampling.
        group_N: (N,) group numbers from 0 without gaps; as many groups as there are are drawn with replacement, each
            whole. None draws single messages.
    """
    size = n if group_N is None else int(group_N.max()) + 1
    generator = np.random.default_rng(seed)
    for count in _blocks(n, draws):
        times = [np.bincount(generator.integers(0, size, size), minlength=size) for _ in range(count)]
        most = max(int(each.max()) for each in times)
        yield _spread(times, np.uint8 if most < 256 else np.float64, group_N)


def swaps(n: int, draws: int, seed: int, *, group_N: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield blocks (N, D) uint8 of 0 and 1, each with equal chance: whose messages two models exchange.

    Arguments as in `message_weights`; a group is exchanged whole.
    """
    size = n if group_N is None else int(group_N.max()) + 1
    generator = np.random.default_rng(seed)
    for count in _blocks(n, draws):
        yield _spread([generator.integers(0, 2, size) for _ in range(count)], np.uint8, group_N)


def _blocks(n: int, draws: int) -> Iterator[int]:
    """The number of draws in each block."""
    block = max(64, min(512, _BLOCK_CELLS // n))
    for first in range(0, draws, block):
        yield min(block, draws - first)


def _spread(times: list[np.ndarray], dtype: type, group_N: np.ndarray | None) -> np.ndarray:
    """Weights (N, D), a message's draws side by side in memory."""
    weights: np.ndarray = np.empty((len(times[0]), len(times)), dtype)
    for d, each in enumerate(times):
        weights[:, d] = each
    return weights if group_N is None else np.take(weights, group_N, axis=0)


def group_numbers(values: np.ndarray, n: int) -> np.ndarray:
    """Return (N,) group numbers from 0 for values of any kind; every null is a group of its own.

    Raises:
        DataError: When there are not n values.
    """
    if len(values) != n:
        raise DataError(f"groups has {len(values):,} values; one a message is wanted, {n:,}.")
    try:
        encoded = pa.array(values, from_pandas=True).dictionary_encode()
    except pa.ArrowException as error:
        raise DataError(f"groups must be texts, numbers or dates, all of one kind ({error}).") from error
    unknown = encoded.is_null().to_numpy(zero_copy_only=False)
    numbers = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    numbers[unknown] = len(encoded.dictionary) + np.arange(unknown.sum())
    return numbers
