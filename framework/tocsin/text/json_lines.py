"""The reader of JSON lines, and of arrays of objects."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tocsin.errors import DataError
from tocsin.text.reading import (
    BATCH_ROWS,
    BadRows,
    OnBadRow,
    Reader,
    check_not_empty,
    count_lines,
    find_columns,
    one_line,
    stripped_names,
    warn_of_header,
)
from tocsin.text.streams import LINE_BYTES, TextStream, check_encoding, inner_suffix, lines_of

__all__ = ["JsonLinesReader"]

_ENCODING = "save the file as UTF-8, or name how it is written in its reader's option `encoding`"


class JsonLinesReader(Reader):
    """Reads files with one JSON object a line, or with one array of objects (.jsonl, .ndjson, .json; also packed:
    .jsonl.gz, .jsonl.zst).

    Blank lines are passed over and not counted. An absent key is null. A column holds one kind of value:
    text, numbers, true/false, lists or objects. A lone half of a surrogate pair (an emoji cut in two) becomes
    U+FFFD. What is nested is named by its path: `user.name`, or `referenced_tweets.0.text` for the first of a list;
    null where an object does not have it. A line, or an object of an array, may hold at most 16 MB.

    Args:
        encoding: How the file is written, such as utf-16. Null: UTF-8, with or without a byte-order mark.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")

    _SAMPLE = 10_000

    def __init__(self, encoding: str | None = None) -> None:
        self.encoding = check_encoding(encoding)

    def columns(self, path: Path) -> list[str]:
        """Return the keys of the first 10,000 objects, in the order of their first appearance."""
        names: dict[str, None] = {}
        for _, record in islice(self._records(path, lambda _: None), self._SAMPLE):
            names.update(dict.fromkeys(record))
        return stripped_names([_without_lone_surrogates(name) for name in names])

    def approximate_rows(self, path: Path) -> int | None:
        """Return the number of lines; blank ones make it too high. None for an array, and for a packed file."""
        lines = count_lines(path)
        return None if lines == 0 or inner_suffix(path) == ".json" else lines

    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 16,384 rows, each column typed by its values; see `Reader.batches`."""
        getters = self._getters(path, columns)
        bad = BadRows(path, on_bad_row)
        rows = 0
        kinds: dict[str, str] = {}
        records = self._records(path, bad.hook)
        while chunk := list(islice(records, BATCH_ROWS)):
            arrays = [
                self._array([get(record) for _, record in chunk], name, kinds, path, rows + 1, bad.hook)
                for name, get in zip(columns, getters, strict=True)
            ]
            rows += len(chunk)
            yield pa.RecordBatch.from_arrays(arrays, names=[*map(_without_lone_surrogates, columns)])
        check_not_empty(path, rows)
        bad.check(rows)

    def _getters(self, path: Path, columns: Sequence[str]) -> list[Callable[[dict[str, Any]], Any]]:
        """Return what finds each column in an object, checked on the first objects of the file."""
        sample = [record for _, record in islice(self._records(path, lambda _: None), self._SAMPLE)]
        existing = list(dict.fromkeys(key for record in sample for key in record))
        if not existing:  # no line can be read: reading them says why
            return [partial(_at_key, name) for name in columns]
        nested = {name: keys for name in columns if (keys := _nested(name, existing, sample))}
        flat = [name for name in columns if name not in nested]
        names = [_without_lone_surrogates(name) for name in existing]
        places = dict(zip(flat, find_columns(path, flat, names), strict=True))
        warn_of_header(path, existing)
        return [
            partial(_at_path, nested[name]) if name in nested else partial(_at_key, existing[places[name]])
            for name in columns
        ]

    def _records(self, path: Path, on_bad_row: OnBadRow | None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, object); a line that is not an object goes to `on_bad_row` and is yielded empty."""
        with TextStream(path, self.encoding) as stream:
            for row, (where, value) in enumerate(_values(stream), start=1):
                if isinstance(value, dict):
                    yield row, value
                    continue
                said = value if isinstance(value, _Fault) else f"a JSON {_kind(value)}, not an object {{…}}"
                fault = DataError(f"{where} is not a JSON object: {said}", file=path, row=row)
                if on_bad_row is None:
                    raise fault
                on_bad_row(fault)
                yield row, {}

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


