"""What an ensemble is worth: beside its members, beside the best of them, and without each of them.

On the messages that it is fitted on, the ensemble is judged by cross-fitting: each fold by ensemblers fitted on the
others. On other messages (a test split) it is judged as it was fitted on all of those. Members are fitted already: on
neither do they learn anything here.

M members, N messages, D draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tocsin.errors import ConfigError, DataError
from tocsin.scores.chain import Chain, fit_chain
from tocsin.scores.comparison import p_value, randomisation
from tocsin.scores.crossfit import fold_numbers
from tocsin.scores.draws import Cells, DrawnFigures, Figures
from tocsin.scores.intervals import interval
from tocsin.scores.metrics import LOSSES, Metrics, evaluate
from tocsin.scores.roles import Ensembler
from tocsin.scores.statistics import (
    Difference,
    Interval,
    PairedDraws,
    drawn_figures,
    figure_degrees,
    group_of,
    scale_of,
)
from tocsin.scores.table import ScoresTable

__all__ = [
    "JUDGED_BY",
    "EnsembleReport",
    "Judgement",
    "assess_ensemble",
    "cross_fitted_joint",
    "fit_ensemble",
    "joint_table",
    "steps_of",
]

JUDGED_BY = ("macro_average_precision", "macro_roc_auc", "macro_log_loss", "macro_brier")
"""The figures that members and ensembles are judged by."""

Advance = Callable[[int], None]

_NO_DIFFERENCE = Difference(np.nan, np.nan, np.nan, np.nan, 0)


@dataclass(frozen=True, eq=False)
class Judgement:
    """Members and ensemble on one set of messages.

    Args:
        joint: The ensemble's scores: cross-fitted on the messages of the fit.
        cross_fitted: Whether they are.
        metrics: Of the joint scores.
        ensemble: Figure to its interval.
        members: The same of each member.
        best: Figure to the number of the member that is best at it, on these very messages.
        gains: Figure to ensemble minus best member.
        p_values: Figure to the p-value of that, by approximate randomisation.
        added: Of each member, figure to ensemble minus the ensemble fitted without it; empty for a single member. NaN
            where no ensemble is left without it (the only one with a weight).
        without: Of each member, figure to what the ensemble without it has; NaN likewise.
    """

    joint: ScoresTable
    cross_fitted: bool
    metrics: Metrics
    ensemble: dict[str, Interval]
    members: list[dict[str, Interval]]
    best: dict[str, int]
    gains: dict[str, Difference]
    p_values: dict[str, float]
    added: list[dict[str, Difference]]
    without: list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class EnsembleReport:
    """All figures of a fitted ensemble.

    Args:
        name: What it is called.
        names: The members' names.
        chain: The ensembler, fitted on all messages of the fit.
        folds: Of the cross-fitting.
        groups: The column whose values stay together in folds and draws; None for single messages.
        draws: Bootstrap draws behind each interval.
        fitted: On the messages of the fit, cross-fitted.
        tested: On other messages; None where none were given.
    """

    name: str
    names: tuple[str, ...]
    chain: Chain
    folds: int
    groups: str | None
    draws: int
    fitted: Judgement
    tested: Judgement | None = None

    @property
    def ensembler(self) -> Ensembler:
        """The fitted ensembler."""
        assert self.chain.ensembler is not None
        return self.chain.ensembler


def fit_ensemble(
    ensembler: Ensembler, tables: Sequence[ScoresTable], names: Sequence[str], name: str
) -> Chain:
    """Fit an ensembler on its members' tables, which hold the same messages in the same order.

    Args:
        ensembler: Changed by the fit.
        tables: With targets; of no test split.
        names: The members'.
        name: The ensemble's, noted among the facts.

    Raises:
        DataError, LabelError: As in `Ensembler.fit`.
    """
    chain = fit_chain(tables, ensembler=ensembler)
    of_members = {
        "run": name,
        "members": json.dumps(list(names)),
        "members_scores": json.dumps([table.content_digest for table in tables]),
    }
    return replace(chain, facts={**chain.facts, **of_members})


def joint_table(
    ensembler: Ensembler, tables: Sequence[ScoresTable], names: Sequence[str], name: str
) -> ScoresTable:
    """Return the scores that an ensembler makes of its members', with facts that tell where they come from."""
    return _told(ensembler.apply(tables).uncalibrated(), ensembler, tables, names, name)


