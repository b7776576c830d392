"""What people read of an ensemble: members beside it, the gain over the best of them, and what each adds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from tocsin.scores.ensembling import JUDGED_BY, EnsembleReport, Judgement
from tocsin.scores.numbers import digits_of, interval_text, number, signed, without_nan
from tocsin.scores.report import coverage_note, figure_name
from tocsin.scores.sections import Section
from tocsin.scores.statistics import Difference, Interval

__all__ = ["ensemble_sections", "ensemble_to_dict"]

_ADDED = JUDGED_BY[:3]  # what fits a screen; the JSON has all


def ensemble_sections(report: EnsembleReport) -> list[Section]:
    """Return the tables of an ensemble, on the messages of the fit and then on others."""
    sections = []
    for judgement in (report.fitted, report.tested):
        if judgement is not None:
            sections += [_members_section(report, judgement), _gain_section(report, judgement)]
            if judgement.added:
                sections.append(_added_section(report, judgement))
    return sections


def _where(report: EnsembleReport, judgement: Judgement) -> str:
    split = judgement.joint.metadata.get("split") or ("fit" if judgement.cross_fitted else "other messages")
    how = f"cross-fitted in {report.folds} folds" if judgement.cross_fitted else "as fitted"
    return f"{split}, {how}"


def _members_section(report: EnsembleReport, judgement: Judgement) -> Section:
    kind = type(report.ensembler).__name__
    named = [*zip(report.names, judgement.members, strict=True), (kind, judgement.ensemble)]
    rows = tuple(
        (name, *(_with_interval(found[figure], figure) for figure in JUDGED_BY)) for name, found in named
    )
    drawn = f"whole groups of equal {report.groups}" if report.groups else "messages"
    notes = [
        coverage_note(judgement.metrics, [figure.removeprefix("macro_") for figure in JUDGED_BY]),
        f"Intervals: 95%, {report.draws:,} bootstrap draws of {drawn}. Log loss and Brier: less is better.",
    ]
    if judgement.cross_fitted:
        notes.append(
            "The members' scores are taken for out-of-fold ones: messages that no member was trained on."
        )
    return Section(
        title=f"{report.name}: {len(judgement.joint):,} messages ({_where(report, judgement)})",
        columns=("", *map(figure_name, JUDGED_BY)),
        rows=rows,
        notes=tuple(notes),
    )


def _gain_section(report: EnsembleReport, judgement: Judgement) -> Section:
    rows = []
    for figure in JUDGED_BY:
        best, gain, digits = judgement.best[figure], judgement.gains[figure], digits_of(figure)
        rows.append(
            (
                figure_name(figure),
                number(judgement.ensemble[figure].point, digits),
                report.names[best],
                number(judgement.members[best][figure].point, digits),
                signed(gain.point, digits),
                interval_text(gain.low, gain.high, digits, plus=True),
                number(judgement.p_values[figure], 4),
            )
        )
    return Section(
        title=f"Ensemble minus its best member ({_where(report, judgement)})",
        columns=("", "ensemble", "best member", "its figure", "difference", "95% interval", "p"),
        rows=tuple(rows),
        notes=(
            "The best member is the one that is best at the figure on these very messages, which favours it. "
            "Difference and interval: paired bootstrap; p: approximate randomisation.",
        ),
    )


def _added_section(report: EnsembleReport, judgement: Judgement) -> Section:
    weights = report.ensembler.member_weights()
    rows = []
    for at, (name, added, without) in enumerate(
        zip(report.names, judgement.added, judgement.without, strict=True)
    ):
        counts = () if weights is None else (_counts(weights[at]),)
        changes = (_with_interval(added[figure], figure, plus=True) for figure in _ADDED)
        rows.append((name, *counts, number(without[JUDGED_BY[0]]), *changes))
    notes = [
        "The ensemble minus the ensemble fitted without the member: above 0 in AP and ROC-AUC, below 0 in log loss it "
        "adds something. 95% intervals by paired bootstrap."
    ]
    if weights is not None:
        word = report.ensembler.weight_word
        several = any("[" in row[1] for row in rows)
        of = (
            "its mean over labels, in brackets the least and the most"
            if several
            else "the same for all labels"
        )
        notes.append(f"{word}: the member's; {of}.")
    return Section(
        title=f"What each member adds ({_where(report, judgement)})",
        columns=(
            "member",
            *(() if weights is None else (report.ensembler.weight_word,)),
            "macro AP without it",
            *map(figure_name, _ADDED),
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def ensemble_to_dict(report: EnsembleReport) -> dict[str, Any]:
    """Return everything as plain data for JSON, None where a figure is undefined."""
    weights = report.ensembler.member_weights()
    plain: dict[str, Any] = {
        "name": report.name,
        "ensembler": type(report.ensembler).__name__,
        "arguments": dict(report.ensembler.arguments),
        "members": list(report.names),
        "labels": list(report.chain.labels),
        "fitted_on": dict(report.chain.facts),
        "folds": report.folds,
        "groups": report.groups,
        "draws": report.draws,
        "weights": None
        if weights is None
        else {
            name: dict(zip(report.chain.labels, map(float, row), strict=True))
            for name, row in zip(report.names, weights, strict=True)
        },
        "fitted": _judgement_to_dict(report, report.fitted),
    }
    if report.tested is not None:
        plain["tested"] = _judgement_to_dict(report, report.tested)
    cleaned: dict[str, Any] = without_nan(plain)
    return cleaned


def _judgement_to_dict(report: EnsembleReport, judgement: Judgement) -> dict[str, Any]:
    def of(found: dict[str, Any]) -> dict[str, Any]:
        return {figure: asdict(found[figure]) for figure in JUDGED_BY}

    return {
        "messages": len(judgement.joint),
        "split": judgement.joint.metadata.get("split"),
        "cross_fitted": judgement.cross_fitted,
        "ensemble": of(judgement.ensemble),
        "members": {name: of(found) for name, found in zip(report.names, judgement.members, strict=True)},
        "ensemble_minus_best": {
            figure: {
                "best": report.names[judgement.best[figure]],
                **asdict(judgement.gains[figure]),
                "p_value": judgement.p_values[figure],
            }
            for figure in JUDGED_BY
        },
        "ensemble_minus_without": {
            name: {figure: {"without": without[figure], **asdict(added[figure])} for figure in JUDGED_BY}
            for name, added, without in zip(report.names, judgement.added, judgement.without, strict=False)
        },
    }


def _counts(weights_L: np.ndarray) -> str:
    low, high = float(weights_L.min()), float(weights_L.max())
    mean = f"{weights_L.mean():.2f}"
    return mean if f"{low:.2f}" == f"{high:.2f}" else f"{mean} {interval_text(low, high, 2)}"


def _with_interval(found: Interval | Difference, figure: str, *, plus: bool = False) -> str:
    digits = digits_of(figure)
    point = signed(found.point, digits) if plus else number(found.point, digits)
    known = np.isfinite(found.low)
    return f"{point} {interval_text(found.low, found.high, digits, plus=plus)}" if known else point
