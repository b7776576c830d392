"""The data audit as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from tocsin.escaping import rich_text

if TYPE_CHECKING:
    from tocsin.text.audit import Audit, LabelCounts

__all__ = ["audit_tables"]

_SHOWN_LANGUAGES = 15
_FEW = "few"
_NEVER = "no positive in train"
_ALWAYS = "no negative in train"
_NOTHING = "nothing known in train"


def audit_tables(audit: Audit) -> RenderableType:
    """Return tables of splits, languages, what crosses and labels, with duplicates and warnings in between."""
    parts: list[RenderableType] = [_splits(audit)]
    if any(audit.read.values()):
        parts.append(rich_text(f"Reading: {_reading(audit.read)}"))
    if audit.languages and set(audit.languages) != {"unknown"}:
        several = len(audit.languages) > 1 and len([split for split in audit.splits if split]) > 1
        line = rich_text(f"Languages: {languages_line(audit.languages)}")
        parts.append(_languages(audit) if several else line)
    if audit.duplicates.groups:
        same = audit.duplicates
        parts.append(
            rich_text(
                f"Duplicates: {same.rows:,} messages repeat an earlier text ({same.groups:,} texts; "
                f"{same.conflicting:,} of them with conflicting labels)"
            )
        )
    for name, alike in audit.similar.items():
        parts.append(
            rich_text(
                f"{name[0].upper()}{name[1:]}: {alike.rows:,} messages say almost what an earlier one does "
                f"({alike.groups:,} groups; {alike.conflicting:,} of them with conflicting labels)"
            )
        )
    if audit.groups and any(one.seen for one in audit.groups.values()):
        parts.append(_crossing(audit))
    parts += [rich_text(f"! {sentence}", "yellow") for sentence in audit.crossing]
    if audit.labels:
        parts.append(_labels(audit))
        parts += [rich_text(f"! {sentence}", "yellow") for sentence in _warnings(audit)]
    if audit.few:
        parts.append(
            rich_text(
                f"{_FEW}: under 5,000 messages have the label "
                f"({len(audit.few)} of {len(audit.labels)} labels); read their figures with care",
                "yellow",
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


def _reading(read: dict[str, int]) -> str:
    said = {
        "dropped_empty": "dropped as empty after cleaning",
        "kept_empty": "empty after cleaning, kept",
        "null_texts": "without a text (counted among the empty)",
        "skipped": "rows that cannot be read, left out",
        "repeated_ids": "ids null or repeated, completed by the row's number",
    }
    return "; ".join(f"{count:,} {said.get(name, name)}" for name, count in read.items() if count)


def _languages(audit: Audit) -> Table:
    table = Table(title="Languages: messages", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("language")
    splits = [split for split in audit.splits if split]
    for split in splits:
        table.add_column(split, justify="right")
    table.add_column("share of all", justify="right")
    shown = list(audit.by_language.items())
    rest = shown[_SHOWN_LANGUAGES:] if len(shown) > _SHOWN_LANGUAGES + 1 else []
    total = sum(audit.languages.values())
    rows = [(code, [counts]) for code, counts in shown[: len(shown) - len(rest)]]
    if rest:
        rows.append((f"{len(rest)} more", [counts for _, counts in rest]))
    for name, several in rows:
        cells = [f"{sum(counts.get(split, 0) for counts in several):,}" for split in splits]
        share = sum(sum(counts.values()) for counts in several) / total
        table.add_row(rich_text(name), *cells, f"{share:.1%}")
    return table


def _crossing(audit: Audit) -> Table:
    table = Table(title="What crosses the splits", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("grouped by")
    table.add_column("groups", justify="right")
    table.add_column("in several splits", justify="right")
    later = list(next(iter(audit.groups.values())).seen)
    for split in later:
        table.add_column(f"{split} seen in train", justify="right")
    for name, one in audit.groups.items():
        cells = [
            f"{count:,} {count / audit.splits[split].messages:>6.1%}" for split, count in one.seen.items()
        ]
        table.add_row(rich_text(name), f"{one.groups:,}", f"{one.crossing:,}", *cells)
    return table


def _splits(audit: Audit) -> Table:
    table = Table(title="Messages", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("split", min_width=len("validation"))  # a narrow terminal would cut the names
    rows = audit.splits
    cut = "cut" if audit.max_length is None else f"cut at {audit.max_length}"
    # Tokens say more than characters do, where there are any.
    characters = all(one.mean_tokens is None for one in rows.values())
    lengths = [one.characters for one in rows.values()]
    columns = {
        "messages": [f"{one.messages:,}" for one in rows.values()],
        "labels/message": [_figure(one.labels_per_message, ".2f") for one in rows.values()],
        "without label": [f"{one.unlabelled:,}" for one in rows.values()],
        "characters: median": [f"{one.median:,}" for one in lengths if characters],
        "95% up to": [f"{one.most:,}" for one in lengths if characters],
        "longest": [f"{one.longest:,}" for one in lengths if characters],
        "tokens/message": [_figure(one.mean_tokens, ".1f") for one in rows.values()],
        cut: [_figure(one.truncated, ".1%") for one in rows.values()],
        "unknown pieces": [_figure(one.unknown_pieces, ".2%") for one in rows.values()],
    }
    shown = {name: values for name, values in columns.items() if any(values)}
    for name in shown:
        table.add_column(name, justify="right")
    for row, split in enumerate(rows):
        table.add_row(rich_text(split or "in none"), *(values[row] for values in shown.values()))
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
    notes = bool(audit.few or audit.without_positives or audit.without_negatives)
    if notes:
        table.add_column("")
    for name, counts in audit.labels.items():
        cells = [_positives(counts[split]) for split in splits]
        if nulls:
            cells.append(f"{sum(one.nulls for one in counts.values()):,}")
        if notes:
            mark = _mark(audit, name)
            marks = [mark] if mark else []
            marks += [_FEW] if name in audit.few else []
            cells.append(", ".join(marks))
        table.add_row(rich_text(name), *cells, style="yellow" if _mark(audit, name) else None)
    return table


def _mark(audit: Audit, name: str) -> str:
    """Say what a label lacks in train, "" where it has both."""
    lacks = (name in audit.without_positives, name in audit.without_negatives)
    return {(True, True): _NOTHING, (True, False): _NEVER, (False, True): _ALWAYS}.get(lacks, "")


def _warnings(audit: Audit) -> list[str]:
    """Return what follows from labels without a negative and from messages without a label, with the option's name."""
    blank = "If an empty cell (or a key left out) means 0, say so: labels.init_args.blank: 0"
    found = []
    always = [name for name in audit.without_negatives if name not in audit.without_positives]
    if always:
        found.append(
            f"{_ALWAYS}: {len(always)} of {len(audit.labels)} labels are never 0, so nothing can be learned or "
            f"measured of them but that they are always on. {blank}"
        )
    for split, counts in audit.splits.items():
        if split and counts.messages == counts.unknown:
            found.append(
                f"no label is known of any message in {split}: a fit or test of it is refused. {blank}"
            )
    unknown = sum(counts.unknown for counts in audit.splits.values())
    if unknown and not always and not any("no label is known" in sentence for sentence in found):
        found.append(f"no label is known of {unknown:,} messages, which teach and test nothing. {blank}")
    return found


def _positives(counts: LabelCounts) -> str:
    share = "" if counts.prevalence is None else f"{counts.prevalence:.1%}"
    return f"{counts.positives:,} {share:>6}"


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
