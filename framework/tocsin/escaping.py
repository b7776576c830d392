"""Text of data, files and bundles, written so that terminals, Markdown, JSON, figures and spreadsheets show it as text.

A label name, an id or a language code may hold escape sequences, markup or a formula: each writer passes it through
the function of what it writes. Importing this module costs next to nothing.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "csv_cell",
    "figure_text",
    "json_escaped",
    "markdown_code",
    "markdown_text",
    "original_cell",
    "print_lines",
    "rich_text",
    "terminal_lines",
    "terminal_text",
]

# C0 and C1 with DEL, line and paragraph separators, what turns the direction of what follows, half surrogate pairs
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# JSON escapes C0 itself, and its own line ends stand outside of strings
_NOT_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

_INTERVAL = r"\[[-+]?[\d.]+, [-+]?[\d.]+\](?![(\[:])"
_MARKUP = re.compile(
    rf"(?P<kept>{_INTERVAL})"
    r"|(?P<entity><|&(?=#?\w+;))"
    r"|(?P<escaped>[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|:(?=[\w+-]+:)|:(?=//))"
)
_ENTITIES = {"<": "&lt;", "&": "&amp;"}
# what makes a heading, a list, a quotation or a rule of a line
_LINE_START = re.compile(r"(>|#{1,6}(?=\s|$)|[-+](?=\s|$)|(?<!\d)\d{1,9}(?=[.)](?:\s|$))|[-=](?=[-=\s]*$))")

_FORMULA = re.compile(r"\s*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


def terminal_text(text: object) -> str:
    r"""Return text for one place on a terminal, its control characters shown as `\x1b`, `\n` or `\u202e`.

    That are C0, C1 and DEL, line and paragraph separators, embeddings, overrides and isolates of direction, and halves
    of surrogate pairs, which no stream encodes. For rich there is `rich_text`: it reads markup in plain strings.
    """
    return _CONTROLS.sub(_escape, str(text))


def terminal_lines(text: object) -> str:
    """Return a message of several lines likewise; line ends and tabs stay."""
    return _CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else _escape(found), str(text))


def print_lines(text: object = "", *, stderr: bool = False) -> None:
    """Print a message of one or several lines, its control characters shown."""
    print(terminal_lines(text), file=sys.stderr if stderr else sys.stdout, flush=True)


def rich_text(text: object, style: str = "") -> Text:
    """Return text for one place of what rich draws: neither markup, nor emoji codes, nor control characters count."""
    from rich.text import Text  # takes longer to import than many a verb

    return Text(terminal_text(text), style=style)


def json_escaped(text: str) -> str:
    r"""Return JSON in which control characters that `json.dumps` leaves as they are stand as `\u202e`; same values."""
    return _NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def markdown_text(text: object) -> str:
    """Return text that a Markdown page, a cell of a table or a heading shows as it stands, without HTML and links.

    Control characters are shown as on a terminal. Intervals such as "[0.1, 0.2]" and underscores inside words stay, so
    that the source can be read too.
    """
    marked = _MARKUP.sub(_escape_markup, terminal_text(text).strip())
    return _LINE_START.sub(_escape_start, marked, count=1) if _LINE_START.match(marked) else marked


def markdown_code(text: object) -> str:
    """Return text as a code span, whatever backticks it holds; not for a cell of a table, where `|` ends it."""
    shown = terminal_text(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def csv_cell(text: str) -> str:
    """Return text for a cell of CSV or TSV that no spreadsheet takes for a formula.

    What begins with `=`, `+`, `-`, `@`, a tab or a line end, after any white space, gets an apostrophe in front, as
    spreadsheets write text; numbers such as -2.5 stay. Quoting is the writer's. `original_cell` undoes it.
    """
    bare = text.lstrip("'")
    return f"'{text}" if _FORMULA.match(bare) and (bare != text or not _NUMBER.fullmatch(text)) else text


def original_cell(cell: str) -> str:
    """Return the text that `csv_cell` was given."""
    return cell[1:] if cell.startswith("'") and csv_cell(cell[1:]) == cell else cell


def figure_text(text: object) -> str:
    """Return text that matplotlib draws as it stands: `$` begins no formula, and a first `_` hides nothing."""
    shown = terminal_text(text).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _NAMED.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _escape_markup(found: re.Match[str]) -> str:
    if found["kept"]:
        return found[0]
    return _ENTITIES.get(found[0]) or f"\\{found[0]}"


def _escape_start(found: re.Match[str]) -> str:
    # of an ordered list it is the point that is escaped
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"
