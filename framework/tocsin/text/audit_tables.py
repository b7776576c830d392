"""The data audit as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from tocsin.text.audit import Audit, LabelCounts

__all__ = ["audit_tables"]

_SHOWN_LANGUAGES = 15
_FEW = "few"
_NEVER = "no positive in train"


def audit_tables(audit: Audit) -> RenderableType:
    """Return two tables, splits and labels, with languages, duplicates and warnings in between."""
    parts: list[RenderableType] = [_splits(audit)]
    if audit.languages and set(audit.languages) != {"unknown"}:
        parts.append(Text(f"Languages: {languages_line(audit.languages)}"))
    if audit.duplicates.groups:
        same = audit.duplicates
        parts.append(
            Text(
                f"Duplicates: {same.rows:,} messages repeat an earlier text ({same.groups:,} texts; "
                f"{same.conflicting:,} of them with conflicting labels)"
            )
        )
    parts += [Text(f"! {sentence}", style="yellow") for sentence in audit.crossing]
    if audit.labels:
        parts.append(_labels(audit))
    if audit.few:
        parts.append(
            Text(
                f"{_FEW}: under 5,000 messages have the label "
                f"({len(audit.few)} of {len(audit.labels)} labels); read their figures with care",
                style="yellow",
            )
        )
    return Group(*parts)


def languages_line(languages: dict[str, int]) -> str:
    """Return the most frequent languages with their shares, and how many more there are."""
    total = sum(languages.values())
    shown = list(languages.items())[:_SHOWN_LANGUAGES]
    line = ", ".join(f"{code} {count:,} ({count / total:.1%})" for code, count in shown)
    rest = len(languages) - len(shown)
    return f"{line} and {rest} more" if rest else line


def _splits(audit: Audit) -> Table:
    table = Table(title="Messages", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("split")
    rows = audit.splits
    cut = "cut" if audit.max_length is None else f"cut at {audit.max_length}"
    columns = {
        "messages": [f"{one.messages:,}" for one in rows.values()],
        "labels/message": [_figure(one.labels_per_message, ".2f") for one in rows.values()],
        "without label": [f"{one.unlabelled:,}" for one in rows.values()],
        "tokens/message": [_figure(one.mean_tokens, ".1f") for one in rows.values()],
        cut: [_figure(one.truncated, ".1%") for one in rows.values()],
        "unknown pieces": [_figure(one.unknown_pieces, ".2%") for one in rows.values()],
    }
    shown = {name: values for name, values in columns.items() if any(values)}
    for name in shown:
        table.add_column(name, justify="right")
    for row, split in enumerate(rows):
        table.add_row(split or "in none", *(values[row] for values in shown.values()))
    return table


def _labels(audit: Audit) -> Table:
    table = Table(
        title="Labels: messages that have them, and their share where it is known",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("label")
    splits = [split for split in audit.splits if split]
    for split in splits:
        table.add_column(split, justify="right")
    nulls = any(one.nulls for counts in audit.labels.values() for one in counts.values())
    if nulls:
        table.add_column("null", justify="right")
    notes = bool(audit.few or audit.without_positives)
    if notes:
        table.add_column("")
    for name, counts in audit.labels.items():
        cells = [_positives(counts[split]) for split in splits]
        if nulls:
            cells.append(f"{sum(one.nulls for one in counts.values()):,}")
        if notes:
            marks = [_NEVER] if name in audit.without_positives else []
            marks += [_FEW] if name in audit.few else []
            cells.append(", ".join(marks))
        table.add_row(name, *cells, style="yellow" if name in audit.without_positives else None)
    return table


def _positives(counts: LabelCounts) -> str:
    share = "" if counts.prevalence is None else f"{counts.prevalence:.1%}"
    return f"{counts.positives:,} {share:>6}"


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
