"""Cutting an optimiser step into passes that a memory budget bounds. Axes: B messages in a pass, T tokens, L labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MessagePass", "Step", "collate", "cut_again", "cut_even_passes", "cut_passes", "padded"]


class MessagePass(NamedTuple):
    """Messages that go through the model together.

    Args:
        input_ids_BT: Token ids, padded on the right, int64.
        mask_BT: 1 for a real token, 0 for padding, int64.
        targets_BL: In [0, 1], float32; 0 where unknown.
        known_BL: 1 where the label is known, float32.
        rows_B: Row numbers in the corpus, int64; -1 marks a row that only keeps a rank in step and weighs nothing.
    """

    input_ids_BT: Tensor
    mask_BT: Tensor
    targets_BL: Tensor
    known_BL: Tensor
    rows_B: Tensor


class Step(NamedTuple):
    """What one rank sees in one optimiser step.

    Args:
        passes: At least one.
    """

    passes: list[MessagePass]


# Padded tokens squared a token of the budget, of which attention keeps a score a head, where a model packs its passes.
_SCORES = 128


def cut_passes(lengths: np.ndarray, tokens_per_pass: int, packed: bool = False) -> list[np.ndarray]:
    """Cut messages into passes by length, so that the tokens of a pass stay within a budget.

    Args:
        lengths: Tokens of each message, special tokens included, `(N,)`.
        tokens_per_pass: Tokens of a pass; a single message longer than that gets a pass of its own.
        packed: Whether the model works on the real tokens of a pass alone. The budget is one of real tokens then, and
            padding, which attention still sees, is bounded where it is large: messages times the longest of them stays
            within the budget, or times the longest squared within 128 times the budget.

    Returns:
        Positions into `lengths`, longest messages first, each exactly once. Equal lengths keep their order.
    """
    order = np.argsort(-lengths, kind="stable")
    passes: list[np.ndarray] = []
    real = np.cumsum(lengths[order])
    start = 0
    while start < len(order):
        # The first of a descending run is its longest, so how many messages a pass holds at most follows from it alone.
        longest = max(1, int(lengths[order[start]]))
        size = tokens_per_pass // longest
        if packed:
            before = int(real[start - 1]) if start else 0
            within = int(np.searchsorted(real, before + tokens_per_pass, side="right")) - start
            size = min(within, max(size, _SCORES * tokens_per_pass // longest**2))
        size = max(1, size)
        passes.append(order[start : start + size])
        start += size
    return passes


def cut_even_passes(lengths: np.ndarray, tokens_per_pass: int, packed: bool = False) -> list[np.ndarray]:
    """As many passes as `cut_passes` makes, but of about equal size.

    The last pass that fills a budget greedily may hold a few tokens only: it costs as much overhead as a full one, its
    matrices are too small to be multiplied fast, and the first needs memory that an even cut does not.
    """
    passes = cut_passes(lengths, tokens_per_pass, packed)
    low, high = 1, tokens_per_pass
    while len(passes) > 1 and low < high:
        budget = (low + high) // 2
        tried = cut_passes(lengths, budget, packed)
        if len(tried) <= len(passes):
            passes, high = tried, budget
        else:
            low = budget + 1
    return passes


def cut_again(
    passes: Sequence[Any], tokens_per_pass: int, pad_id: int, packed: bool = False
) -> tuple[list[Any], list[int]]:
    """Cut the passes of a step anew under another budget: those that the sampler would have cut with it.

    Args:
        passes: Named tuples whose first two tensors are ids `(B, T)` and mask `(B, T)`, all others `(B, …)`; their
            rows, one pass after the other, are longest first.
        tokens_per_pass: See `cut_passes`.
        pad_id: The tokenizer's padding id.
        packed: See `cut_passes`.

    Returns:
        The passes, of the same kind and on the same device, and how many rows each has.
    """
    lengths = torch.cat([part[1].sum(1) for part in passes]).cpu().numpy()
    widest = max(part[0].shape[1] for part in passes)
    ids, mask = (
        torch.cat([F.pad(part[at], (0, widest - part[at].shape[1]), value=fill) for part in passes])
        for at, fill in ((0, pad_id), (1, 0))
    )
    others = [torch.cat([part[at] for part in passes]) for at in range(2, len(passes[0]))]
    cut, sizes = [], []
    for chosen in cut_even_passes(lengths, tokens_per_pass, packed):
        rows = torch.from_numpy(chosen).to(ids.device)
        width = max(1, int(lengths[chosen].max()))
        tensors = (ids[rows, :width], mask[rows, :width], *(tensor[rows] for tensor in others))
        cut.append(type(passes[0])(*tensors))
        sizes.append(len(chosen))
    return cut, sizes


def padded(tokens: Sequence[np.ndarray], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids `(B, T)` padded on the right to the longest message, and their mask `(B, T)`, both int64.

    Args:
        tokens: Token ids of each message, int32.
        pad_id: The tokenizer's padding id.
    """
    width = max(1, max((len(ids) for ids in tokens), default=1))
    input_ids = np.full((len(tokens), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(tokens), width), dtype=np.int64)
    for position, ids in enumerate(tokens):
        input_ids[position, : len(ids)] = ids
        mask[position, : len(ids)] = 1
    return torch.from_numpy(input_ids), torch.from_numpy(mask)


def collate(
    tokens: Sequence[np.ndarray], targets_BL: np.ndarray, rows_B: np.ndarray, pad_id: int
) -> MessagePass:
    """Pad to the longest message of the pass.

    Args:
        tokens: Token ids of each message, int32.
        targets_BL: float32, NaN where unknown.
        rows_B: Row numbers in the corpus; -1 for a filler, whose labels all become unknown.
        pad_id: The tokenizer's padding id.
    """
    known = ~np.isnan(targets_BL) & (rows_B >= 0)[:, None]
    return MessagePass(
        *padded(tokens, pad_id),
        torch.from_numpy(np.where(known, targets_BL, 0.0).astype(np.float32)),
        torch.from_numpy(known.astype(np.float32)),
        torch.from_numpy(rows_B.astype(np.int64)),
    )
