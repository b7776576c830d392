"""From the logits of evaluation passes to the scores table of a whole split. Axes: N messages, L labels."""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tocsin.batches.protocols import ServesMessages
from tocsin.errors import TrainingError
from tocsin.scores.table import ScoresTable

__all__ = ["LogitCollector", "scores_table"]


class LogitCollector:
    """Collects logits by row number over the passes of one evaluation, on one rank.

    Args:
        labels: L.
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self.rows: list[np.ndarray] = []
        self.logits: list[np.ndarray] = []
        self.sums = torch.zeros(2, dtype=torch.float64)

    def add(self, rows_B: Tensor, logits_BL: Tensor, loss: Tensor, weight: Tensor) -> None:
        """Take one pass: row numbers, float32 logits, the loss's sum and weight."""
        real = rows_B >= 0  # a filler keeps a rank in step and is nobody's message
        self.rows.append(rows_B[real].cpu().numpy())
        self.logits.append(logits_BL[real].cpu().numpy())
        self.sums += torch.stack([loss, weight]).double().cpu()

    def gather(self, world_size: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Put all ranks together: rows ascending `(N,)`, logits `(N, L)`, mean loss; the same on every rank."""
        rows = np.concatenate(self.rows or [np.zeros(0, dtype=np.int64)])
        logits = np.concatenate(self.logits or [np.zeros((0, self.labels), dtype=np.float32)])
        sums = self.sums.tolist()
        if world_size > 1:
            gathered: list[Any] = [None] * world_size
            torch.distributed.all_gather_object(gathered, (rows, logits, sums))
            rows = np.concatenate([part[0] for part in gathered])
            logits = np.concatenate([part[1] for part in gathered])
            sums = np.sum([part[2] for part in gathered], axis=0).tolist()
        order = np.argsort(rows, kind="stable")
        return rows[order], logits[order], sums[0] / max(sums[1], 1e-12)


def scores_table(
    data: ServesMessages,
    split: str,
    rows: np.ndarray,
    logits_NL: np.ndarray,
    labels: tuple[str, ...],
    *,
    whole: bool,
    steps: int,
) -> ScoresTable:
    """The table of a split, with targets and slices from the DataModule.

    Args:
        data: Knows the rows.
        split: Its name.
        rows: Row numbers that were scored, ascending, `(N,)`.
        logits_NL: In their order.
        labels: L names in order.
        whole: Whether the split was to be scored whole (no limit on passes).
        steps: Optimiser steps that the weights have seen.

    Raises:
        TrainingError: A message was scored twice, or one of a whole split was not.
    """
    distinct, expected = len(np.unique(rows)), data.rows(split)
    if distinct != len(rows) or (whole and not np.array_equal(rows, expected)):
        raise TrainingError(
            f"The {split} split has {len(expected)} messages; {len(rows)} were scored, {distinct} of them distinct. "
            "Each must be scored once: is another distributed sampler in use?"
        )
    described = data.describe(rows)
    facts = {"split": split, "optimizer_steps": str(steps)}
    prior = data.prior()
    facts["train_prevalence"] = json.dumps([None if np.isnan(share) else float(share) for share in prior])
    return ScoresTable(
        ids=described["ids"],
        labels=labels,
        logits_NL=logits_NL,
        targets_NL=data.targets(rows),
        langs=described["langs"],
        slices=described["slices"],
        metadata=facts,
    )
