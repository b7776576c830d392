"""Messages from files of records."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from tocsin.plugins import DataError, Reader, did_you_mean

__all__ = ["TemplateReader"]

_BATCH_ROWS = 10_000

OnBadRow = Callable[[DataError], None]


class TemplateReader(Reader):
    """Reads UTF-8 files of records: `name: value` lines, a blank line between messages.

    The columns are those of the first record; a record may leave some of them out.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".records",)

    def columns(self, path: Path) -> list[str]:
        """Return the names that the first record gives."""
        for _, lines in _records(path):
            return list(_fields(lines, path, row=1))
        raise DataError("the file holds no record", file=path)

    def batches(
        self,
        path: Path,
        columns: Sequence[str],
        on_bad_row: OnBadRow | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 10,000 rows, all values text; see `Reader.batches`."""
        known = self.columns(path)
        for name in columns:
            if name not in known:
                hint = did_you_mean(name, known)
                text = f"has no column {name!r}.{hint} Its columns: {', '.join(known)}"
                raise DataError(text, file=path)
        rows: list[dict[str, str]] = []
        for row, lines in _records(path):
            try:
                rows.append(_fields(lines, path, row))
            except DataError as error:
                if on_bad_row is None:
                    raise
                on_bad_row(error)
                rows.append({})  # a row of nulls: later rows keep their numbers
            if len(rows) == _BATCH_ROWS:
                yield _batch(rows, columns)
                rows = []
        if rows:
            yield _batch(rows, columns)


def _records(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Yield each record's number, from 1, and its lines."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path) from error
    row, lines = 1, []
    with file:
        for line in file:
            if line.strip():
                lines.append(line)
            elif lines:
                yield row, lines
                row, lines = row + 1, []
    if lines:
        yield row, lines


def _fields(lines: list[bytes], path: Path, row: int) -> dict[str, str]:
    """Return a record's values by name; DataError for a line that holds none."""
    fields = {}
    for line in lines:
        try:
            name, colon, value = line.decode("utf-8").partition(":")
        except UnicodeDecodeError:
            raise DataError("is not UTF-8 text", file=path, row=row) from None
        if not colon:
            text = f"{name.strip()!r:.40} has no colon; wanted `name: value`"
            raise DataError(text, file=path, row=row)
        fields[name.strip()] = value.strip()
    return fields


def _batch(rows: list[dict[str, str]], columns: Sequence[str]) -> pa.RecordBatch:
    values = [[row.get(name) for row in rows] for name in columns]
    arrays = [pa.array(column, pa.string()) for column in values]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
