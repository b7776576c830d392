"""What lies behind the figures: which labels come together, which are taken for one another, where a model errs most.

Messages are named by id alone: a report holds no text.

N messages, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tocsin.scores.draws import Cells
from tocsin.scores.means import ratio
from tocsin.scores.metrics import probabilities_of
from tocsin.scores.probabilities import log_losses
from tocsin.scores.table import ScoresTable

__all__ = ["Confusion", "WorstError", "confusion", "worst_errors"]


@dataclass(frozen=True, eq=False)
class Confusion:
    """How labels go together, among messages where both are known.

    Args:
        labels: The L names.
        together_LL: int64, messages that carry both labels; on the diagonal the label alone.
        taken_LL: float64, row label i, column label j: among messages that carry i and not j, the share for which j
            counts as on. On the diagonal: the share of i's messages for which i itself is not on. NaN without such
            a message.
        missed_LL: int64, row i, column j: messages that carry i and not j, for which j is on and i is not: j was
            given in i's place.
    """

    labels: tuple[str, ...]
    together_LL: np.ndarray
    taken_LL: np.ndarray
    missed_LL: np.ndarray

    def pairs(self, most: int = 10) -> list[tuple[int, int]]:
        """Return the (i, j) that are most often taken for one another: j in place of i, at least once."""
        places = np.argsort(-self.missed_LL, axis=None, kind="stable")[:most]
        found = [divmod(int(place), len(self.labels)) for place in places]
        return [(i, j) for i, j in found if self.missed_LL[i, j] > 0]


def confusion(table: ScoresTable, thresholds: float | Sequence[float] = 0.5) -> Confusion:
    """Return which labels come together and which are given in another's place.

    Args:
        table: Scores with targets.
        thresholds: As in `evaluate`.

    Raises:
        DataError: When the table has no targets or no messages.
    """
    cells = Cells.of(table, (), thresholds)
    n_labels = len(table.labels)
    together_LL, both_LL, on_LL, missed_LL = np.zeros((4, n_labels, n_labels))
    step = 65_536  # bounds the arrays of floats
    for start in range(0, len(table), step):
        rows = slice(start, start + step)
        carried = (cells.targets_NL[rows] == 1).astype(np.float32)
        without = (cells.targets_NL[rows] == 0).astype(np.float32)
        on = cells.on_NL[rows].astype(np.float32)
        together_LL += carried.T @ carried
        both_LL += carried.T @ without
        on_LL += carried.T @ (without * on)
        missed_LL += (carried * (1 - on)).T @ (without * on)
    carried_L = np.diag(together_LL)
    hits_L = ((cells.targets_NL == 1) & cells.on_NL).sum(axis=0)
    taken_LL = ratio(on_LL, both_LL)
    np.fill_diagonal(taken_LL, ratio(carried_L - hits_L, carried_L))
    return Confusion(table.labels, together_LL.astype(np.int64), taken_LL, missed_LL.astype(np.int64))


@dataclass(frozen=True)
class WorstError:
    """A cell that surprised the model most: `id` and `label`, whether it was so, and the probability it was given."""

    id: str
    lang: str | None
    label: str
    target: int
    probability: float
    loss: float


def worst_errors(table: ScoresTable, most: int = 20, each: int = 3) -> list[WorstError]:
    """Return the cells of the largest log loss, largest first.

    Args:
        table: Scores with targets.
        most: How many in all.
        each: The most of one label and target, so that one hard label does not fill the list.

    Raises:
        DataError: When the table has no targets.
    """
    targets_NL = table.known_targets("A list of errors")
    found = []
    for i, label in enumerate(table.labels):
        for target in (0, 1):
            rows = np.flatnonzero(targets_NL[:, i] == target)
            given = probabilities_of(table, table.ranking_NL[rows, i]).astype(np.float64)
            losses = log_losses(np.full(len(rows), bool(target)), given)
            wrong = np.flatnonzero((given >= 0.5) != bool(target))
            # by loss, then by id: the order of the rows must not count
            order = np.lexsort((table.ids[rows[wrong]].astype(str), -losses[wrong]))[:each]
            found += [
                WorstError(
                    table.ids[rows[at]],
                    None if table.langs is None else table.langs[rows[at]],
                    label,
                    target,
                    float(given[at]),
                    float(losses[at]),
                )
                for at in wrong[order]
            ]
    return sorted(found, key=lambda error: (-error.loss, error.label, error.id))[:most]
