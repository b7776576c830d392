"""What people read of a comparison: the difference with its interval first, the p-value after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from tocsin.scores.comparison import IN_SLICES, Comparison, Tested
from tocsin.scores.metrics import LOSSES
from tocsin.scores.numbers import UNDEFINED, digits_of, interval_text, number, signed
from tocsin.scores.report import coverage_note, figure_name, metric_name
from tocsin.scores.sections import Section

__all__ = ["comparison_sections", "comparison_to_dict"]

_ADJUSTED = {"holm": "Holm", "benjamini-hochberg": "Benjamini–Hochberg"}
_LABEL_METRICS = ("roc_auc", "average_precision", "f1")


def comparison_sections(
    names: tuple[str, str], found: Comparison, *, per_label: bool = False
) -> list[Section]:
    """Return the tables of a comparison: figures, then slices, then labels if asked for.

    Args:
        names: What the two models are called.
        found: The comparison.
        per_label: Whether every label is shown, or only those that differ after adjustment.
    """
    columns = ("", *names, "difference", "95% interval", "p", "detectable")
    rows = [
        (
            figure_name(figure),
            number(one.a, digits_of(figure)),
            number(one.b, digits_of(figure)),
            *_effect(one, digits_of(figure)),
            _p(one.p_value),
            number(one.detectable, digits_of(figure)),
        )
        for figure, one in found.figures.items()
    ]
    notes = [
        coverage_note(found.metrics[0], list(dict.fromkeys(map(_metric_of, found.figures)))),
        f"Difference and interval: paired bootstrap, {found.draws:,} draws of {found.unit}, the same for both models. "
        f"p: approximate randomisation, {found.draws:,} exchanges.",
        "detectable: the smallest true difference that four of five such comparisons find at the 5% level.",
    ]
    if any(figure.endswith(LOSSES) for figure in found.figures):
        notes.append("Brier and log loss: less is better.")
    first = Section(f"{names[0]} minus {names[1]}", columns, tuple(rows), tuple(notes))
    return [
        first,
        *(_slice_section(column, found) for column in found.by),
        *_label_sections(found, per_label=per_label),
    ]


def _slice_section(column: str, found: Comparison) -> Section:
    headings = [
        text for figure in IN_SLICES for text in (f"{figure_name(figure)}", "95% interval", "adjusted p")
    ]
    rows = []
    for value, figures in found.by[column].items():
        cells = [text for one in figures.values() for text in (*_effect(one), _p(one.adjusted))]
        rows.append((value, f"{found.sizes[column][value]:,}", *cells))
    if column in found.means:
        cells = []
        for mean in found.means[column].values():
            cells += [signed(mean.difference), interval_text(mean.low, mean.high, plus=True), ""]
        rows.append(("mean", f"{sum(found.sizes[column].values()):,}", *cells))
    notes = [
        "Differences, each slice drawn alone; –: undefined, without a label that has a positive and a negative.",
        f"adjusted p: {_ADJUSTED[found.adjustment]} over the slices.",
    ]
    if column in found.means:
        means = ", ".join(
            f"{figure_name(figure)} {number(mean.a)} and {number(mean.b)} (over {mean.slices})"
            for figure, mean in found.means[column].items()
        )
        notes.append(f"mean: each {column} counts alike; the models' own means: {means}.")
    return Section(f"By {column}", (column, "messages", *headings), tuple(rows), tuple(notes))


def _label_sections(found: Comparison, *, per_label: bool) -> Iterable[Section]:
    for metric in _LABEL_METRICS:
        if metric not in found.labels:
            continue
        tested = found.labels[metric]
        shown = {label: one for label, one in tested.items() if per_label or one.adjusted < 0.05}
        rows = tuple(
            (label, number(one.a), number(one.b), *_effect(one), _p(one.p_value), _p(one.adjusted))
            for label, one in shown.items()
        )
        defined = sum(np.isfinite(one.adjusted) for one in tested.values())
        differ = sum(one.adjusted < 0.05 for one in tested.values())
        note = (
            f"{differ} of {defined} labels differ at 5% after {_ADJUSTED[found.adjustment]}'s adjustment for "
            f"{defined} labels"
        )
        note += "." if per_label or not defined > differ else "; the others are not shown."
        title = f"Labels: {metric_name(metric)}"
        columns = ("label", "first", "second", "difference", "95% interval", "p", "adjusted p")
        yield Section(title, columns, rows, (note,)) if rows else Section(title, (), (), (note,))


def comparison_to_dict(names: tuple[str, str], found: Comparison) -> dict[str, Any]:
    """Return everything as plain data for JSON, None where a figure is undefined."""

    def plain(one: Tested) -> dict[str, Any]:
        values = {
            "a": one.a,
            "b": one.b,
            **asdict(one.difference),
            "p_value": one.p_value,
            "adjusted_p_value": one.adjusted,
            "detectable": one.detectable,
        }
        return {key: value if np.isfinite(value) else None for key, value in values.items()}

    return {
        "a": names[0],
        "b": names[1],
        "messages": found.metrics[0].n,
        "draws": found.draws,
        "drawn": found.unit,
        "adjustment": found.adjustment,
        "a_minus_b": {figure: plain(one) for figure, one in found.figures.items()},
        "labels": {
            metric: {label: plain(one) for label, one in labels.items()}
            for metric, labels in found.labels.items()
        },
        "by": {
            column: {
                value: {"messages": found.sizes[column][value]}
                | {figure: plain(one) for figure, one in figures.items()}
                for value, figures in values.items()
            }
            for column, values in found.by.items()
        },
        "means": {
            column: {
                figure: {key: value if np.isfinite(value) else None for key, value in asdict(mean).items()}
                for figure, mean in means.items()
            }
            for column, means in found.means.items()
        },
    }


def _metric_of(figure: str) -> str:
    return figure.split("_", 1)[1]


def _effect(one: Tested, digits: int = 3) -> tuple[str, str]:
    found = one.difference
    return signed(found.point, digits), interval_text(found.low, found.high, digits, plus=True)


def _p(value: float) -> str:
    return UNDEFINED if not np.isfinite(value) else f"{value:.4f}"
