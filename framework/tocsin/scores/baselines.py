"""Trivial baselines: what a score is worth is what it has above these.

A constant can look good: on the six-label violence task "everything on" has a macro-F1 of .617, and each
label's prior a micro ROC-AUC of .599. So these three stand beside every figure. Their ranking within a label
is one tie: ROC-AUC .5, average precision the label's prevalence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tocsin.errors import DataError
from tocsin.labels.targets import POSITIVE_FROM
from tocsin.scores.metrics import Metrics, evaluate
from tocsin.scores.table import ScoresTable

__all__ = ["BASELINES", "baselines", "prevalence", "training_prevalence"]

BASELINES = ("prior", "all on", "all off")


def baselines(
    table: ScoresTable,
    prior: Sequence[float] | np.ndarray | None = None,
    thresholds: float | Sequence[float] = 0.5,
) -> dict[str, Metrics]:
    """Return the metrics of three constant models on the messages and targets of `table`.

    "prior": every message gets each label's prevalence; `note` says whose: that of the training split when
    `prior` is given or the table's metadata holds `train_prevalence`, else that of the table itself. "all
    on", "all off": every label always, never.

    Args:
        table: Scores with targets; the scores themselves are not read.
        prior: (L,) prevalence of each label in the training split, NaN where it was never known there.
        thresholds: As in `evaluate`; from which prior a label counts as on.

    Raises:
        DataError: When the table has no targets, or `prior` is not L numbers in [0, 1].
    """
    targets_NL = table.known_targets("A baseline")
    if prior is None:
        prior = training_prevalence(table)
    note = "prevalence of these messages" if prior is None else "prevalence of the training split"
    prior_L = np.asarray(prevalence(targets_NL) if prior is None else prior, dtype=np.float64)
    shape = (len(table.labels),)
    if prior_L.shape != shape or ((prior_L < 0) | (prior_L > 1)).any():
        raise DataError(f"The prior must be {shape[0]} shares in [0, 1], one a label; {prior!r} was given.")
    prior_L = np.nan_to_num(prior_L)  # a label never known in training is never predicted

    def constant(values_L: np.ndarray, limits: float | Sequence[float], note: str) -> Metrics:
        scores_NL = np.broadcast_to(values_L, targets_NL.shape)
        same = replace(table.uncalibrated(), logits_NL=None, probabilities_NL=scores_NL)
        return evaluate(same, limits, note=note)

    return {
        "prior": constant(prior_L, thresholds, note),
        "all on": constant(np.ones(shape), 0.5, "every label on"),
        "all off": constant(np.zeros(shape), 0.5, "every label off"),
    }


def prevalence(targets_NL: np.ndarray) -> np.ndarray:
    """Return (L,) the share of positives (from 0.5 up) among the known targets; NaN where none is known."""
    known_L = np.count_nonzero(~np.isnan(targets_NL), axis=0)
    positives_L = np.count_nonzero(targets_NL >= POSITIVE_FROM, axis=0)
    return np.divide(positives_L, known_L, out=np.full(targets_NL.shape[1], np.nan), where=known_L > 0)


def training_prevalence(table: ScoresTable) -> np.ndarray | None:
    """Return (L,) from the metadata `train_prevalence` (JSON list in label order), or None without it."""
    text = table.metadata.get("train_prevalence")
    if text is None:
        return None
    try:
        return np.asarray(json.loads(text), dtype=np.float64)  # None becomes NaN
    except (ValueError, TypeError) as error:
        raise DataError(
            f"The metadata train_prevalence must be a JSON list of shares; it is {text!r}."
        ) from error
