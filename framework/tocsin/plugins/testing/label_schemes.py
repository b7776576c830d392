"""The check of label schemes. N messages, L labels."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from tocsin.errors import LabelError, TocsinError
from tocsin.labels.schemes import LabelScheme, label_digest
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.invented import FILE, message_table, stretched
from tocsin.plugins.testing.surroundings import kind_of, outcome, quoted, undisturbed
from tocsin.plugins.testing.tables import (
    check_missing_column,
    columns_of,
    declared_columns,
    extra_columns,
    holds_columns,
)

__all__ = ["check_label_scheme"]

_ROWS = 500
_FEW = 60
_MANY_LABELS = 500


@undisturbed()
def check_label_scheme(
    component: type[LabelScheme], table: pa.Table | None = None, /, **arguments: Any
) -> None:
    """Check a label scheme: ordered names, and targets (N, L) of 0, 1 and NaN that name what they refuse.

    Where the scheme says that it is `soft`, targets may be any probability, and it must refuse what is none.

    Args:
        component: The class.
        table: A few rows with the columns that it reads, for a scheme whose columns hold anything else than
            0 and 1, or label names.
        arguments: Its constructor's arguments. With a list `names` among them it is also built with 1 and with 500.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "label_scheme", arguments)
    if usable:
        names = _names(findings, component, arguments)
        columns = declared_columns(findings, component, arguments)
        if names and columns is not None and (table is None or holds_columns(findings, table, columns)):
            values = _check_targets(findings, component, arguments, table)
            # Without columns its labels come from a file of its own, which has none of ours.
            if values is not None and columns and table is None and isinstance(arguments.get("names"), list):
                for count in (1, _MANY_LABELS):
                    many = {**arguments, "names": [f"label {number}" for number in range(count)]}
                    with suppress(TocsinError):  # a scheme may know its labels, and refuse ours
                        component(**many)
                        _check_targets(findings, component, many, None, thorough=False)
    findings.conclude()


def _names(findings: Findings, component: type[LabelScheme], arguments: dict[str, Any]) -> tuple[str, ...]:
    scheme = component(**arguments)
    done, names = outcome(findings, "`names`", lambda: scheme.names)
    if not done:
        return ()
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        findings.add(f"`names` is {quoted(names)}. A tuple of strings is wanted, in the order of the logits.")
        return ()
    bad = [
        name
        for name, count in Counter(names).items()
        if not name.strip() or name != name.strip() or count > 1
    ]
    if bad or not names:
        what = f"{bad[0]!r} is empty, padded or repeated" if bad else "there is none"
        findings.add(f"`names` is {quoted(names)}: {what}. At least one label is wanted, each name once.")
        return ()
    others = (scheme.names, component(**arguments).names)
    if any(other != names for other in others):
        findings.add(
            f"`names` is {quoted(names)}, then {quoted(next(o for o in others if o != names))}. The order is that of "
            "the logits: keep it in a list (a set has none)."
        )
        return ()
    findings.expect(
        scheme.digest == label_digest(names),
        f"`digest` is {quoted(scheme.digest)}, not the SHA-256 of the names in order that scores and bundles are "
        "compared by. Do not override it.",
    )
    return names


def _check_targets(
    findings: Findings,
    component: type[LabelScheme],
    arguments: dict[str, Any],
    given: pa.Table | None,
    thorough: bool = True,
) -> dict[str, Any] | None:
    """Check the targets of one scheme; return the values its columns were given, or None after a fault."""
    rows = _ROWS if thorough else _FEW
    scheme = component(**arguments)
    names, columns = scheme.names, scheme.columns
    shown = f"targets(a table of {rows} messages with the columns {', '.join(extra_columns(columns)[:5])})"
    shown = shown if thorough else f"With {len(names)} labels, {shown}"
    inventions: list[dict[str, Any]] = [
        {
            name: [(1, 0, 0, None, 1)[(number + at) % 5] for number in range(7)]
            for at, name in enumerate(columns)
        },
        {name: [names[(number + at) % len(names)] for number in range(7)] for at, name in enumerate(columns)},
    ]
    if scheme.soft:
        probabilities = (0.25, 0.0, 1.0, None, 0.875)
        inventions = [
            {
                name: [probabilities[(number + at) % 5] for number in range(7)]
                for at, name in enumerate(columns)
            },
            *inventions,
        ]
    refused: Exception | None = None
    for invented in inventions if given is None else [columns_of(given)]:
        values = {name: stretched(column, rows) for name, column in invented.items()}
        table = message_table(values, rows, columns)
        try:
            targets_NL = scheme.targets(table)
            break
        except LabelError as error:
            refused = refused or error
        except Exception as error:
            findings.add(
                f"{shown} raised {type(error).__name__}: {quoted(str(error), 200)}. A column that it reads must be "
                "named by `columns`; a value that is no label is refused by a LabelError."
            )
            return None
    else:
        findings.add(
            f"{shown} raised {type(refused).__name__}: {quoted(str(refused), 300)} Hand over a table that it can read: "
            f"check_label_scheme({component.__name__}, table, …), a few rows with the columns {', '.join(columns)}."
        )
        return None
    if not _check_matrix(findings, targets_NL, rows, scheme, shown):
        return None
    if thorough:
        _check_unknown(findings, scheme, values, columns)
        _check_rows(findings, scheme, component(**arguments), table, targets_NL)
        check_missing_column(findings, "targets", scheme.targets, table, columns, LabelError)
        _check_wrong_value(findings, scheme, values, columns, "no such label")
        if scheme.soft:
            _check_wrong_value(findings, scheme, values, columns, "1.5")
    return values


