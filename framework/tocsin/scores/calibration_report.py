"""The report of a fitted chain: tables, and plain data for JSON.

N messages, L labels.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from tocsin.scores.calibrating import CONVENTION, ChainReport, decision_figures
from tocsin.scores.means import mean_defined, ratio
from tocsin.scores.numbers import UNDEFINED, interval_text, number, signed, without_nan
from tocsin.scores.sections import Section
from tocsin.scores.statistics import Difference, Interval

__all__ = ["FEW_MESSAGES", "FEW_POSITIVES", "languages", "report_sections", "report_to_dict"]

FEW_MESSAGES = 5000
FEW_POSITIVES = 30
UNKNOWN = "(unknown)"


def report_sections(report: ChainReport, *, name: str = "scores") -> list[Section]:
    """Return the report's tables.

    Args:
        report: Of `assess_chain`.
        name: What the scores are called.
    """
    sections = []
    if report.changes:
        sections.append(_calibration_section(report, name))
    if report.worth is not None:
        sections += [_worth_section(report), _label_section(report)]
    languages = _language_section(report)
    return [*sections, *([languages] if languages is not None else [])]


def _calibration_section(report: ChainReport, name: str) -> Section:
    rows = tuple(
        (
            change.name,
            number(change.before, 4),
            number(change.after, 4),
            signed(change.change.point, 4),
            _range(change.change, 4, plus=True),
        )
        for change in report.changes
    )
    defined = int(np.isfinite(report.changes[0].before_L).sum())
    return Section(
        title=f"{name}: {len(report.table):,} messages, {report.chain.name}, cross-fitted in {report.folds} folds",
        columns=("mean over labels", "before", "after", "change", "95% interval"),
        rows=rows,
        notes=(
            f"Mean over {defined} of {len(report.table.labels)} labels; lower is better. The calibration error is "
            "debiased (root mean square, up to 15 bins a label).",
            *_few_notes(report),
        ),
    )


def _worth_section(report: ChainReport) -> Section:
    worth, rule = report.worth, report.chain.decision_rule
    assert worth is not None
    assert rule is not None
    aim = f"macro {rule.aim}, over {worth.defined} of {len(report.table.labels)} labels"
    better = " (lower is better)" if rule.lower_is_better else ""
    notes = ["The interval says how the figure varies over other messages of the same number."]
    if rule.advice:
        notes.append(rule.advice)
    if not worth.compared == worth.defined == worth.other_defined:
        notes.append(
            f"The gain is the mean over the {worth.compared} labels that have a figure on both sides; raw scores have "
            f"one in {worth.other_defined} labels, {report.chain.name} in {worth.defined}."
        )
    return Section(
        title=f"Decisions by {type(rule).__name__}, cross-fitted",
        columns=(aim + better, "figure", "95% interval"),
        rows=(
            ("raw scores, on from .5", number(worth.other_macro.point), _range(worth.other_macro)),
            (report.chain.name, number(worth.macro.point), _range(worth.macro)),
            ("gain", signed(worth.gain.point), _range(worth.gain, plus=True)),
        ),
        notes=tuple(notes),
    )


def _label_section(report: ChainReport) -> Section:
    rule = report.chain.decision_rule
    assert report.worth is not None
    assert rule is not None
    limits = rule.thresholds()
    # the aim stands once, beside what the raw scores have of it, where that is one of the figures at hand
    beside = rule.aim if rule.aim in ("precision", "recall") else "F1"
    others = [name for name in ("precision", "recall") if name != rule.aim]
    rows = []
    for i, label in enumerate(report.table.labels):
        interval = report.worth.labels[i]
        rows.append(
            (
                label,
                f"{report.positives[i]:,}{' *' if report.positives[i] < FEW_POSITIVES else ''}",
                "–" if limits is None else "never" if limits[i] >= 1 else number(float(limits[i])),
                number(float(report.at_half[beside.lower()][i])),
                number(interval.point),
                _range(interval),
                *(number(float(report.figures[name][i])) for name in others),
            )
        )
    few = int(np.count_nonzero(report.positives < FEW_POSITIVES))
    notes = [
        "Thresholds are those of the chain as it ships, on calibrated probabilities; figures are cross-fitted. "
        f"{beside} at .5: of the raw scores, on from .5."
    ]
    if few:
        notes.append(
            f"*: under {FEW_POSITIVES} positives, mostly chance ({few} label{'' if few == 1 else 's'})."
        )
    if "lang" in rule.columns:
        notes.append(
            "Shown are the thresholds of a language that is not known; those of each stand in calibration.json, which "
            "--output DIR writes."
        )
    return Section(
        title="Labels",
        columns=(
            "label",
            "positives",
            "threshold",
            f"{beside} at .5",
            rule.aim,
            "95% interval",
            *others,
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _language_section(report: ChainReport) -> Section | None:
    by_language = languages(report)
    if len(by_language) < 2 and list(by_language) in ([], [UNKNOWN]):
        return None
    return Section(
        title="Languages, cross-fitted",
        columns=("lang", "messages", "with a label", "macro F1", "missed labels", "labels on"),
        rows=tuple(
            (
                name + (" *" if facts["with_label"] < FEW_POSITIVES else ""),
                f"{facts['messages']:,}",
                f"{facts['with_label']:,}",
                number(facts["macro_f1"]),
                number(facts["missed"]),
                number(facts["labels_on"], 2),
            )
            for name, facts in by_language.items()
        ),
        notes=(
            "missed labels: the mean share of a message's labels that is decided off, over messages that have a label. "
            "labels on: the mean number of labels that is decided on for a message.",
            *(
                [f"*: under {FEW_POSITIVES} messages with a label, mostly chance."]
                if any(facts["with_label"] < FEW_POSITIVES for facts in by_language.values())
                else []
            ),
        ),
    )


def languages(report: ChainReport) -> dict[str, dict[str, Any]]:
    """Return figures of the decisions by language, the largest first: how much of a message's labels is missed."""
    targets_NL = report.table.known_targets("Coverage")
    held_out = report.held_out
    decided_NL = (
        held_out.probabilities >= CONVENTION if held_out.decisions_NL is None else held_out.decisions_NL
    )
    langs = np.array(
        [UNKNOWN if lang is None else str(lang) for lang in report.table.column("lang")], dtype=object
    )
    positive_NL = targets_NL == 1
    missed_N = ratio((positive_NL & ~decided_NL).sum(axis=1), positive_NL.sum(axis=1))
    found = {}
    for name in sorted(set(langs), key=lambda name: (-int((langs == name).sum()), name)):
        rows = langs == name
        found[str(name)] = {
            "messages": int(rows.sum()),
            "with_label": int(np.isfinite(missed_N[rows]).sum()),
            "macro_f1": float(mean_defined(decision_figures(targets_NL[rows], decided_NL[rows])["f1"])),
            "missed": float(mean_defined(missed_N[rows])),
            "labels_on": float(decided_NL[rows].sum(axis=1).mean()),
        }
    return found


