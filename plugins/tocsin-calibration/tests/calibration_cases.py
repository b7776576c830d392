"""Scores that tests make up. N messages, L labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tocsin.plugins import ScoresTable


def sigmoid(logits: Any) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.asarray(logits, dtype=np.float64)))


def column(seed: int, n: int = 400, scale: float = 2.0, shift: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets for which sigmoid((z - shift) / scale) is the truth."""
    generator = np.random.default_rng(seed)
    z = generator.normal(-1.0, 2.5, n)
    return z, (generator.random(n) < sigmoid((z - shift) / scale)).astype(np.float64)


def table(z_NL: np.ndarray, targets_NL: np.ndarray | None, **fields: Any) -> ScoresTable:
    z_NL = np.asarray(z_NL, dtype=np.float64)
    given: dict[str, Any] = {
        "ids": [f"m{i}" for i in range(len(z_NL))],
        "labels": tuple(f"label {i}" for i in range(z_NL.shape[1])),
        "logits_NL": z_NL,
        "targets_NL": targets_NL,
        "metadata": {"split": "validation"},
    }
    return ScoresTable(**{**given, **fields})


def several(
    seed: int = 0, rows: int = 600, shares: tuple[float, ...] = (0.4, 0.1, 0.02), **fields: Any
) -> ScoresTable:
    """Overconfident scores of labels with these prevalences, a tenth of the targets unknown, three languages."""
    generator = np.random.default_rng(seed)
    labels = len(shares)
    truth_NL = generator.normal(size=(rows, labels)) * 1.5 + np.log(np.array(shares) / (1 - np.array(shares)))
    targets_NL = (generator.random((rows, labels)) < sigmoid(truth_NL)).astype(np.float64)
    targets_NL[generator.random((rows, labels)) < 0.1] = np.nan
    langs = np.array(["en", "fr", "ht"], dtype=object)[generator.integers(0, 3, rows)]
    return table(2.0 * truth_NL + 0.7, targets_NL, **{"langs": langs, **fields})
