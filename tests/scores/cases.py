"""Named columns of targets and scores that every metric is tested on, and small tables made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tocsin.scores.table import ScoresTable

NULL = np.nan


def _random(seed: int, n: int, share: float, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = (generator.random(n) < share).astype(np.float64)
    scores = generator.normal(size=n) + targets
    if levels is not None:
        scores = np.round(scores * levels) / levels
    return targets, 1.0 / (1.0 + np.exp(-scores))


def _with_nulls(seed: int) -> tuple[np.ndarray, np.ndarray]:
    targets, scores = _random(seed, 200, 0.3, levels=4)
    targets[::3] = NULL
    return targets, scores


CASES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    name: (np.asarray(targets, dtype=np.float64), np.asarray(scores, dtype=np.float64))
    for name, (targets, scores) in {
        "no ties": _random(0, 300, 0.2),
        "few ties": _random(1, 300, 0.2, levels=50),
        "many ties": _random(2, 300, 0.2, levels=2),
        "mostly positive": _random(3, 300, 0.9, levels=10),
        "rare": _random(4, 400, 0.01, levels=10),
        "with nulls": _with_nulls(5),
        "all scores equal": ([1, 0, 0, 1, 0], [0.5] * 5),
        "all scores equal, all on": ([1, 0, 0, 1, 0], [0.9] * 5),
        "perfect": ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        "inverted": ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]),
        "tie across the classes at the top": ([1, 0, 0, 1], [0.9, 0.9, 0.1, 0.2]),
        "tie across the classes at the bottom": ([1, 0, 0, 1], [0.9, 0.1, 0.2, 0.1]),
        "signed zeros tie": ([1, 0, 1, 0], [0.0, -0.0, 0.3, -0.3]),
        "two rows": ([1, 0], [0.3, 0.7]),
        "nothing on": ([1, 0, 1], [0.1, 0.2, 0.3]),
        "on the threshold": ([1, 0, 1], [0.5, 0.5, 0.49]),
        "single positive row": ([1], [0.7]),
        "single negative row": ([0], [0.7]),
        "no positives": ([0, 0, 0], [0.1, 0.6, 0.6]),
        "no negatives": ([1, 1, 1], [0.1, 0.6, 0.6]),
        "all null": ([NULL, NULL, NULL], [0.1, 0.6, 0.6]),
        "null leaves no positive": ([NULL, 0, 0], [0.9, 0.6, 0.1]),
        "no rows": ([], []),
    }.items()
}


def known(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Targets (bool) and scores of the cells that are not null: what an independent reference gets."""
    targets, scores = CASES[name]
    cells = ~np.isnan(targets)
    return targets[cells] == 1, scores[cells]


def make_table(
    n: int = 120, n_labels: int = 4, *, seed: int = 0, skill: float = 1.0, **changes: Any
) -> ScoresTable:
    """A table with ties, nulls, a label without positives (the last) and one without negatives (the one before).

    The targets depend on `n` and `n_labels` alone, so that tables of other skill or seed are of the same messages.
    """
    truth = np.random.default_rng(n)
    targets = (truth.random((n, n_labels)) < 0.3).astype(np.float32)
    targets[truth.random((n, n_labels)) < 0.1] = NULL
    if n_labels > 2:
        targets[:, -1] = np.where(np.isnan(targets[:, -1]), NULL, 0)
        targets[:, -2] = np.where(np.isnan(targets[:, -2]), NULL, 1)
    noise = np.random.default_rng(seed).normal(size=(n, n_labels))
    arguments: dict[str, Any] = {
        "ids": np.array([f"m{i}" for i in range(n)], dtype=object),
        "labels": tuple(f"label {i}" for i in range(n_labels)),
        "logits_NL": np.round(noise + skill * np.nan_to_num(targets), 1) - 0.5,
        "targets_NL": targets,
        "langs": np.array(["en", "fr", "ht", None], dtype=object)[truth.integers(0, 4, n)],
        "slices": {"genre": np.array(["direct", "news"], dtype=object)[truth.integers(0, 2, n)]},
        "metadata": {"run": f"skill-{skill:g}", "split": "validation"},
    }
    return ScoresTable(**{**arguments, **changes})
