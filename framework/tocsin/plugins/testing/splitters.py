"""The check of splitters. N messages."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from tocsin.errors import DataError
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.invented import OWN_COLUMNS, message_table
from tocsin.plugins.testing.surroundings import kind_of, outcome, quoted, undisturbed
from tocsin.plugins.testing.tables import (
    check_missing_column,
    columns_of,
    declared_columns,
    extra_columns,
    holds_columns,
)
from tocsin.text.splitters import SPLITS, Split, Splitter

__all__ = ["check_splitter"]

_ROWS = 500


@undisturbed()
def check_splitter(component: type[Splitter], table: pa.Table | None = None, /, **arguments: Any) -> None:
    """Check a splitter: one split a row, by what the messages hold and never by their position, and, unless its
    `whole_table` is true, not by what other messages hold.

    Args:
        component: The class.
        table: A few rows with the columns that it reads (and `text` and `lang` where they matter), for a splitter
            that no column of invented groups ("group 17") or of the words train, validation and test satisfies.
        arguments: Its constructor's arguments.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "splitter", arguments)
    if usable:
        columns = declared_columns(findings, component, arguments)
        if columns is not None and (table is None or holds_columns(findings, table, columns)):
            _check_splits(findings, component, arguments, columns, table)
    findings.conclude()


def _check_splits(
    findings: Findings,
    component: type[Splitter],
    arguments: dict[str, Any],
    columns: tuple[str, ...],
    given: pa.Table | None,
) -> None:
    splitter = component(**arguments)
    shown = f"split(a table of {_ROWS} messages with the columns {', '.join([*OWN_COLUMNS, *extra_columns(columns)])})"
    inventions: list[dict[str, Any]] = [
        {name: [f"group {number % 97}" for number in range(_ROWS)] for name in columns},
        {name: [*SPLITS, "train", "train"] for name in columns},
    ]
    split: Split | None = None
    refused: Exception | None = None
    for values in inventions if given is None else [columns_of(given)]:
        table = message_table(values, _ROWS, columns)
        try:
            split = splitter.split(table)
            break
        except DataError as error:
            refused = refused or error
        except Exception as error:
            findings.add(
                f"{shown} raised {type(error).__name__}: {quoted(str(error), 200)}. A column that it reads must be "
                "named by `columns`; what it cannot use is refused by a DataError."
            )
            return
    else:
        findings.add(
            f"{shown} raised {type(refused).__name__}: {quoted(str(refused), 300)} Hand over a table that it can "
            f"split: check_splitter({component.__name__}, table, …), a few rows with the columns "
            f"{', '.join(columns) or 'text'}."
        )
        return
    if not _check_split(findings, split, table.num_rows, shown):
        return
    assert split is not None
    _check_repeats(findings, splitter, component(**arguments), table, split.names)
    at = int(np.argmax(split.names != ""))
    done, one = outcome(findings, "split(a table of one message)", lambda: splitter.split(table.slice(at, 1)))
    if done:
        _check_split(findings, one, 1, "split(a table of one message)")
    check_missing_column(findings, "split", splitter.split, table, columns, DataError)


def _check_split(findings: Findings, split: Any, rows: int, what: str) -> bool:
    """Check the object that `split` returned, (N,) names and sentences."""
    if not isinstance(split, Split):
        findings.add(
            f"{what} returned {kind_of(split)}. A Split of tocsin.plugins is wanted: Split(names), or Split(names, "
            "crossing)."
        )
        return False
    names, sentences = split.names, split.crossing
    if not isinstance(names, np.ndarray) or names.shape != (rows,):
        findings.add(
            f"{what} gave names of {kind_of(names)}. A numpy array of shape ({rows},) is wanted, a name a row."
        )
        return False
    wrong = Counter(repr(name) for name in names.tolist() if name not in (*SPLITS, ""))
    if wrong:
        findings.add(
            f"{what} named the split {wrong.most_common(1)[0][0]} for {wrong.total()} of {rows} messages. Wanted are "
            "'train', 'validation', 'test', or '' for a message in none of them."
        )
    is_list = isinstance(sentences, list) and all(isinstance(sentence, str) for sentence in sentences)
    return (
        findings.expect(
            is_list,
            f"{what} gave as `crossing` {quoted(sentences)}. A list of sentences is wanted, an empty one where there "
            "is nothing to say.",
        )
        and not wrong
    )


def _check_repeats(
    findings: Findings, splitter: Splitter, fresh: Splitter, table: pa.Table, names: np.ndarray
) -> None:
    """Split once more, by another object, in another order, and a part of the rows; one fault is enough."""
    order = np.random.default_rng(0).permutation(len(names))
    half = len(names) // 2
    done, whole = outcome(findings, "whole_table", lambda: (splitter.whole_table, fresh.whole_table))
    if not done:
        return
    if not isinstance(whole[0], bool) or whole[0] is not whole[1]:
        findings.add(
            f"`whole_table` is {quoted(whole[0])}, then {quoted(whole[1])}. True or False is wanted, the same for each "
            "object with the same arguments: whether a row's split may depend on what other rows hold. Is a @property "
            "missing?"
        )
        return
    after = "The split must follow from what a message holds, for instance from a seeded hash (hashlib, not hash())"
    ways = [
        (splitter, np.arange(len(names)), "The same table was split once more", f"{after}."),
        (fresh, np.arange(len(names)), "Another object with the same arguments split the table", f"{after}."),
        (splitter, order, "The rows were sorted otherwise", f"{after}, never from its position."),
    ]
    if not whole[0]:
        ways.append(
            (
                splitter,
                np.arange(half),
                "The second half of the rows was left out",
                f"{after}, not from other messages; a splitter that must look at all of them, as shares of a sorted "
                "table do, says so: whole_table = True.",
            )
        )
    for by, rows, what, fix in ways:
        done, split = outcome(findings, f"{what}: split()", partial(by.split, table.take(pa.array(rows))))
        if not done or not _check_split(findings, split, len(rows), f"{what}: split()"):
            return
        again = split.names
        # A message may leave every split because of another one (its text stands in the test split).
        moved = (again != names[rows]) & (again != "") & (names[rows] != "")
        if moved.any():
            findings.add(f"{what}: {int(moved.sum())} of {len(rows)} messages came into another split. {fix}")
            return
