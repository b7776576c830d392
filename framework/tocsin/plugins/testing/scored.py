"""Scores that the checks make up, and what they compare of them. N messages, L labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tocsin.scores.table import ScoresTable

__all__ = ["all_unknown", "equal", "fields_of", "scores", "turned", "without_positives"]


def scores(
    rows: int = 200, labels: int = 3, *, model: int = 0, probabilities: bool = False, **changes: Any
) -> ScoresTable:
    """Return scores of N messages for L labels, better than chance and of too large a spread, with targets.

    One target in ten is unknown; messages are in three languages, one of them with a single message, or of none.

    Args:
        rows: N. The targets of the first five messages are known and of both kinds for each label.
        labels: L.
        model: Another number gives another model's scores of the same messages.
        probabilities: Hold probabilities in place of logits.
        changes: Other fields of the table.
    """
    truth = np.random.default_rng([rows, labels])
    targets_NL = (truth.random((rows, labels)) < 0.4).astype(np.float32)
    targets_NL[truth.random((rows, labels)) < 0.1] = np.nan
    targets_NL[: min(rows, 5)] = np.array([1, 0, 1, 0, 0], np.float32)[: min(rows, 5), None]
    noise_NL = np.random.default_rng([rows, labels, model]).normal(size=(rows, labels))
    logits_NL = (3.0 * (np.nan_to_num(targets_NL) + noise_NL) - 2.0).astype(np.float32)
    langs = np.array(["en", "fr", None], dtype=object)[truth.integers(0, 3, rows)]
    langs[0] = "ht"
    scored = (
        {"probabilities_NL": 1.0 / (1.0 + np.exp(-logits_NL.astype(np.float64)))}
        if probabilities
        else {"logits_NL": logits_NL}
    )
    fields: dict[str, Any] = {
        "ids": np.array([f"m{number}" for number in range(rows)], dtype=object),
        "labels": tuple(f"label {number}" for number in range(labels)),
        **scored,
        "targets_NL": targets_NL,
        "langs": langs,
        "slices": {"genre": np.array(["direct", "news"], dtype=object)[truth.integers(0, 2, rows)]},
        "metadata": {"run": f"invented {model}", "split": "validation"},
    }
    return ScoresTable(**{**fields, **changes})


def fields_of(table: ScoresTable) -> dict[str, Any]:
    """Return a table's fields by name."""
    return {
        name: getattr(table, name)
        for name in (
            "ids",
            "labels",
            "logits_NL",
            "probabilities_NL",
            "targets_NL",
            "decisions_NL",
            "langs",
            "slices",
            "metadata",
        )
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two fields are the same, NaN being equal to NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")
    return type(one) is type(other) and bool(one == other)


def turned(table: ScoresTable) -> ScoresTable:
    """Return the same scores with the labels in the opposite order."""

    def back(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[:, ::-1]

    return replace(
        table,
        labels=table.labels[::-1],
        logits_NL=back(table.logits_NL),
        probabilities_NL=back(table.probabilities_NL),
        targets_NL=back(table.targets_NL),
        decisions_NL=back(table.decisions_NL),
    )


def without_positives(table: ScoresTable) -> ScoresTable:
    """Return the table with a last label that no message has."""
    assert table.targets_NL is not None
    targets_NL = table.targets_NL.copy()
    targets_NL[targets_NL[:, -1] == 1, -1] = 0
    return replace(table, targets_NL=targets_NL)


def all_unknown(table: ScoresTable) -> ScoresTable:
    """Return the table with a last label of which nothing is known."""
    assert table.targets_NL is not None
    targets_NL = table.targets_NL.copy()
    targets_NL[:, -1] = np.nan
    return replace(table, targets_NL=targets_NL)