def cross_fitted_joint(
    ensembler: Ensembler,
    tables: Sequence[ScoresTable],
    names: Sequence[str],
    name: str,
    folds: int = 5,
    groups: str | None = None,
    advance: Advance = lambda done: None,
) -> ScoresTable:
    """Return joint scores, each message's by an ensembler fitted on the other folds.

    Args:
        ensembler: Gives class and arguments; it need not be fitted, and stays as it is.
        tables: The members', of the same messages in the same order, with targets.
        names: The members'.
        name: The ensemble's.
        folds: How many parts.
        groups: As in `fold_numbers`.
        advance: Called with 1 after each fit.

    Raises:
        DataError: There are too few messages, or as in `Ensembler.fit`.
        ConfigError: For fewer than 2 folds.
    """
    numbers = fold_numbers(tables[0], folds, groups)
    scores_NL: np.ndarray | None = None
    of_logits = True
    for fold in np.unique(numbers):
        held_out = np.flatnonzero(numbers == fold)
        fresh = type(ensembler)(**ensembler.arguments).fit(
            [table.select(numbers != fold) for table in tables]
        )
        joint = fresh.apply([table.select(held_out) for table in tables])
        if scores_NL is None:
            of_logits = joint.logits_NL is not None
            scores_NL = np.empty((len(numbers), len(joint.labels)))
        found = joint.logits_NL if of_logits else joint.probabilities_NL
        if found is None:
            raise DataError(
                f"{type(ensembler).__name__} gave logits for some messages and probabilities for others: "
                "ask its author."
            )
        scores_NL[held_out] = found
        advance(1)
    filled: dict[str, Any] = {
        "logits_NL": None,
        "probabilities_NL": None,
        ("logits_NL" if of_logits else "probabilities_NL"): scores_NL,
    }
    table = _told(replace(tables[0].uncalibrated(), **filled), ensembler, tables, names, name)
    return replace(table, metadata={**table.metadata, "cross_fitted": str(folds)})


def steps_of(members: int, folds: int, *, tested: bool) -> int:
    """Return about how many steps `assess_ensemble` tells of."""
    left_out = members if members > 1 else 0
    judged = members + 1 + left_out + min(members, len(JUDGED_BY))
    return (left_out + 1) * folds + judged + (left_out + judged if tested else 0)


def assess_ensemble(
    chain: Chain,
    tables: Sequence[ScoresTable],
    names: Sequence[str],
    name: str = "ensemble",
    *,
    test: Sequence[ScoresTable] | None = None,
    folds: int = 5,
    groups: str | None = None,
    draws: int = 1000,
    seed: int = 42,
    advance: Advance = lambda done: None,
) -> EnsembleReport:
    """Judge an ensemble beside its members and without each of them.

    Args:
        chain: With the ensembler, fitted on the tables.
        tables: What it was fitted on, of the same messages in the same order (`tocsin.scores.members`).
        names: The members'.
        name: The ensemble's.
        test: The members' tables of other messages, with targets; None for none.
        folds: Of the cross-fitting.
        groups: A column: messages of one value stay together in folds and draws.
        draws: Bootstrap draws behind each interval, and exchanges behind each p-value.
        seed: Of both.
        advance: Called with 1 after each of about `steps_of` steps.

    Raises:
        DataError: Too few messages, a table without targets, or no such column.
        ConfigError: Fewer than 2 folds, or no draw.
    """
    if draws < 1:
        raise ConfigError(f"draws is {draws}; at least 1 is wanted (1000 for 95% intervals).")
    assert chain.ensembler is not None
    ensembler, count = chain.ensembler, len(tables)

    def others(of: Sequence[ScoresTable], member: int) -> list[ScoresTable]:
        return [table for number, table in enumerate(of) if number != member]

    left_out = range(count if count > 1 else 0)
    joint = cross_fitted_joint(ensembler, tables, names, name, folds, groups, advance)
    fewer = [_without(ensembler, member) for member in left_out]
    without = [
        None
        if each is None
        else cross_fitted_joint(each, others(tables, member), names, name, folds, groups, advance)
        for member, each in enumerate(fewer)
    ]
    judge = _Judge(draws, seed, groups, advance)
    fitted = judge(joint, tables, without, cross_fitted=True)
    tested = None
    if test is not None:
        without = []
        for member, each in enumerate(fewer):
            if each is None:
                without.append(None)
                continue
            fitted_anew = each.fit(others(tables, member))
            without.append(fitted_anew.apply(others(test, member)).uncalibrated())
            advance(1)
        tested = judge(joint_table(ensembler, test, names, name), test, without, cross_fitted=False)
    return EnsembleReport(name, tuple(names), chain, folds, groups, draws, fitted, tested)


