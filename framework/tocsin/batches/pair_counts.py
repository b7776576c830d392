"""How many pairs each filter left, by source and language: as plain data, and as a table for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tocsin.escaping import rich_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["STAGES", "PairCounts"]

STAGES = {
    "read": "read",
    "unreadable": "unreadable",
    "other_language": "other language",
    "empty": "empty side",
    "too_long": "too long",
    "length_ratio": "length ratio",
    "identical": "identical",
    "duplicate": "duplicate",
    "held_out_english": "English held out",
    "over_cap": "over cap",
    "held_out": "held out",
    "train": "train",
}
"""What is counted, in the order of the filters, and its heading: all pairs read are in one of the columns after it."""

_KEPT = ("held_out", "train")
_SHOWN_LANGUAGES = 20
_NO_LANGUAGE = "(unknown)"


class PairCounts:
    """Pairs by source, language and stage.

    Args:
        sources: Their names in order.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources = list(sources)
        self._counts: dict[tuple[str, str], Counter[str]] = {}

    def add(self, source: str, lang: str, stage: str, pairs: int) -> None:
        """Count pairs."""
        assert stage in STAGES
        self._counts.setdefault((source, lang), Counter())[stage] += pairs

    def get(self, stage: str, source: str | None = None, lang: str | None = None) -> int:
        """Pairs of a stage, of one source or language or of all."""
        return sum(
            counts[stage]
            for (of, code), counts in self._counts.items()
            if source in (None, of) and lang in (None, code)
        )

    def languages(self, source: str | None = None) -> list[str]:
        """Codes that were read, sorted."""
        return sorted({code for of, code in self._counts if source in (None, of)})

    def rows(self) -> list[dict[str, str | int]]:
        """A row for each source and language, in the order of sources, then of codes: its counts by stage."""
        known = sorted(self._counts, key=lambda key: (self.sources.index(key[0]), key[1]))
        return [
            {"source": source, "lang": lang, **{stage: self._counts[source, lang][stage] for stage in STAGES}}
            for source, lang in known
        ]

    @classmethod
    def from_rows(cls, sources: Iterable[str], rows: Iterable[dict[str, str | int]]) -> PairCounts:
        """Give counts back from `rows()`."""
        made = cls(sources)
        for row in rows:
            for stage in STAGES:
                made.add(str(row["source"]), str(row["lang"]), stage, int(row[stage]))
        return made

    def told(self, source: str) -> str:
        """A source's counts in a sentence: "120 read: 100 duplicate, 20 too long"."""
        parts = [
            f"{pairs:,} {name}"
            for stage, name in STAGES.items()
            if stage != "read" and (pairs := self.get(stage, source))
        ]
        return f"{self.get('read', source):,} read: {', '.join(parts) or 'none left out'}"

    def render(self) -> RenderableType:
        """Return tables of sources and of languages; filters that dropped nothing have no column."""
        from rich.console import Group

        stages = [stage for stage in STAGES if stage in ("read", *_KEPT) or self.get(stage)]
        return Group(self._by_source(stages), self._by_language(stages))

    def _by_source(self, stages: list[str]) -> Table:
        table = _table("Pairs by source", "source", ["languages", *(STAGES[stage] for stage in stages)])
        for source in self.sources:
            kept = {
                row["lang"]
                for row in self.rows()
                if row["source"] == source and (row["train"] or row["held_out"])
            }
            table.add_row(
                rich_text(source), f"{len(kept):,}", *(f"{self.get(stage, source):,}" for stage in stages)
            )
        if len(self.sources) > 1:
            kept = {row["lang"] for row in self.rows() if row["train"] or row["held_out"]}
            table.add_row(
                "all", f"{len(kept):,}", *(f"{self.get(stage):,}" for stage in stages), style="bold"
            )
        return table

    def _by_language(self, stages: list[str]) -> Table:
        totals: dict[str, Counter[str]] = {}
        for (_, lang), counts in self._counts.items():
            totals.setdefault(lang, Counter()).update(counts)
        ranked = sorted(totals.items(), key=lambda one: (-one[1]["train"], -one[1]["read"], one[0]))
        shown = ranked if len(ranked) <= _SHOWN_LANGUAGES + 1 else ranked[:_SHOWN_LANGUAGES]
        table = _table("Pairs by language", "language", ["sources", *(STAGES[stage] for stage in stages)])
        for lang, counts in shown:
            of = sum(
                code == lang and (one["train"] > 0 or one["held_out"] > 0)
                for (_, code), one in self._counts.items()
            )
            table.add_row(
                rich_text(lang or _NO_LANGUAGE), f"{of:,}", *(f"{counts[stage]:,}" for stage in stages)
            )
        if len(ranked) > len(shown):
            rest: Counter[str] = Counter()
            for _, counts in ranked[len(shown) :]:
                rest.update(counts)
            name = f"{len(ranked) - len(shown)} more"
            table.add_row(name, "", *(f"{rest[stage]:,}" for stage in stages))
        return table


def _table(title: str, first: str, columns: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first)
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")  # a narrow terminal must not cut a number
    return table
