"""Several models' scores of the same messages, brought into one order of rows and labels. N messages, L labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import DataError, LabelError
from tocsin.labels.names import other_labels
from tocsin.scores.arrays import repeated
from tocsin.scores.table import ScoresTable
from tocsin.text.ids import check_ids_join

__all__ = ["aligned_members", "with_labels_in_order"]

_SHOWN = 3


def aligned_members(tables: Sequence[ScoresTable], names: Sequence[str]) -> list[ScoresTable]:
    """Return the members' tables with rows and labels in the order of the first.

    Rows are matched by id, labels by name. A member without targets takes those of the others, and so it is with
    languages and slice columns: what one file says of a message holds for all.

    Args:
        tables: One a member.
        names: What messages call them: their files.

    Raises:
        LabelError: A member has other labels.
        DataError: An id stands twice, messages are missing, or targets disagree.
    """
    if not tables:
        raise DataError("An ensemble needs the scores of at least one member; none were given.")
    first = tables[0]
    ids = _ids(first, names[0])
    members = [first]
    for table, name in zip(tables[1:], names[1:], strict=True):
        ordered = with_labels_in_order(table, first.labels, f"{name}, beside {names[0]},")
        rows = _rows(ids, _ids(table, name), name, names[0])
        members.append(ordered.select(rows))
    labelled = [number for number, table in enumerate(members) if table.targets_NL is not None]
    for number in labelled[1:]:
        _check_targets(members[labelled[0]], members[number], names[labelled[0]], names[number])
    return [_completed(table, members) for table in members]


def with_labels_in_order(table: ScoresTable, labels: Sequence[str], whose: str) -> ScoresTable:
    """Return the table with its columns in the order of some labels.

    Args:
        table: Its scores.
        labels: L names.
        whose: What a message calls the table.

    Raises:
        LabelError: The table's labels are not those, whatever the order.
    """
    if table.labels == tuple(labels):
        return table
    if differing := other_labels(table.labels, labels, "lacks", "has"):
        raise LabelError(
            f"{whose} {differing}. Members may differ in the order of their labels, not in the labels: "
            "score models of the same label scheme."
        )
    order = [table.labels.index(name) for name in labels]
    changed: dict[str, Any] = {
        name: None if (values := getattr(table, name)) is None else values[:, order]
        for name in ("logits_NL", "probabilities_NL", "calibrated_NL", "targets_NL", "decisions_NL")
    }
    metadata = dict(table.metadata)
    if "train_prevalence" in metadata:
        try:
            shares = json.loads(metadata["train_prevalence"])
        except (ValueError, RecursionError):
            shares = None
        if not isinstance(shares, list) or len(shares) != len(table.labels):
            raise DataError(
                f"{whose} has a train_prevalence that is not a share for each of its {len(table.labels)} labels. Was "
                "the file's metadata edited? Write the scores anew."
            )
        metadata["train_prevalence"] = json.dumps([shares[i] for i in order])
    return replace(table, labels=tuple(labels), metadata=metadata, **changed)


def _ids(table: ScoresTable, name: str) -> pa.Array:
    ids = pa.array(table.ids, pa.string())
    twice = repeated(ids)
    if len(twice):
        raise DataError(
            f"{name} has {len(twice):,} ids in several rows: {_shown(twice.field('values'))}. Give every message "
            "an id of its own."
        )
    check_ids_join(ids, name)
    return ids


def _rows(wanted: pa.Array, found: pa.Array, name: str, first: str) -> np.ndarray:
    missing = wanted.filter(pc.invert(pc.is_in(wanted, found)))
    others = found.filter(pc.invert(pc.is_in(found, wanted)))
    if len(missing) or len(others):
        parts = []
        if len(missing):
            parts.append(
                f"{name} lacks {len(missing):,} of the {len(wanted):,} messages of {first}: {_shown(missing)}"
            )
        if len(others):
            parts.append(f"{name} has {len(others):,} messages that {first} has not: {_shown(others)}")
        raise DataError(f"{'; '.join(parts)}. Score every member on one and the same split.")
    return pc.index_in(wanted, found).to_numpy(zero_copy_only=False)


def _shown(ids: pa.Array) -> str:
    return ", ".join(map(repr, ids[:_SHOWN].to_pylist())) + (", …" if len(ids) > _SHOWN else "")


def _check_targets(one: ScoresTable, other: ScoresTable, name: str, other_name: str) -> None:
    assert one.targets_NL is not None
    assert other.targets_NL is not None
    a, b = one.targets_NL, other.targets_NL
    different = (a != b) & ~(np.isnan(a) & np.isnan(b))
    if different.any():
        row, label = (int(i) for i in np.argwhere(different)[0])
        said = ["unknown" if np.isnan(value) else f"{value:g}" for value in (a[row, label], b[row, label])]
        raise DataError(
            f"{name} and {other_name} disagree about {int(different.sum()):,} targets, the first of them label "
            f"{one.labels[label]!r} of message {one.ids[row]!r}: {said[0]} and {said[1]}. Score every member on "
            "one and the same data file."
        )


def _joint_langs(table: ScoresTable, members: Sequence[ScoresTable]) -> np.ndarray:
    """Return (N,) languages: of each message what any member says of it; DataError where two differ."""
    langs = np.full(len(table), None, dtype=object)
    for each in members:
        told = each.column("lang")
        for row, lang in enumerate(told):
            if lang is None or lang == langs[row]:
                continue
            if langs[row] is not None:
                raise DataError(
                    f"The members disagree about the language of message {table.ids[row]!r}: {langs[row]!r} and "
                    f"{lang!r}. Score every member on one and the same data file."
                )
            langs[row] = lang
    return langs


def _completed(table: ScoresTable, members: Sequence[ScoresTable]) -> ScoresTable:
    """Fill in what a table does not say of its messages and another does."""
    targets_NL = next((each.targets_NL for each in members if each.targets_NL is not None), None)
    langs = _joint_langs(table, members)
    slices = {name: values for each in reversed(members) for name, values in each.slices.items()}
    return replace(table, targets_NL=targets_NL, langs=langs, slices=slices)
