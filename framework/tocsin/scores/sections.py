"""What a report is made of: tables of text under a title, notes below.

Rich tables and Markdown come from the same sections, so that both always say the same. A plugin adds sections through
the hook `tocsin_report_sections`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from tocsin.errors import DataError
from tocsin.escaping import markdown_text, rich_text

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["Section", "render_sections", "sections_to_markdown"]


@dataclass(frozen=True)
class Section:
    """A table of text under a title.

    Args:
        title: Its heading.
        columns: A heading for each column; the first column names the row. Empty for a section of notes alone.
        rows: Cells as text, row by row, as many in each as there are columns.
        notes: Sentences below the table.

    Raises:
        DataError: Something is no text, or a row has other cells than there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, texts in {"columns": self.columns, "notes": self.notes, **self._rows()}.items():
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                raise DataError(
                    f"The section {self.title!r} has {texts!r:.80} as {name}; a tuple of text is wanted: write numbers "
                    'out, for instance f"{value:.3f}".'
                )
        for name, row in self._rows().items():
            if len(row) != len(self.columns):
                raise DataError(
                    f"The section {self.title!r} has {len(row)} cells in {name} and {len(self.columns)} columns; as "
                    "many are wanted."
                )

    def _rows(self) -> dict[str, tuple[str, ...]]:
        return {f"row {number}": row for number, row in enumerate(self.rows, start=1)}


def render_sections(sections: Sequence[Section]) -> Group:
    """Return rich tables, numbers to the right, notes below each."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = []
    for section in sections:
        if not section.columns:
            parts += [rich_text(section.title, "italic"), *map(rich_text, section.notes), Text("")]
            continue
        table = Table(title=rich_text(section.title), title_justify="left", header_style="bold")
        for i, heading in enumerate(section.columns):
            table.add_column(rich_text(heading), justify="left" if i == 0 else "right", no_wrap=i == 0)
        for row in section.rows:
            table.add_row(*map(rich_text, row))
        parts += [table, *(rich_text(note, "dim") for note in section.notes), Text("")]
    return Group(*parts[:-1])


def sections_to_markdown(
    sections: Sequence[Section], *, title: str | None = None, pictures: Mapping[str, str] | None = None
) -> str:
    """Return Markdown tables, each under its title, notes below each. Whatever the texts hold, it is shown as text.

    Args:
        sections: What there is to show.
        title: Of the whole, for a file of its own; None for a part of another text, whose headings are one level lower.
        pictures: Names of pictures and their places beside the file, which stand at the end.
    """
    level = "###" if title is None else "##"

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(markdown_text, cells))} |"

    parts = [] if title is None else [f"# {markdown_text(title)}"]
    for section in sections:
        heading, notes = f"{level} {markdown_text(section.title)}", list(map(markdown_text, section.notes))
        if not section.columns:
            parts.append("\n\n".join([heading, *notes]))
            continue
        rule = "|" + "|".join([" :-- ", *[" --: "] * (len(section.columns) - 1)]) + "|"
        body = [line(section.columns), rule, *(line(row) for row in section.rows)]
        parts.append("\n".join([heading, "", *body, *(f"\n{note}" for note in notes)]))
    if pictures:
        shown = (f"![{markdown_text(name)}]({quote(place)})" for name, place in pictures.items())
        parts.append("\n\n".join([f"{level} Figures", *shown]))
    return "\n\n".join(parts) + "\n"
