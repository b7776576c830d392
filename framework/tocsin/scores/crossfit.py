"""What a fitted chain is worth on messages it has not seen, without spending a split on it.

The messages are cut into folds; each fold is judged by steps fitted on the others. So the figures lean a little to the
dark side (fewer messages were learned from) and not to the bright one.

N messages, L labels, K folds, D draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tocsin.errors import ConfigError, DataError
from tocsin.scores.chain import Chain
from tocsin.scores.intervals import degrees_of_freedom, interval, joined_degrees
from tocsin.scores.means import mean_defined
from tocsin.scores.resampling import message_weights
from tocsin.scores.statistics import Difference, Interval, difference, group_of
from tocsin.scores.table import ScoresTable

__all__ = ["Worth", "cross_fitted", "fold_numbers", "interval_of", "resampled", "worth_of"]

Counts = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From hits, false alarms, missed and rejected (..., L) to a figure (..., L): `DecisionRule.worth`."""


def fold_numbers(table: ScoresTable, folds: int, groups: str | None = None) -> np.ndarray:
    """Return (N,) fold numbers from 0, by a hash of the id: they depend on nothing else, not even on the rows' order.

    Args:
        table: Gives ids and groups.
        folds: K, at least 2.
        groups: A column: messages of one value stay together (events, users, duplicates). A null is a group of its own.

    Raises:
        ConfigError: For fewer than 2 folds.
        DataError: When all messages fall into one fold: too few messages or groups.
    """
    if folds < 2:
        raise ConfigError(
            f"folds is {folds}; at least 2 are wanted, to learn from one and to judge by another."
        )
    keys = [f"id {value!r}" for value in table.ids]
    if groups is not None:
        values = table.column(groups)
        keys = [
            key if value is None or value != value else f"group {value!r}"
            for key, value in zip(keys, values.tolist(), strict=True)
        ]
    hashed = {
        key: int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") % folds
        for key in set(keys)
    }
    numbers = np.array([hashed[key] for key in keys], dtype=np.int64)
    if len(np.unique(numbers)) < 2:
        what = "messages" if groups is None else f"groups ({groups})"
        raise DataError(
            f"{len(table):,} messages cannot be cut into folds: there are too few {what} to learn from some and "
            "to judge by others. Give more messages."
        )
    return numbers


def cross_fitted(chain: Chain, table: ScoresTable, folds: int = 5, groups: str | None = None) -> ScoresTable:
    """Return the table with each message's calibrated probabilities and decision by steps fitted on the other folds.

    Args:
        chain: Gives the steps' classes and arguments; it need not be fitted, and stays as it is. Without an ensembler.
        table: Validation scores with targets.
        folds: K.
        groups: As in `fold_numbers`.

    Raises:
        DataError: The table has no targets, is of a test split, or has too few messages.
    """
    numbers = fold_numbers(table, folds, groups)
    raw = table.uncalibrated()
    calibrated_NL = None if chain.calibrator is None else np.empty((len(table), len(table.labels)))
    decisions_NL = (
        None if chain.decision_rule is None else np.empty((len(table), len(table.labels)), dtype=np.bool_)
    )
    for fold in np.unique(numbers):
        held_out = np.flatnonzero(numbers == fold)
        judged = chain.fit(raw.select(numbers != fold)).apply(raw.select(held_out))
        if calibrated_NL is not None:
            calibrated_NL[held_out] = judged.probabilities
        if decisions_NL is not None:
            decisions_NL[held_out] = judged.decisions_NL
    return replace(raw, calibrated_NL=calibrated_NL, decisions_NL=decisions_NL)


@dataclass(frozen=True, eq=False)
class Worth:
    """What decisions are worth, label by label and on average, beside others of the same messages.

    Args:
        labels: An interval a label; NaN where undefined.
        macro: The mean over the labels where it is defined.
        other_macro: The same of the other decisions.
        gain: The mean difference over the labels in which both have a figure, over the same draws. Only where these are
            all that either has, it is `macro` minus `other_macro`.
        defined: Labels in `macro`.
        other_defined: Labels in `other_macro`.
        compared: Labels in `gain`.
    """

    labels: list[Interval]
    macro: Interval
    other_macro: Interval
    gain: Difference
    defined: int
    other_defined: int
    compared: int


