"""What people read of scores: one figure a row, models beside each other, trivial baselines beside them.

Everything is made as sections first (tables of text, `tocsin.scores.sections`), from which both the rich tables and
the Markdown come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tocsin.labels.targets import POSITIVE_FROM
from tocsin.scores.baselines import baselines
from tocsin.scores.insights import Confusion, WorstError, confusion, worst_errors
from tocsin.scores.means import mean_defined
from tocsin.scores.metrics import METRICS, UNKNOWN, Metrics, evaluate, evaluate_by
from tocsin.scores.numbers import UNDEFINED, interval_text, number
from tocsin.scores.sections import Section, render_sections, sections_to_markdown
from tocsin.scores.statistics import HEADLINE, Interval, bootstrap
from tocsin.scores.table import ScoresTable

if TYPE_CHECKING:
    from rich.console import Group

__all__ = [
    "FEW_OBSERVATIONS",
    "FEW_POSITIVES",
    "Result",
    "assess",
    "coverage_note",
    "figure_name",
    "metric_name",
    "render",
    "sections",
    "to_dict",
    "to_markdown",
]

FEW_POSITIVES = 30
"""A label or slice with fewer positives than this is flagged: its figures are mostly chance."""
FEW_OBSERVATIONS = 5000
"""So is one with fewer messages, the least that the authors of a published violence classifier advise for a label."""

_NAMES = {
    "roc_auc": "ROC-AUC",
    "average_precision": "AP",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "brier": "Brier",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
}
_COVERED = tuple(name for name in METRICS if name != "precision")  # which has a note of its own
_SHOWN = (
    *(f"macro_{name}" for name in METRICS),
    *(f"micro_{name}" for name in METRICS),
    *(f"weighted_{name}" for name in METRICS[:3]),
)


@dataclass(frozen=True, eq=False)
class Result:
    """All that is known of one model on one set of messages.

    Args:
        name: What the model is called in a heading.
        metrics: Its figures.
        baselines: Figures of the trivial models on the same messages.
        intervals: 95% intervals of some figures.
        by: Column name to (value to figures), for languages and other slices.
        resampling: How the intervals were drawn, in words.
        confusion: Which labels go together; None where nobody asked.
        worst: The worst errors, by id; likewise.
    """

    name: str
    metrics: Metrics
    baselines: dict[str, Metrics]
    intervals: dict[str, Interval] = field(default_factory=dict)
    by: dict[str, dict[str, Metrics]] = field(default_factory=dict)
    resampling: str = ""
    confusion: Confusion | None = None
    worst: Sequence[WorstError] | None = None


def assess(
    table: ScoresTable,
    name: str,
    *,
    prior: Sequence[float] | np.ndarray | None = None,
    thresholds: float | Sequence[float] = 0.5,
    by: Sequence[str] = (),
    draws: int = 1000,
    seed: int = 42,
    groups: str | None = None,
    figures: Sequence[str] = HEADLINE,
    details: bool = False,
) -> Result:
    """Return the metrics of a table with baselines, intervals (none when draws is 0) and slices.

    Arguments as in `baselines` (prior), `evaluate` (thresholds), `evaluate_by` (by: columns) and `bootstrap`,
    whose errors it raises; `details` adds what labels are taken for one another and the worst errors.
    """
    unit = f"whole groups of equal {groups}" if groups else "messages"
    return Result(
        name=name,
        metrics=evaluate(table, thresholds),
        baselines=baselines(table, prior, thresholds),
        intervals=bootstrap(table, figures, draws, seed, groups, thresholds=thresholds) if draws else {},
        by={column: evaluate_by(table, column, thresholds) for column in by},
        resampling=f"{draws:,} bootstrap draws of {unit}, seed {seed}",
        confusion=confusion(table, thresholds) if details and len(table) else None,
        worst=worst_errors(table) if details else None,
    )


def render(results: Result | Sequence[Result], *, per_label: bool = False) -> Group:
    """Return the tables of results for a rich console: headline, then slices, then labels if asked for."""
    return render_sections(sections(results, per_label=per_label))


def to_markdown(results: Result | Sequence[Result], *, per_label: bool = False) -> str:
    """Return the same tables as Markdown."""
    return sections_to_markdown(sections(results, per_label=per_label))


def to_dict(results: Result | Sequence[Result]) -> dict[str, Any]:
    """Return everything as plain data for JSON, None where a figure is undefined."""
    return {
        "results": [
            {
                "name": result.name,
                "metrics": result.metrics.to_dict(),
                "intervals": {
                    figure: {
                        "low": _plain(interval.low),
                        "high": _plain(interval.high),
                        "draws": interval.draws,
                    }
                    for figure, interval in result.intervals.items()
                },
                "resampling": result.resampling if result.intervals else None,
                "baselines": {name: metrics.to_dict() for name, metrics in result.baselines.items()},
                **_details(result),
                "by": {
                    column: {value: metrics.to_dict() for value, metrics in values.items()}
                    for column, values in result.by.items()
                },
            }
            for result in _listed(results)
        ]
    }


def sections(results: Result | Sequence[Result], *, per_label: bool = False) -> list[Section]:
    """Return the tables of text; results of the same messages and baselines stand in one table."""
    shared: dict[tuple[Any, ...], list[Result]] = {}
    for result in _listed(results):
        shared.setdefault(_baseline_key(result), []).append(result)
    found = []
    for group in shared.values():
        found.append(_headline_section(group))
        for column in dict.fromkeys(column for result in group for column in result.by):
            found.append(_slice_section(group, column))
        if per_label:
            found.append(_label_section(group))
        for result in group:
            heading = f"{result.name}: " if len(group) > 1 else ""
            if result.confusion is not None:
                found.append(_confusion_section(heading, result.confusion))
            if result.worst is not None:
                found.append(_worst_section(heading, result.worst))
    return found


def _details(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if result.confusion is not None:
        found["together"] = result.confusion.together_LL.tolist()
        found["given_instead"] = result.confusion.missed_LL.tolist()
    if result.worst is not None:
        found["worst_errors"] = [asdict(error) for error in result.worst]
    return found


def _confusion_section(heading: str, found: Confusion) -> Section:
    rows = []
    for i, j in found.pairs():
        own = found.together_LL[i, i]
        rows.append(
            (
                f"{found.labels[i]} → {found.labels[j]}",
                f"{found.missed_LL[i, j]:,}",
                number(found.taken_LL[i, j]),
                f"{found.together_LL[i, j]:,}",
                number(found.together_LL[i, j] / own if own else np.nan),
            )
        )
    notes = (
        "instead: messages that carry the first and not the second label, decided the other way round. "
        "also on: share of all messages with the first and not the second for which the second is on. "
        "both: messages that carry both, and their share of the first's.",
    )
    columns = ("label → given", "instead", "also on", "both", "share of first")
    return Section(f"{heading}Labels taken for one another", columns, tuple(rows), notes)


def _worst_section(heading: str, worst: Sequence[WorstError]) -> Section:
    rows = tuple(
        (error.id, error.lang or UNKNOWN, error.label, str(error.target), f"{error.probability:.4f}")
        for error in worst
    )
    columns = ("id", "lang", "label", "target", "probability")
    note = "By log loss, at most three of one label and target. No text stands here: look the ids up in the data."
    return Section(f"{heading}Worst errors", columns, rows, (note,))


def figure_name(figure: str) -> str:
    """Return "macro ROC-AUC" for "macro_roc_auc"."""
    average, metric = figure.split("_", 1)
    return f"{average} {metric_name(metric)}"


def metric_name(metric: str) -> str:
    """Return "ROC-AUC" for "roc_auc"."""
    return _NAMES[metric]


def _headline_section(group: Sequence[Result]) -> Section:
    trivial = group[0].baselines
    rows = []
    for figure in _SHOWN:
        cells = []
        for result in group:
            cell, interval = number(result.metrics.flat()[figure]), result.intervals.get(figure)
            if interval is not None and np.isfinite(interval.low):
                cell += f" {interval_text(interval.low, interval.high)}"
            cells.append(cell)
        baseline_cells = [number(metrics.flat()[figure]) for metrics in trivial.values()]
        rows.append((figure_name(figure), *cells, *baseline_cells))
    notes = [coverage_note(group[0].metrics), *(_decided(result) for result in group)]
    everyone = {result.name: result.metrics for result in group} | trivial
    silent = {name: metrics.defined["precision"] for name, metrics in everyone.items()}
    if any(k < group[0].metrics.defined["recall"] for k in silent.values()):
        over = ", ".join(f"{k} ({name})" for name, k in silent.items())
        notes.append(f"macro precision leaves out labels that are never on; it is over {over}.")
    drawn = dict.fromkeys(result.resampling for result in group if result.intervals)
    if drawn:
        notes.append(f"In brackets: 95% intervals ({'; '.join(drawn)}).")
    notes.append(
        "Trivial baselines: "
        + "; ".join(f"{name}, {metrics.note}" for name, metrics in trivial.items())
        + "."
    )
    title = "Scores of " + ", ".join(result.name for result in group)
    return Section(title, ("", *(result.name for result in group), *trivial), tuple(rows), tuple(notes))


def _label_section(group: Sequence[Result]) -> Section:
    first = group[0].metrics
    shown = METRICS if len(group) == 1 else METRICS[:3]
    rows = []
    for i, label in enumerate(first.labels):
        figures = [number(result.metrics.per_label[name][i]) for result in group for name in shown]
        flag = _flag(int(first.positives[i]), int(first.known[i]))
        rows.append((label + flag, f"{first.positives[i]:,}", number(first.prevalence[i]), *figures))
    columns = ("label", "positives", "share", *_headings(group, [_NAMES[name] for name in shown]))
    notes = ["share: positives among known targets, which is the AP of a constant; its ROC-AUC is 0.5."]
    return Section("Labels", columns, tuple(rows), (*notes, *_flag_note(rows)))


def _slice_section(group: Sequence[Result], column: str) -> Section:
    shown = METRICS[:3]
    rows = []
    for value in dict.fromkeys(value for result in group for value in result.by.get(column, {})):
        slices = [result.by.get(column, {}).get(value) for result in group]
        first = next(metrics for metrics in slices if metrics is not None)
        figures = [number(np.nan if m is None else m.macro[name]) for m in slices for name in shown]
        positives, share_L = int(first.positives.sum()), first.prevalence
        both = (first.positives > 0) & (first.positives < first.known)
        constant = np.where(both, share_L, np.nan)  # a constant's AP, defined where AP is
        rows.append(
            (
                value + _flag(positives, first.n),
                f"{first.n:,}",
                f"{positives:,}",
                f"{first.defined['roc_auc']} of {len(first.labels)}",
                *figures,
                number(float(mean_defined(constant))),
                number(float(mean_defined(2 * constant / (1 + constant)))),
            )
        )
    headings = _headings(group, [f"macro {_NAMES[name]}" for name in shown])
    columns = (column, "messages", "positives", "labels", *headings, "AP of a constant", "F1 all on")
    notes = [
        "labels: with a positive and a negative, over which macro ROC-AUC is the mean; a constant's is 0.5."
    ]
    return Section(f"By {column}", columns, tuple(rows), (*notes, *_flag_note(rows)))


def _headings(group: Sequence[Result], names: Sequence[str]) -> list[str]:
    if len(group) == 1:
        return list(names)
    return [f"{result.name}: {name}" for result in group for name in names]


def _flag(positives: int, observations: int) -> str:
    marks = ("*" if positives < FEW_POSITIVES else "") + ("†" if observations < FEW_OBSERVATIONS else "")
    return f" {marks}" if marks else ""


def _flag_note(rows: Sequence[tuple[str, ...]]) -> list[str]:
    marks = "".join(row[0].rpartition(" ")[2] for row in rows)
    notes = {
        "*": f"*: under {FEW_POSITIVES} positives, mostly chance.",
        "†": f"†: under {FEW_OBSERVATIONS:,} messages, a small sample.",
    }
    return [note for mark, note in notes.items() if mark in marks]


def coverage_note(metrics: Metrics, shown: Sequence[str] = _COVERED) -> str:
    """Return for instance "2,629 messages; macro Brier over 36, AP over 35 of 36 labels (without a positive: fire)."

    Args:
        metrics: What is known of the labels.
        shown: The metrics whose macro means stand above.
    """
    counts: dict[int, list[str]] = {}
    for name in shown:
        counts.setdefault(metrics.defined[name], []).append(_NAMES[name])
    falling = sorted(
        counts.items(), reverse=True
    )  # the reasons, which are those of the fewest, come after these
    total = len(metrics.labels)
    if len(counts) == 1:
        over = f"macro means over {falling[0][0]} of {total} labels"
    else:
        over = f"macro {', '.join(f'{_listing(names)} over {k}' for k, names in falling)} of {total} labels"
    missing: list[tuple[str, Callable[[int], bool]]] = [
        ("without a positive", lambda i: not metrics.positives[i]),
        (
            "without a negative",
            lambda i: bool(metrics.positives[i]) and metrics.positives[i] == metrics.known[i],
        ),
    ]
    reasons = []
    for reason, holds in missing:
        names = [label for i, label in enumerate(metrics.labels) if holds(i)]
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            reasons.append(f"{reason}: {', '.join(names[:8])}{more}")
    because = f" ({'; '.join(reasons)})" if reasons else ""
    soft = (
        f" Targets are probabilities; {POSITIVE_FROM:g} or more counts as positive." if metrics.soft else ""
    )
    known = f" {share:.1%} of targets are known." if (share := metrics.coverage["known_targets"]) < 1 else ""
    few = f" Under {FEW_OBSERVATIONS:,} messages: a small sample." if metrics.n < FEW_OBSERVATIONS else ""
    return f"{metrics.n:,} messages; {over}{because}.{soft}{known}{few}"


def _listing(names: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])


def _decided(result: Result) -> str:
    share = result.metrics.coverage["messages_with_a_decision"]
    shown = UNDEFINED if np.isnan(share) else f"{share:.1%}"
    return f"{result.name}: at least one label is on for {shown} of messages."


def _baseline_key(result: Result) -> tuple[Any, ...]:
    metrics = result.metrics
    figures = tuple(
        (name, trivial.note, *np.nan_to_num([*trivial.flat().values()], nan=-1.0))
        for name, trivial in result.baselines.items()
    )
    return (metrics.labels, metrics.n, metrics.positives.tobytes(), metrics.known.tobytes(), figures)


def _listed(results: Result | Sequence[Result]) -> Sequence[Result]:
    return [results] if isinstance(results, Result) else results


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
