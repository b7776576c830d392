"""Hostile names as a terminal, Markdown, JSON, a figure and a spreadsheet get them."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from tocsin.escaping import (
    csv_cell,
    figure_text,
    json_escaped,
    markdown_code,
    markdown_text,
    original_cell,
    rich_text,
    terminal_lines,
    terminal_text,
)

HOSTILE = [
    "[/urgent]",
    "[red]",
    ":fire:",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "![a](https://example.org/x.png)",
    "[a]: javascript:alert(1)",
    "a | b",
    "`code` ``more``",
    "\u202eright to left",
    "two\nlines",
    "# heading",
    "## Limits",
    "- item",
    "+ item",
    "12. item",
    "12) item",
    "> quotation",
    "---",
    "===",
    "***",
    "*bold* _italic_ __both__ ~~gone~~ $x$",
    "&lt;script&gt;",
    "back\\slash \\* \\",
    "https://example.org",
    "snake_case_name",
    "-0.5",
    "[0.1, 0.2]",
    "[0.1, 0.2](javascript:1)",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b\x7f", "\\x9b\\x7f"),
        ("\u202e\u2066\u2028", "\\u202e\\u2066\\u2028"),
        ("half \ud83d", "half \\ud83d"),
        ("مرحبا 🔥 naïve", "مرحبا 🔥 naïve"),
    ],
)
def test_a_terminal_gets_no_control_character(text: str, shown: str) -> None:
    assert terminal_text(text) == shown
    assert terminal_lines("first\n\t\x1b[2J") == "first\n\t\\x1b[2J"


@pytest.mark.parametrize("text", HOSTILE)
def test_rich_shows_every_name_as_it_stands(text: str) -> None:
    page = io.StringIO()
    Console(file=page, width=100, force_terminal=True, color_system=None).print(rich_text(text))
    assert page.getvalue() == f"{terminal_text(text)}\n"


def rendered(markdown: str) -> list[tuple[str, str]]:
    """The pieces of a page: kind and text, inline ones in place of their block."""
    pieces = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown):
        for one in token.children or [token]:
            pieces.append((one.type, one.content))
    return pieces


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_every_name_as_text_alone(text: str) -> None:
    wanted = terminal_text(text)
    alone = rendered(markdown_text(text))
    assert [kind for kind, _ in alone] == ["paragraph_open", "text", "paragraph_close"]
    assert alone[1][1] == wanted
    cells = [
        content for kind, content in rendered(f"| a | b |\n|--|--|\n| {markdown_text(text)} | c |") if content
    ]
    assert cells == ["a", "b", wanted, "c"]
    item = [pair for pair in rendered(f"- {markdown_text(text)}") if pair[1]]
    assert item == [("text", wanted)]
    code = [pair for pair in rendered(markdown_code(text)) if pair[1]]
    assert code == [("code_inline", wanted)]


@given(st.text(max_size=40))
def test_markdown_of_any_text_is_that_text(text: str) -> None:
    pieces = rendered(f"x {markdown_text(text)} x")
    assert {kind for kind, _ in pieces} <= {"paragraph_open", "text", "paragraph_close"}
    assert "".join(content for _, content in pieces) == f"x {terminal_text(text).strip()} x"


def test_markdown_stays_readable() -> None:
    assert markdown_text("0.912 [0.900, 0.924]") == "0.912 [0.900, 0.924]"
    assert markdown_text("aid_related") == "aid_related"
    assert markdown_text("-0.031") == "-0.031"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("@SUM", "'@SUM"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("\rx", "'\rx"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("'=1", "''=1"),
        ("-2.5", "-2.5"),
        ("+1e-3", "+1e-3"),
        ("a=b", "a=b"),
        ("'tis", "'tis"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula_and_numbers_stay(text: str, cell: str) -> None:
    assert csv_cell(text) == cell
    assert original_cell(cell) == text


@given(st.text(alphabet="'=+-@ \t\r\n1.e＝x", max_size=6))
def test_a_cell_gives_its_text_back(text: str) -> None:
    assert original_cell(csv_cell(text)) == text
    first = csv_cell(text).lstrip()[:1]
    assert first not in "=@＝" or not first


def test_json_keeps_its_values_and_no_control_character() -> None:
    value = {"a\u202e\x1b\x9b\x7f": ["\ud800", "é🔥"]}
    text = json_escaped(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert terminal_lines(text) == text


@pytest.mark.parametrize("text", ["a$b$c", "$", "\\$x$", "_hidden", "plain"])
def test_a_figure_draws_names_as_they_stand(text: str) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], label=figure_text(text))
    (shown,) = axes.legend().get_texts()
    figure.savefig(io.BytesIO(), format="png")  # a sign that the font lacks is a warning
    drawn, is_formula = shown._preprocess_math(shown.get_text())
    assert not is_formula
    assert drawn.lstrip("\u200b") == text
