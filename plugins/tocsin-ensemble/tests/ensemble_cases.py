"""Scores that tests make up. M members, N messages, L labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tocsin.plugins import ScoresTable

LABELS = ("flood", "fire", "quake")


def sigmoid(logits: Any) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.asarray(logits, dtype=np.float64)))


def members(
    seed: int = 0,
    rows: int = 500,
    noise: tuple[float, ...] = (0.7, 1.0, 2.0),
    shares: tuple[float, ...] = (0.4, 0.15, 0.03),
    **fields: Any,
) -> list[ScoresTable]:
    """Members that see the true log odds through noise of these standard deviations; a tenth of targets unknown."""
    generator = np.random.default_rng(seed)
    centre_L = np.log(np.array(shares) / (1 - np.array(shares)))
    truth_NL = generator.normal(size=(rows, len(shares))) * 1.5 + centre_L
    targets_NL = (generator.random(truth_NL.shape) < sigmoid(truth_NL)).astype(np.float64)
    targets_NL[generator.random(truth_NL.shape) < 0.1] = np.nan
    given: dict[str, Any] = {
        "ids": [f"m{i}" for i in range(rows)],
        "labels": LABELS[: len(shares)],
        "targets_NL": targets_NL,
        "metadata": {"split": "validation"},
        **fields,
    }
    return [
        ScoresTable(logits_NL=truth_NL + generator.normal(size=truth_NL.shape) * each, **given)
        for each in noise
    ]


def select(tables: list[ScoresTable], rows: np.ndarray) -> list[ScoresTable]:
    return [table.select(rows) for table in tables]