class _Fault(str):
    """What is wrong with a line."""


def _values(stream: TextStream) -> Iterator[tuple[str, Any]]:
    """Yield what each line holds, or each place of an array, with its place in words; a fault for what is no JSON."""
    if re.match(rb"\s*\[\s*[{\]]", stream.head):
        for item, value in enumerate(_array_values(stream), start=1):
            yield f"value {item} of the array", value
        return
    for number, line in enumerate(lines_of(stream), start=1):
        if line.strip():
            yield f"line {number}", _value_of(line)


def _value_of(line: bytes) -> Any:
    try:
        # Decoded here: json.loads would take a line that holds NUL bytes for UTF-16.
        return json.loads(line.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        return _Fault(f"{error}; {_ENCODING}")
    except (ValueError, RecursionError) as error:
        torn = "; the file ends here without a newline: it is torn" if not line.endswith(b"\n") else ""
        whole = "; wanted was one object a line, or one array of objects" if line.strip() == b"{" else ""
        return _Fault(f"{error}{torn}{whole}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; refuse one whose keys do not say which of two values is meant.

    Raises:
        ValueError: A key stands twice, with different values.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if type(found[key]) is not type(value) or found[key] != value:
                raise ValueError(f"the key {key!r} stands twice, with different values")
    return found


def _array_values(stream: TextStream) -> Iterator[Any]:
    """Yield the values of one array, about a megabyte of it in memory at a time.

    Raises:
        DataError: It is torn or no array: nobody can tell where its next value begins.
    """
    decode = json.JSONDecoder(object_pairs_hook=_object).raw_decode
    text = _ArrayText(stream)
    text.skip("")
    text.at += 1  # the opening bracket
    item = 0
    while (sign := text.skip("," if item else "")) != "]":
        item += 1
        while True:
            try:
                if not sign:
                    raise ValueError("the file ends inside the array: it is torn")
                value, end = decode(text.text, text.at)
            except (ValueError, RecursionError) as error:
                small = len(text.text) - text.at <= LINE_BYTES
                if isinstance(error, ValueError) and small and text.more():
                    continue
                raise DataError(
                    f"value {item} of the array cannot be read ({one_line(error)}); write or fetch it again",
                    file=stream.path,
                    row=item,
                ) from None
            # A number that ends where the text ends may go on.
            if end < len(text.text) or not text.more():
                break
        text.at = end
        yield value
    text.at += 1
    if rest := text.skip(""):
        raise DataError(f"something follows the array: {rest!r}", file=stream.path, row=item)


class _ArrayText:
    """The text of an array from a place on; `at` is that place in `text`."""

    def __init__(self, stream: TextStream) -> None:
        self.text, self.at = "", 0
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def more(self) -> bool:
        """Read on; tell whether there was more."""
        block = self._stream.block()
        try:
            decoded = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise DataError(
                f"not UTF-8 text ({one_line(error)}); {_ENCODING}", file=self._stream.path
            ) from None
        self.text, self.at = self.text[self.at :] + decoded, 0
        return bool(block)

    def skip(self, signs: str) -> str:
        """Pass over white space and these signs; return the next one, or nothing at the end."""
        signs += " \t\r\n"
        while True:
            while self.at < len(self.text) and self.text[self.at] in signs:
                self.at += 1
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]


def _nested(name: str, existing: Sequence[str], sample: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the keys of a path such as user.name where the first objects have it; nothing for a plain column."""
    parts = name.split(".")
    if name in existing or len(parts) < 2:
        return ()
    for size in range(len(parts) - 1, 0, -1):
        keys = (".".join(parts[:size]), *parts[size:])
        if keys[0] in existing and any(_at_path(keys, record) is not None for record in sample):
            return keys
    return ()


def _at_key(key: str, record: dict[str, Any]) -> Any:
    return record.get(key)


def _at_path(keys: tuple[str, ...], record: dict[str, Any]) -> Any:
    value: Any = record
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


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