def worth_of(
    table: ScoresTable,
    decisions_NL: np.ndarray,
    other_NL: np.ndarray,
    worth: Counts,
    *,
    draws: int = 1000,
    seed: int = 42,
    groups: str | None = None,
    share: bool = True,
) -> Worth:
    """Return what two decisions about the same messages are worth, with bootstrap intervals.

    Args:
        table: Gives targets and groups.
        decisions_NL: (N, L) bool.
        other_NL: (N, L) bool to compare with, such as "on from .5".
        worth: A rule's `worth`.
        draws: Bootstrap draws.
        seed: Of the draws.
        groups: A column: messages of one value are drawn together.
        share: Whether it lies between 0 and 1 by its nature: false for a cost.
    """
    targets_NL = table.known_targets("A rule's worth")
    cells = [_confusion_cells(targets_NL, decided) for decided in (decisions_NL, other_NL)]

    def figures(weights_ND: np.ndarray) -> np.ndarray:
        """(2, D, L)"""
        return np.stack([worth(*(weights_ND.T @ part for part in parts)) for parts in cells])

    with np.errstate(invalid="ignore", divide="ignore"):
        points_L = figures(np.ones((len(table), 1)))[:, 0]
        drawn_DL = resampled(figures, table, draws, seed, groups)
    degrees_L = degrees_of_freedom(targets_NL, group_of(table, groups))
    defined = drawn_DL[np.isfinite(drawn_DL)]
    bounded = share and bool(len(defined)) and defined.min() >= 0 and defined.max() <= 1
    # The intervals of `tocsin evaluate`; a cost has no range, and stays on its own scale.
    made = partial(interval_of, scale="logit" if bounded else "plain")
    macros = [
        made(mean_defined(drawn), float(mean_defined(point_L)), joined_degrees(drawn, degrees_L))
        for drawn, point_L in zip(drawn_DL, points_L, strict=True)
    ]
    # A rule that turns a weak label off has no precision there: its mean rises though no label gained.
    gains_L, gains_DL = points_L[0] - points_L[1], drawn_DL[0] - drawn_DL[1]
    return Worth(
        labels=[
            made(drawn_DL[0][:, i], float(points_L[0, i]), float(degrees_L[i]))
            for i in range(len(table.labels))
        ],
        macro=macros[0],
        other_macro=macros[1],
        gain=difference(
            mean_defined(gains_DL), float(mean_defined(gains_L)), joined_degrees(gains_DL, degrees_L)
        ),
        defined=int(np.isfinite(points_L[0]).sum()),
        other_defined=int(np.isfinite(points_L[1]).sum()),
        compared=int(np.isfinite(gains_L).sum()),
    )


def resampled(
    figures: Callable[[np.ndarray], np.ndarray],
    table: ScoresTable,
    draws: int,
    seed: int,
    groups: str | None,
) -> np.ndarray:
    """Return figures (..., D, L) under D resamples of the messages, or of whole groups.

    Args:
        figures: From message weights (N, d) to (..., d, L).
        table: Gives the messages and groups.
        draws: D.
        seed: Of the draws.
        groups: A column, or None.
    """
    if not len(table):
        raise DataError("There is nothing to draw from: the scores table has no messages.")
    if draws < 1:
        raise ConfigError(f"draws is {draws}; at least 1 is wanted (1000 for 95% intervals).")
    n = len(table)
    blocks = message_weights(n, draws, seed, group_N=group_of(table, groups))
    return np.concatenate([figures(weights.astype(np.float64)) for weights in blocks], axis=-2)


def interval_of(drawn_D: np.ndarray, point: float, degrees: float, scale: str = "plain") -> Interval:
    """Return the 95% interval of a figure from its draws (D,); arguments as in `tocsin.scores.intervals.interval`."""
    low, high, counted = interval(drawn_D, point, degrees=degrees, scale=scale)
    return Interval(point, low, high, counted, degrees)


def _confusion_cells(targets_NL: np.ndarray, decided_NL: np.ndarray) -> list[np.ndarray]:
    positive_NL, negative_NL = targets_NL == 1, targets_NL == 0
    return [
        (truth & decided).astype(np.float64)
        for truth, decided in (
            (positive_NL, decided_NL),
            (negative_NL, decided_NL),
            (positive_NL, ~decided_NL),
            (negative_NL, ~decided_NL),
        )
    ]
