"""The reader of JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tocsin.errors import DataError
from tocsin.text.reading import (
    BATCH_ROWS,
    OnBadRow,
    Reader,
    check_columns,
    check_file,
    check_not_empty,
    count_lines,
    one_line,
)

__all__ = ["JsonLinesReader"]


class JsonLinesReader(Reader):
    """Reads files with one JSON object a line (.jsonl, .ndjson), UTF-8 with or without a byte-order mark.

    Blank lines are passed over and not counted. An absent key is null. A column holds one kind of value:
    text, numbers, true/false, lists or objects. A lone half of a surrogate pair (an emoji cut in two) becomes
    U+FFFD.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    _SAMPLE = 10_000

    def columns(self, path: Path) -> list[str]:
        """Return the keys of the first 10,000 lines, in the order of their first appearance."""
        names: dict[str, None] = {}
        for _, record in islice(self._records(path, lambda _: None), self._SAMPLE):
            names.update(dict.fromkeys(record))
        return list(names)

    def approximate_rows(self, path: Path) -> int | None:
        """Return the number of lines; blank ones make it too high."""
        return count_lines(path)

    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 16,384 rows, each column typed by its values; see `Reader.batches`."""
        if existing := self.columns(path):
            check_columns(path, columns, existing)
        rows = 0
        kinds: dict[str, str] = {}
        records = self._records(path, on_bad_row)
        while chunk := list(islice(records, BATCH_ROWS)):
            arrays = [
                self._array(
                    [record.get(name) for _, record in chunk], name, kinds, path, rows + 1, on_bad_row
                )
                for name in columns
            ]
            rows += len(chunk)
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        check_not_empty(path, rows)

    @staticmethod
    def _records(path: Path, on_bad_row: OnBadRow | None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, object); a line that is not an object goes to `on_bad_row` and is yielded empty."""
        check_file(path)
        row = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise DataError("the file is UTF-16; save it as UTF-8", file=path)
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                row += 1
                try:
                    # Decoded here: json.loads would take a line that holds NUL bytes for UTF-16.
                    record = json.loads(line.decode("utf-8"))
                    if not isinstance(record, dict):
                        raise ValueError(f"a JSON {_kind(record)}, not an object {{…}}")
                except (ValueError, RecursionError) as error:
                    torn = (
                        "; the file ends here without a newline: it is torn"
                        if not line.endswith(b"\n")
                        else ""
                    )
                    fault = DataError(
                        f"line {number} is not a JSON object: {error}{torn}", file=path, row=row
                    )
                    if on_bad_row is None:
                        raise fault from None
                    on_bad_row(fault)
                    record = {}
                yield row, record

    @staticmethod
    def _array(
        values: list[Any],
        column: str,
        kinds: dict[str, str],
        path: Path,
        first_row: int,
        on_bad_row: OnBadRow | None,
    ) -> pa.Array:
        """Return one column of a batch; a value of another kind than its column's is named by its row."""
        found = Counter(map(_kind, values))
        found.pop("null", None)
        if not found:
            return pa.nulls(len(values))
        # What most values of the first batch are is taken to be what was meant.
        wanted = kinds.setdefault(column, found.most_common(1)[0][0])
        if set(found) != {wanted}:
            for offset, value in enumerate(values):
                if (kind := _kind(value)) in (wanted, "null"):
                    continue
                fault = DataError(
                    f"column {column!r} holds a {kind} here, elsewhere a {wanted}",
                    file=path,
                    row=first_row + offset,
                )
                if on_bad_row is None:
                    raise fault
                on_bad_row(fault)
                values[offset] = None
        if wanted == "string":
            values = [None if value is None else _without_lone_surrogates(value) for value in values]
            return pa.array(values, pa.string())
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise DataError(
                f"column {column!r} cannot be held in one Arrow type: {one_line(error)} "
                f"(rows {first_row} to {first_row + len(values) - 1})",
                file=path,
                row=first_row + _first_refused(values),
            ) from None


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "value")


_KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
    dict: "object",
}


def _without_lone_surrogates(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _first_refused(values: list[Any]) -> int:
    """Return the offset of the first value that no Arrow type holds, or 0."""
    for offset, value in enumerate(values):
        try:
            pa.array([value])
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            return offset
    return 0