def _check_matrix(findings: Findings, targets_NL: Any, rows: int, scheme: LabelScheme, what: str) -> bool:
    labels = len(scheme.names)
    is_array = isinstance(targets_NL, np.ndarray)
    if not is_array or targets_NL.shape != (rows, labels) or targets_NL.dtype != np.float32:
        findings.add(
            f"{what} gave {kind_of(targets_NL)}. A float32 array of shape ({rows}, {labels}) is wanted."
        )
        return False
    known = targets_NL[~np.isnan(targets_NL)]
    if scheme.soft:
        wrong, wanted = known[~((known >= 0) & (known <= 1))], "probabilities from 0 to 1"
    else:
        wrong, wanted = known[(known != 0) & (known != 1)], "0, 1"
    fractions = ((wrong > 0) & (wrong < 1)).any()
    hint = " If its labels are probabilities, the property `soft` must say so: True." if fractions else ""
    return findings.expect(
        not wrong.size,
        f"{what} holds {wrong[0] if wrong.size else ''} among its values. Wanted are {wanted}, and NaN for unknown."
        f"{hint}",
    )


def _check_unknown(
    findings: Findings, scheme: LabelScheme, values: dict[str, Any], columns: tuple[str, ...]
) -> None:
    if not columns:
        return
    empty = {name: pa.nulls(_ROWS, values[name].type) for name in columns}
    for what, nulls in (
        ("columns of nulls", empty),
        (
            "columns without a type, as files give them that hold nulls alone,",
            {n: pa.nulls(_ROWS) for n in columns},
        ),
    ):
        done, targets_NL = outcome(
            findings, f"targets() of {what}", partial(scheme.targets, message_table(nulls, _ROWS, columns))
        )
        if not done or not _check_matrix(findings, targets_NL, _ROWS, scheme, f"targets() of {what}"):
            return
        known = int((~np.isnan(targets_NL)).sum())
        if not findings.expect(
            known == 0,
            f"targets() of {what} holds {known} targets that are 0 or 1. Null means unknown: NaN is wanted, or the "
            "model learns from labels that nobody gave.",
        ):
            return


def _check_rows(
    findings: Findings, scheme: LabelScheme, fresh: LabelScheme, table: pa.Table, targets_NL: np.ndarray
) -> None:
    """Read once more, by another object, in other orders and amounts; one fault is enough."""
    everything = np.arange(len(targets_NL))
    order = np.random.default_rng(0).permutation(len(targets_NL))
    for by, rows, part, what in (
        (scheme, everything, table, "The same table was read once more"),
        (fresh, everything, table, "Another object with the same arguments read the table"),
        (scheme, order, table.take(pa.array(order)), "The rows were put into another order"),
        (scheme, everything, table.combine_chunks(), "The table was handed over in one chunk, not three"),
        (scheme, everything[7:8], table.slice(7, 1), "One row was handed over"),
        (scheme, everything[:0], table.slice(0, 0), "A table without rows was handed over"),
    ):
        done, again = outcome(findings, f"{what}: targets()", partial(by.targets, part))
        if not done:
            return
        if not isinstance(again, np.ndarray) or not np.array_equal(again, targets_NL[rows], equal_nan=True):
            shape = targets_NL[rows].shape
            findings.add(
                f"{what}: targets() gave {kind_of(again)}, not the same targets as before, {shape} float32. A row's "
                "targets must follow from its own values, whatever stands around it."
            )
            return


def _check_wrong_value(
    findings: Findings, scheme: LabelScheme, values: dict[str, Any], columns: tuple[str, ...], nonsense: str
) -> None:
    """Put a text that is no label into one column after the other: it must be named, not swallowed."""
    position = 17
    swallowed: list[str] = []
    tried = [name for name in columns if not pa.types.is_nested(values[name].type)][:3]
    for name in tried:
        column = values[name].cast(pa.string()).to_pylist()
        column[position] = nonsense
        table = message_table({**values, name: pa.array(column)}, _ROWS, columns)
        row = table["row"][position].as_py()
        what = f"targets() of a table with {nonsense!r} in row {row} of column {name!r}"
        try:
            scheme.targets(table)
        except LabelError as error:
            said = str(error)
            lacking = [
                label
                for label, pattern in (
                    (f"the file ({FILE})", re.escape(FILE)),
                    (f"the row in its file ({row}, from the column `row`)", rf"\b{row}\b"),
                    ("the column", re.escape(name)),
                    ("the value", re.escape(nonsense)),
                )
                if not re.search(pattern, said)
            ]
            if lacking:
                findings.add(
                    f"{what} raised LabelError: {quoted(said, 200)}. It does not name {', '.join(lacking)}, without "
                    "which nobody finds the value."
                )
                return
        except Exception as error:
            findings.add(
                f"{what} raised {type(error).__name__}: {quoted(str(error), 150)}. A LabelError that names file, row, "
                "column and value is wanted. (CSV files give every value as text.)"
            )
            return
        else:
            swallowed.append(name)
    findings.expect(
        not tried or len(swallowed) < len(tried),
        f"targets() of a table with {nonsense!r} in column {', '.join(map(repr, swallowed))} raised nothing. A slip in "
        "a file would become a wrong target: raise a LabelError that names file, row, column and value.",
    )
