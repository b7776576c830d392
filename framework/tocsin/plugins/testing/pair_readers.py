"""The check of readers of parallel sentences."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tocsin.plugins.testing.batches import check_amount, check_batches, difference, row_texts
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.damage import Attempt, check_bad_row, check_refused, check_torn
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.surroundings import (
    check_arguments_remembered,
    kind_of,
    outcome,
    quoted,
    undisturbed,
)
from tocsin.text.pairs import PAIR_COLUMNS, PairReader

__all__ = ["check_pair_reader"]


@undisturbed()
def check_pair_reader(component: type[PairReader], /, **arguments: Any) -> None:
    """Check a reader of parallel sentences: a stream of (english, text, lang, source), and errors that name the file.

    Args:
        component: The class.
        arguments: Its constructor's arguments. Those that name an existing file are found among them (a path, or a
            list of paths); copies of these files are cut and damaged. They should hold two pairs or more.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "pair_reader", arguments)
    if usable and check_arguments_remembered(findings, component, arguments):
        _check_pairs(findings, component, arguments)
    findings.conclude()


def _check_pairs(findings: Findings, component: type[PairReader], arguments: dict[str, Any]) -> None:
    reader = component(**arguments)
    done, batches = outcome(findings, "batches()", reader.batches)
    if not done:
        return
    if not isinstance(batches, Iterator):
        findings.add(
            f"batches() gave {kind_of(batches)}. An iterator is wanted that holds one batch at a time, never the whole "
            "corpus: write `yield batch`."
        )
        return
    done, given = outcome(findings, "Reading all of batches()", lambda: list(batches))
    if not done or not check_batches(findings, "batches()", given, PAIR_COLUMNS):
        return
    for number, batch in enumerate(given, start=1):
        for name in PAIR_COLUMNS:
            column = batch.column(name)
            text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            if not text or column.null_count:
                holds = f"{column.null_count} nulls" if text else f"values of type {column.type}"
                findings.add(
                    f"batches() gave in batch {number} a column {name!r} with {holds}. Strings are wanted, none of "
                    'them null; a pair without one of its sides is a bad row, and an unknown source is "".'
                )
                return
    rows = row_texts(given)
    if not findings.expect(
        len(rows) > 1, f"batches() gave {len(rows)} pairs. Hand over files that hold two or more."
    ):
        return
    check_amount(findings, "approximate_pairs()", reader.approximate_pairs)
    _, files = outcome(findings, "files()", lambda: reader.files())
    if not isinstance(files, list | None) or not all(isinstance(file, Path) for file in files or ()):
        findings.add(
            f"files() gave {quoted(files)}. A list of Path is wanted: caches of pairs are keyed by these files' bytes."
        )
    for way, by in (
        ("once more", reader),
        ("by another object with the same arguments", component(**arguments)),
    ):
        done, again = outcome(findings, f"Reading all pairs {way}", partial(_all_rows, by))
        if not done:
            return
        if again != rows:
            findings.add(
                f"Reading all pairs {way} gave other ones: {difference(rows, again)}. The files are read from their "
                "beginning each time; keep no place in them, and no open file, on the object."
            )
            return
    for path in _files(arguments):
        _check_pair_file(findings, component, arguments, path, rows)


def _all_rows(reader: PairReader) -> list[str]:
    return row_texts(list(reader.batches()))


def _check_pair_file(
    findings: Findings, component: type[PairReader], arguments: dict[str, Any], path: Path, rows: list[str]
) -> None:
    """Put copies in the place of one file: missing, empty, cut, damaged."""
    data = path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="tocsin-check-") as folder:
        copy = Path(folder) / path.name
        changed = {name: _with_file(value, path, copy) for name, value in arguments.items()}

        def read(content: bytes | None, skip: bool = False) -> Attempt:
            if content is not None:
                copy.write_bytes(content)
            attempt = Attempt()
            try:
                reader = component(**changed)
                batches = reader.batches(attempt.bad.append) if skip else reader.batches()
            except Exception as error:
                findings.add(
                    f"With a file that does not exist, the constructor or batches() raised {type(error).__name__} "
                    "before the first batch was asked for. Open files in a generator (`yield`): a config is parsed on "
                    "machines without the data."
                )
                attempt.error = error
                return attempt
            try:
                for batch in batches:
                    attempt.rows += row_texts([batch])
            except Exception as error:
                attempt.error = error
            return attempt

        faults = len(findings.faults)
        missing = read(None)
        if len(findings.faults) > faults:
            return
        if check_refused(findings, "Reading a file that does not exist", copy.name, missing.error):
            check_refused(findings, "Reading an empty file (0 bytes)", copy.name, read(b"").error)
        check_torn(findings, f"Reading {path.name}", path.name, data, rows, read)
        check_bad_row(findings, f"Reading {path.name}", path.name, data, rows, read, keeps_place=False)


def _files(arguments: dict[str, Any]) -> list[Path]:
    """Return the existing files that arguments name, each once."""
    named = [one for value in arguments.values() for one in (value if isinstance(value, list) else [value])]
    paths = [Path(one).expanduser() for one in named if isinstance(one, str) and len(one) < 4096]
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def _with_file(value: Any, path: Path, copy: Path) -> Any:
    if isinstance(value, list):
        return [_with_file(one, path, copy) for one in value]
    return str(copy) if isinstance(value, str) and Path(value).expanduser() == path else value