def report_to_dict(report: ChainReport) -> dict[str, Any]:
    """Return the report as plain data for JSON, None where a figure is undefined."""
    table, chain = report.table, report.chain
    plain: dict[str, Any] = {
        "chain": chain.name,
        "fitted_on": dict(chain.facts),
        "folds": report.folds,
        "groups": report.groups,
        "messages": len(table),
        "calibration": {
            change.name: {
                "before": change.before,
                "after": change.after,
                "change": asdict(change.change),
                "per_label": {
                    label: {"before": float(change.before_L[i]), "after": float(change.after_L[i])}
                    for i, label in enumerate(table.labels)
                },
            }
            for change in report.changes
        },
        "languages": languages(report),
    }
    if report.worth is not None and chain.decision_rule is not None:
        rule, worth = chain.decision_rule, report.worth
        limits = rule.thresholds()
        known = sorted({str(lang) for lang in table.column("lang") if lang is not None})
        by_lang = {lang: rule.thresholds(lang) for lang in known} if "lang" in rule.columns else {}
        plain["decisions"] = {
            "rule": type(rule).__name__,
            "aim": rule.aim,
            "lower_is_better": rule.lower_is_better,
            "macro": asdict(worth.macro),
            "raw_at_half": asdict(worth.other_macro),
            "gain": asdict(worth.gain),
            "labels_defined": [worth.defined, len(table.labels)],
            "labels_defined_raw": worth.other_defined,
            "labels_compared": worth.compared,
            "per_label": {
                label: {
                    "positives": int(report.positives[i]),
                    "known": int(report.known[i]),
                    "few_positives": bool(report.positives[i] < FEW_POSITIVES),
                    "threshold": None if limits is None else float(limits[i]),
                    "thresholds_by_lang": {
                        lang: float(values[i]) for lang, values in by_lang.items() if values is not None
                    },
                    "expected": asdict(worth.labels[i]),
                    **{name: float(values[i]) for name, values in report.figures.items()},
                    **{f"{name}_raw_at_half": float(values[i]) for name, values in report.at_half.items()},
                }
                for i, label in enumerate(table.labels)
            },
        }
    cleaned: dict[str, Any] = without_nan(plain)
    return cleaned


def _few_notes(report: ChainReport) -> list[str]:
    if len(report.table) >= FEW_MESSAGES:
        return []
    return [f"Fewer than {FEW_MESSAGES:,} messages: read figures of single labels with care."]


def _range(interval: Interval | Difference, digits: int = 3, *, plus: bool = False) -> str:
    # without draws there is no interval, whatever stands in its place
    return interval_text(interval.low, interval.high, digits, plus=plus) if interval.draws else UNDEFINED
