"""The check of readers of message files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tocsin.plugins.signatures import parameters_of
from tocsin.plugins.testing.batches import check_amount, check_batches, difference, row_texts
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.damage import Attempt, check_bad_row, check_refused, check_torn
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.surroundings import kind_of, outcome, quoted, undisturbed
from tocsin.text.readers import Reader

__all__ = ["check_reader"]


@undisturbed()
def check_reader(component: type[Reader], path: Path, /, **arguments: Any) -> None:
    """Check a reader: exactly the columns asked for, in file order, again and again, and errors that name the file.

    Args:
        component: The class.
        path: A small file that it reads, of two rows or more. Copies of it are cut and damaged.
        arguments: Its constructor's arguments.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "reader", arguments)
    if usable:
        _check_suffixes(findings, component)
        path = Path(path)
        if findings.expect(path.is_file(), f"The file to check with, {path}, does not exist."):
            _check_reading(findings, component, arguments, path)
    findings.conclude()


def _check_suffixes(findings: Findings, component: type[Reader]) -> None:
    suffixes = component.suffixes
    if not isinstance(suffixes, tuple) or not all(
        isinstance(suffix, str) and suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes
    ):
        findings.add(
            f"`suffixes` is {quoted(suffixes)}. A tuple of endings in lower case with their dot is wanted, such as "
            '(".parquet", ".pq"), or () for a reader that is chosen by name alone.'
        )
        return
    required = [name for name, option in parameters_of(component).items() if option.required]
    findings.expect(
        not (suffixes and required),
        f"`suffixes` is {suffixes!r}, so that a file's name chooses this reader and it is built without arguments; but "
        f"{', '.join(required)} has no default. Give one, or set suffixes = ().",
    )


def _check_reading(
    findings: Findings, component: type[Reader], arguments: dict[str, Any], path: Path
) -> None:
    reader = component(**arguments)
    done, columns = outcome(findings, f"columns({path.name})", lambda: reader.columns(path))
    if not done:
        return
    if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
        findings.add(
            f"columns({path.name}) gave {quoted(columns)}. A list of the file's column names is wanted."
        )
        return
    what = f"batches({path.name}, {quoted(columns)})"
    done, batches = outcome(findings, what, lambda: reader.batches(path, columns))
    if not done:
        return
    if not isinstance(batches, Iterator):
        findings.add(
            f"{what} gave {kind_of(batches)}. An iterator is wanted that holds one batch at a time, never the whole "
            "file: write `yield batch`."
        )
        return
    done, given = outcome(findings, what, lambda: list(batches))
    if not done or not check_batches(findings, what, given, columns):
        return
    rows = row_texts(given)
    if not findings.expect(
        len(rows) > 1, f"{what} gave {len(rows)} rows. Hand over a file that holds two or more."
    ):
        return
    _check_choice(findings, component, arguments, path, columns, rows)
    check_amount(findings, f"approximate_rows({path.name})", partial(reader.approximate_rows, path))
    _check_unknown_column(findings, reader, path, columns)
    _check_damaged(findings, reader, path, columns, rows)


def _check_choice(
    findings: Findings,
    component: type[Reader],
    arguments: dict[str, Any],
    path: Path,
    columns: list[str],
    rows: list[str],
) -> None:
    """Read once more, by another object, and other columns; one fault is enough."""
    reader = component(**arguments)
    for way, by in (
        ("once more", reader),
        ("by another object with the same arguments", component(**arguments)),
    ):
        for _ in range(2):
            done, batches = outcome(findings, f"{path.name} read {way}", partial(_listed, by, path, columns))
            if not done:
                return
            if row_texts(batches) != rows:
                findings.add(
                    f"{path.name} read {way} gave other rows: {difference(rows, row_texts(batches))}. A file is read "
                    "from its beginning each time; keep no place in it, and no open file, on the object."
                )
                return
    whole = {name: [row[name] for row in _dicts(reader, path, [*columns])] for name in columns}
    for chosen in (columns[-1:], list(reversed(columns))):
        what = f"batches({path.name}, {quoted(chosen)})"
        done, batches = outcome(findings, what, partial(_listed, reader, path, chosen))
        if not done or not check_batches(findings, what, batches, chosen):
            return
        part = {name: [row[name] for batch in batches for row in batch.to_pylist()] for name in chosen}
        for name in chosen:
            if repr(part[name]) != repr(whole[name]):
                findings.add(
                    f"{what} gave for {name!r} other values than batches({path.name}, {quoted(columns)}): "
                    f"{difference([*map(repr, whole[name])], [*map(repr, part[name])])}. Values must stay under "
                    "their column's name, whichever columns are asked for."
                )
                return


def _listed(reader: Reader, path: Path, columns: list[str]) -> list[Any]:
    return list(reader.batches(path, columns))


def _dicts(reader: Reader, path: Path, columns: list[str]) -> list[dict[str, Any]]:
    return [row for batch in reader.batches(path, columns) for row in batch.to_pylist()]


def _check_unknown_column(findings: Findings, reader: Reader, path: Path, columns: list[str]) -> None:
    near = max(columns, key=len)
    slip = near[:-1] if len(near) > 3 and near[:-1] not in columns else f"{near}_"
    what = f"batches({path.name}, {[slip]!r}), a column that the file does not hold,"
    error = _attempt(reader, path, [slip]).error
    if not check_refused(findings, what, path.name, error):
        return
    said = re.findall(r"\w+", str(error).replace(str(path), ""))
    lacking = [name for name in (slip, near) if not set(re.findall(r"\w+", name)) <= set(said)]
    findings.expect(
        not lacking,
        f"{what} raised: {quoted(str(error), 150)}. It does not name {' and '.join(map(repr, lacking))}. Name the "
        f'column asked for and the closest one that there is: "no column {slip!r}. Did you mean {near!r}?"',
    )


def _attempt(reader: Reader, path: Path, columns: list[str], skip: bool = False) -> Attempt:
    attempt = Attempt()
    try:
        batches = reader.batches(path, columns, attempt.bad.append) if skip else reader.batches(path, columns)
        for batch in batches:
            attempt.rows += row_texts([batch])
    except Exception as error:
        attempt.error = error
    return attempt


def _check_damaged(
    findings: Findings, reader: Reader, path: Path, columns: list[str], rows: list[str]
) -> None:
    data = path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="tocsin-check-") as folder:
        copy = Path(folder) / path.name

        def read(content: bytes, skip: bool = False) -> Attempt:
            copy.write_bytes(content)
            return _attempt(reader, copy, columns, skip)

        for what, content in (("a file that does not exist", None), ("an empty file (0 bytes)", b"")):
            if content is not None:
                copy.write_bytes(content)
            errors = {
                f"columns({what})": _raised(lambda: reader.columns(copy)),
                f"batches({what}, {quoted(columns)})": _attempt(reader, copy, columns).error,
                f"batches({what}, {quoted(columns)}, on_bad_row)": _attempt(
                    reader, copy, columns, True
                ).error,
            }
            if not all(check_refused(findings, done, copy.name, error) for done, error in errors.items()):
                break
        check_torn(findings, f"batches({path.name}, …)", path.name, data, rows, read)
        check_bad_row(findings, f"batches({path.name}, …)", path.name, data, rows, read, keeps_place=True)


def _raised(action: Callable[[], Any]) -> Exception | None:
    try:
        action()
    except Exception as error:
        return error
    return None
