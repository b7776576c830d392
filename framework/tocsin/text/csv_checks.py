"""What speaks against the way in which a delimited file was read: rows inside values, quotes inside quoted values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import DataError

__all__ = ["BACKSLASH", "RowShapes", "StrayQuotes"]

BACKSLASH = (
    'a quote inside a quoted value is written \\" here, where CSV doubles it (""); the reader\'s option '
    "`escape: '\\\\'` reads it so"
)
"""What to do about quotes inside values that a backslash stands before."""

_SAMPLE = 1000  # rows that show what the columns hold
_MOST_SHAPES = 8
_WORDS = re.compile(rb"[^\W_]+|[\x80-\xff]+")
_SPACE = re.compile(rb"\s+")
_EXAMINED = 2000  # suspicious lines of a block that are looked at


class RowShapes:
    """Finds rows that a quoted value swallowed.

    Where a quote opens in one row and a quote of a later row closes it, all rows between are one value. It is told from
    a text of several lines by its lines: one of them has as many delimiters as a row, and what stands between them has
    the shapes (digits, letters, signs) of the columns' other values.

    Args:
        delimiter: The sign between two fields.
        columns: How many columns there are.
    """

    def __init__(self, delimiter: str, columns: int) -> None:
        self._delimiter = delimiter.encode()
        self._count = columns
        self._shapes: list[set[bytes] | None] | None = None
        self._quoted = False

    def swallowed(self, batch: pa.RecordBatch) -> tuple[int, int] | None:
        """Return (row in the batch, column) of the first value that holds a row, or None."""
        found: dict[int, list[int]] = {}
        for number, column in enumerate(batch.columns):
            mask = pc.match_substring(column, b"\n")
            if pc.any(mask).as_py():
                for place in np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)):
                    found.setdefault(int(place), []).append(number)
        if self._shapes is None:
            self._learn(batch, found)
        for at in sorted(found):
            for number in found[at]:
                value = batch.column(number)[at].as_py()
                if self._holds_a_row(value, number):
                    return at, number
        return None

    def _learn(self, batch: pa.RecordBatch, with_newlines: dict[int, list[int]]) -> None:
        rows = [at for at in range(min(batch.num_rows, _SAMPLE)) if at not in with_newlines]
        shapes: list[set[bytes] | None] = []
        for column in batch.columns:
            values = [value or b"" for value in column.take(pa.array(rows, pa.int64())).to_pylist()]
            found = {_shape(value) for value in values}
            few = len(rows) > 1 and len(found) <= max(1, min(_MOST_SHAPES, len(rows) // 4))
            shapes.append(found if few else None)
            self._quoted = self._quoted or any(self._delimiter in value for value in values)
        self._shapes = shapes

    def _holds_a_row(self, value: bytes, column: int) -> bool:
        lines = [line.removesuffix(b"\r") for line in value.split(b"\n")]
        if self._count == 1:
            # Each line is a row. Only a file that quotes its delimiters, too, has shown what its quotes mean.
            return not self._quoted
        counts = [line.count(self._delimiter) for line in lines]
        wanted = [*([self._count - 1] * (len(lines) - 1)), column]
        needed = self._count - 1 - column  # delimiters after which the row that opened the quote was whole
        if any(shapes is not None for shapes in self._shapes or ()):
            before = counts[0]
            for at in range(1, len(lines)):
                if (
                    before >= needed
                    and counts[at] == wanted[at]
                    and self._fits(lines[at], at < len(lines) - 1)
                ):
                    return True
                before += counts[at]
            return False
        # Nothing is known of the columns: then every line after the row that opened the quote must be a row.
        before = 0
        for at in range(len(lines) - 1):
            before += counts[at]
            if before == needed and counts[at + 1 :] == wanted[at + 1 :]:
                return True
        return False

    def _fits(self, line: bytes, whole: bool) -> bool:
        """Tell whether a line's fields have the shapes of their columns; of the last one the end is missing."""
        fields = line.split(self._delimiter)
        fields = fields if whole else fields[:-1]
        shapes = self._shapes or []
        known = [(field, shapes[at]) for at, field in enumerate(fields) if shapes[at] is not None]
        return all(_shape(field) in shape for field, shape in known if shape is not None)


def _shape(value: bytes) -> bytes:
    """Return what a value looks like: 9 for each run of digits, a of letters, x of both; spaces as one."""

    def kind(found: re.Match[bytes]) -> bytes:
        run = found[0]
        return b"9" if run.isdigit() else b"x" if any(byte in b"0123456789" for byte in run) else b"a"

    return _SPACE.sub(b" ", _WORDS.sub(kind, value[:200].strip().strip(b'"')))


class StrayQuotes:
    """Counts quoted values that go on after the quote that closed them, of which a reader drops quotes.

    Args:
        path: The file, for the error.
        delimiter: The sign between two fields.
        escape: The sign before a quote inside a value, or None.

    Attributes:
        count: Lines with such a value, at least.
    """

    def __init__(self, path: Path, delimiter: str, escape: str | None) -> None:
        self._path, self._escape = path, escape
        self._delimiter = ord(delimiter)
        sign = re.escape(delimiter.encode())
        self._field = re.compile(rb'(?:"(?:[^"]|"")*"([^%b]*)|[^%b]*)(?:%b|$)' % (sign, sign, sign))
        self.count = 0

    def look_at(self, block: bytes) -> None:
        """Look at a block of the file.

        Raises:
            DataError: Quotes inside values are written with a backslash, and no escape sign is named.
        """
        if self._escape is not None or b'"' not in block:
            return
        bytes_N = np.frombuffer(block, np.uint8)
        at = np.flatnonzero(bytes_N[1:-1] == ord('"')) + 1
        around = np.array([ord('"'), self._delimiter, ord("\n"), ord("\r")], np.uint8)
        odd = at[~np.isin(bytes_N[at + 1], around) & ~np.isin(bytes_N[at - 1], around)]
        done = -1
        for position in odd[:_EXAMINED].tolist():
            if position <= done:
                continue
            start, done = block.rfind(b"\n", 0, position) + 1, block.find(b"\n", position)
            done = len(block) if done < 0 else done
            line = block[start:done].removesuffix(b"\r")
            rests = [found[1] for found in self._field.finditer(line) if found[1]]
            if not rests:
                continue
            self.count += 1
            if b'\\"' in line:
                raise DataError(BACKSLASH, file=self._path)