@dataclass(frozen=True)
class _Judge:
    draws: int
    seed: int
    groups: str | None
    advance: Advance

    def __call__(
        self,
        joint: ScoresTable,
        members: Sequence[ScoresTable],
        without: Sequence[ScoresTable | None],
        *,
        cross_fitted: bool,
    ) -> Judgement:
        group_N = group_of(joint, self.groups)
        members = [table.uncalibrated() for table in members]
        targets_NL = joint.known_targets("An ensemble's worth")
        ensemble = self._drawn(joint, group_N)
        alone = [self._drawn(table, group_N) for table in members]
        fewer = [None if table is None else self._drawn(table, group_N) for table in without]
        best = {figure: _best(figure, [points for points, _ in alone]) for figure in JUDGED_BY}

        def intervals(drawn: tuple[Metrics, DrawnFigures]) -> dict[str, Interval]:
            return {figure: self._interval(figure, drawn, targets_NL, group_N) for figure in JUDGED_BY}

        def minus(other: tuple[Metrics, DrawnFigures] | None, figure: str) -> Difference:
            if other is None:
                return _NO_DIFFERENCE
            pair = PairedDraws(
                (ensemble[0], other[0]), ensemble[1].minus(other[1]), targets_NL, group_N, level=0.95
            )
            return pair.difference(figure)

        return Judgement(
            joint=joint,
            cross_fitted=cross_fitted,
            metrics=ensemble[0],
            ensemble=intervals(ensemble),
            members=[intervals(drawn) for drawn in alone],
            best=best,
            gains={figure: minus(alone[best[figure]], figure) for figure in JUDGED_BY},
            p_values=self._p_values(joint, members, best),
            added=[{figure: minus(drawn, figure) for figure in JUDGED_BY} for drawn in fewer],
            without=[
                {figure: np.nan if drawn is None else drawn[0].flat()[figure] for figure in JUDGED_BY}
                for drawn in fewer
            ],
        )

    def _drawn(self, table: ScoresTable, group_N: np.ndarray | None) -> tuple[Metrics, DrawnFigures]:
        """A table's figures, and those of the draws: the same draws for every table."""
        figures = Figures(Cells.of(table, JUDGED_BY), JUDGED_BY)
        drawn = drawn_figures(figures, len(table), self.draws, self.seed, group_N)
        self.advance(1)
        return evaluate(table), drawn

    def _interval(
        self,
        figure: str,
        drawn: tuple[Metrics, DrawnFigures],
        targets_NL: np.ndarray,
        group_N: np.ndarray | None,
    ) -> Interval:
        point = drawn[0].flat()[figure]
        degrees = figure_degrees(figure, drawn[1], targets_NL, group_N)
        low, high, counted = interval(
            drawn[1].figures[figure], point, degrees=degrees, scale=scale_of(figure)
        )
        return Interval(point, low, high, counted, degrees)

    def _p_values(
        self, joint: ScoresTable, members: Sequence[ScoresTable], best: dict[str, int]
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        for member in sorted(set(best.values())):
            figures = [figure for figure in JUDGED_BY if best[figure] == member]
            exchanged = randomisation(joint, members[member], figures, self.draws, self.seed, self.groups)
            points = [evaluate(table).flat() for table in (joint, members[member])]
            for figure in figures:
                found[figure] = p_value(exchanged.figures[figure], points[0][figure] - points[1][figure])
            self.advance(1)
        return found


def _without(ensembler: Ensembler, member: int) -> Ensembler | None:
    """The ensembler for the other members; None where it says that these alone are none."""
    try:
        return ensembler.without(member)
    except ConfigError:
        return None


def _best(figure: str, points: Sequence[Metrics]) -> int:
    """The number of the member with the best figure; 0 where none has it."""
    values = np.array([each.flat()[figure] for each in points])
    if not np.isfinite(values).any():
        return 0
    return int(np.nanargmin(values) if figure.endswith(LOSSES) else np.nanargmax(values))


def _told(
    table: ScoresTable,
    ensembler: Ensembler,
    tables: Sequence[ScoresTable],
    names: Sequence[str],
    name: str,
) -> ScoresTable:
    """The table with facts of the ensemble in place of those of its first member."""
    kept: dict[str, str] = {
        key: tables[0].metadata[key] for key in ("split", "train_prevalence") if key in tables[0].metadata
    }
    splits = {each.metadata["split"] for each in tables if "split" in each.metadata}
    if "test" in splits:
        kept["split"] = "test"  # so that nothing is fitted on it, whatever the first member's file says
    facts = {"run": name, "ensembler": type(ensembler).__name__, "members": json.dumps(list(names))}
    return replace(table, metadata={**kept, **facts})
