"""What people read of an ensemble: members beside it, the gain over the best of them, and what each adds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from tocsin.scores.ensembling import JUDGED_BY, EnsembleReport, Judgement
from tocsin.scores.report import coverage_note, figure_name
from tocsin.scores.sections import Section
from tocsin.scores.statistics import Difference, Interval

__all__ = ["ensemble_sections", "ensemble_to_dict"]

_UNDEFINED = "–"
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
        (name, *(f"{_number(found[figure])}{_range(found[figure])}" for figure in JUDGED_BY))
        for name, found in named
    )
    drawn = f"whole groups of equal {report.groups}" if report.groups else "messages"
    notes = [
        coverage_note(judgement.metrics),
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
        best, gain = judgement.best[figure], judgement.gains[figure]
        rows.append(
            (
                figure_name(figure),
                _number(judgement.ensemble[figure]),
                report.names[best],
                _number(judgement.members[best][figure]),
                _signed(gain),
                _signed_range(gain),
                _plain(judgement.p_values[figure], ".4f"),
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
    for number, (name, added, without) in enumerate(
        zip(report.names, judgement.added, judgement.without, strict=True)
    ):
        counts = () if weights is None else (_counts(weights[number]),)
        changes = (f"{_signed(added[figure])} {_signed_range(added[figure])}".rstrip() for figure in _ADDED)
        rows.append((name, *counts, _plain(without[JUDGED_BY[0]], ".3f"), *changes))
    notes = [
        "Macro figures of the ensemble minus those of the ensemble fitted without the member: above 0 in AP and "
        "ROC-AUC, below 0 in log loss it adds something. 95% intervals by paired bootstrap."
    ]
    if weights is not None:
        notes.append("counts: the member's weight, the mean over labels, and from the least to the most.")
    return Section(
        title=f"What each member adds ({_where(report, judgement)})",
        columns=(
            "member",
            *(() if weights is None else ("counts",)),
            "AP without it",
            *(figure_name(figure).removeprefix("macro ") for figure in _ADDED),
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
    cleaned: dict[str, Any] = _without_nan(plain)
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


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _counts(weights_L: np.ndarray) -> str:
    low, high = float(weights_L.min()), float(weights_L.max())
    mean = f"{weights_L.mean():.2f}"
    return mean if f"{low:.2f}" == f"{high:.2f}" else f"{mean} ({low:.2f} to {high:.2f})"


def _plain(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else _UNDEFINED


def _number(found: Interval) -> str:
    return _plain(found.point, ".3f")


def _range(found: Interval) -> str:
    return f" [{found.low:.3f}, {found.high:.3f}]" if np.isfinite(found.low) else ""


def _signed(found: Difference) -> str:
    return _plain(found.point, "+.3f")


def _signed_range(found: Difference) -> str:
    return f"[{found.low:+.3f}, {found.high:+.3f}]" if np.isfinite(found.low) else ""
