"""What the checks of splitters and of label schemes share: both name columns, and read a table that holds them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tocsin.errors import DataError
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.invented import OWN_COLUMNS
from tocsin.plugins.testing.surroundings import kind_of, quoted

__all__ = ["check_missing_column", "columns_of", "declared_columns", "extra_columns", "holds_columns"]


def declared_columns(
    findings: Findings, component: type, arguments: dict[str, Any]
) -> tuple[str, ...] | None:
    """Return `columns` of a component, or None and a fault where it is no tuple of names."""
    made = component(**arguments)
    try:
        first, second, other = made.columns, made.columns, component(**arguments).columns
    except Exception as error:
        findings.add(
            f"`columns` raised {type(error).__name__}: {quoted(str(error), 200)}. It must cost nothing."
        )
        return None
    if isinstance(first, str):
        findings.add(f"`columns` is the text {first!r}. A tuple of names is wanted, if of one: ({first!r},).")
        return None
    if not isinstance(first, tuple) or not all(isinstance(name, str) and name for name in first):
        hint = " Write @property before it." if callable(first) else ""
        findings.add(f"`columns` is {quoted(first)}. A tuple of column names is wanted, () for none.{hint}")
        return None
    if not (first == second == other):
        findings.add(
            f"`columns` is {quoted(first)}, then {quoted(second if second != first else other)}. It must be the same "
            "each time and for each object with the same arguments: keep the names in a list (a set has no order)."
        )
        return None
    if len(set(first)) < len(first):
        findings.add(f"`columns` is {quoted(first)}: a name stands twice.")
        return None
    return first


def holds_columns(findings: Findings, table: Any, columns: tuple[str, ...]) -> bool:
    """Tell whether an author's table has at least a row and the columns asked for; add a fault otherwise."""
    if not isinstance(table, pa.Table) or not table.num_rows:
        findings.add(
            f"The table to check with is {kind_of(table)}. A pyarrow.Table with at least a row is wanted."
        )
        return False
    lacking = [name for name in columns if name not in table.column_names]
    return findings.expect(
        not lacking,
        f"The table to check with lacks {', '.join(map(repr, lacking))}, which `columns` asks for. It holds: "
        f"{', '.join(table.column_names)}.",
    )


def columns_of(table: pa.Table) -> dict[str, Any]:
    """Return the columns of an author's table by name, less those that reading a file adds."""
    return {name: table[name] for name in table.column_names if name not in ("file", "row")}


def extra_columns(columns: tuple[str, ...]) -> list[str]:
    """Return the columns that no table of messages has by itself."""
    return [name for name in columns if name not in OWN_COLUMNS]


def check_missing_column(
    findings: Findings,
    verb: str,
    action: Any,
    table: pa.Table,
    columns: tuple[str, ...],
    wanted: type[Exception],
) -> None:
    """Take each column away: an error of ours that names it is wanted."""
    for name in extra_columns(columns)[:3]:
        what = f"{verb}() of a table without the column {name!r}"
        fix = f"A {wanted.__name__} that names the column is wanted; source_column() of tocsin.plugins raises one."
        fix = fix if wanted is DataError else f"A {wanted.__name__} that names the column is wanted."
        try:
            action(table.drop_columns([name]))
        except wanted as error:
            if name in str(error):
                continue
            findings.add(f"{what} raised {wanted.__name__}: {quoted(str(error), 150)}. {fix}")
        except Exception as error:
            findings.add(f"{what} raised {type(error).__name__}: {quoted(str(error), 150)}. {fix}")
        else:
            findings.add(f"{what} raised nothing. {fix}")
        return
