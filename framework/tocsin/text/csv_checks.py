"""What speaks against the way in which a delimited file was read: rows inside values, quotes inside quoted values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import DataError
from tocsin.text.reading import holds_bytes

__all__ = ["BACKSLASH", "RowShapes", "StrayQuotes"]

BACKSLASH = (
    'a quote inside a quoted value is written \\" here, where CSV doubles it (""); the reader\'s option '
    "`escape: '\\\\'` reads it so"
)
"""What to do about quotes inside values that a backslash stands before."""

_SAMPLE = 300  # rows that show what the columns hold
_MOST_SHAPES = 8
_ENOUGH = 20  # rows of which the columns' shapes are known well
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
        self._sampled = 0

    def swallowed(self, batch: pa.RecordBatch) -> tuple[int, int] | None:
        """Return (row in the batch, column) of the first value that holds a row, or None."""
        found: dict[int, list[int]] = {}
        for number, column in enumerate(batch.columns):
            if not holds_bytes(column, b"\n"):
                continue
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
        self._sampled = len(rows)
        shapes: list[set[bytes] | None] = []
        for column in batch.columns:
            values = [value or b"" for value in column.take(pa.array(rows, pa.int64())).to_pylist()]
            found = {_shape(value) for value in values}
            few = len(rows) > 1 and len(found) <= max(1, min(_MOST_SHAPES, len(rows) // 4))
            shapes.append(found if few else None)
            self._quoted = self._quoted or any(self._delimiter in value for value in values)
        self._shapes = shapes

    def _holds_a_row(self, value: bytes, column: int) -> bool:
        if self._count == 1:
            # Each line is a row. Only a file that quotes its delimiters, too, has shown what its quotes mean.
            return not self._quoted
        if value.count(self._delimiter) < self._count - 1:
            return False
        lines = [line.removesuffix(b"\r") for line in value.split(b"\n")]
        counts = [line.count(self._delimiter) for line in lines]
        wanted = [*([self._count - 1] * (len(lines) - 1)), column]
        needed = self._count - 1 - column  # delimiters after which the row that opened the quote was whole
        before = 0
        for at in range(1, len(lines)):
            before += counts[at - 1]
            if (
                before >= needed
                and counts[at] == wanted[at]
                and self._compared(lines[at].split(self._delimiter)) > 0
            ):
                return True
            # Where the shapes tell nothing, all lines must be rows, from the end of the first one on.
            if before == needed and counts[at:] == wanted[at:]:
                rest = b" ".join(lines[:at]).split(self._delimiter)[1:]
                rows = [line.split(self._delimiter) for line in lines[at:]]
                if self._compared(rest, column + 1) >= 0 and all(self._compared(row) >= 0 for row in rows):
                    return True
        return self._sampled < _ENOUGH and self._alike(lines[1:-1])

    def _alike(self, lines: list[bytes]) -> bool:
        """Tell whether lines are rows by themselves: a quote may have swallowed nearly all of a file.

        All have a row's delimiters, half of the columns have one shape in all of them, and one of these holds numbers.
        """
        rows = [line.split(self._delimiter) for line in lines]
        if len(rows) < 3 or any(len(row) != self._count for row in rows):
            return False
        shapes = [{_shape(field) for field in fields} for fields in zip(*rows, strict=True)]
        same = [found for found in shapes if len(found) == 1]
        return 2 * len(same) >= self._count and {b"9"} in same

    def _compared(self, fields: list[bytes], first: int = 0) -> int:
        """Return how many fields have the shape of their columns, from the column `first` on.

        One in four may have another, since a row may hold what no earlier one does; -1 where there are more.
        """
        count = others = 0
        for field, shapes in zip(fields, (self._shapes or [])[first:], strict=False):
            if shapes is not None and _shape(field) in shapes:
                count += 1
            elif shapes is not None:
                others += 1
        return count if others * 3 <= count else -1


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
        self._quotes = 0  # of the blocks before

    def look_at(self, block: bytes) -> None:
        """Look at a block of the file.

        Raises:
            DataError: Quotes inside values are written with a backslash, and no escape sign is named.
        """
        if self._escape is not None or b'"' not in block:
            return
        bytes_N = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(bytes_N == ord('"'))
        opens = (self._quotes + np.arange(len(quotes))) % 2 == 0
        self._quotes += len(quotes)
        inside = (quotes > 1) & (quotes < len(block) - 1)
        at = quotes[inside]
        around = np.zeros(256, bool)
        around[[ord('"'), self._delimiter, ord("\n"), ord("\r")]] = True
        goes_on = ~around[bytes_N[at + 1]]
        # An empty quoted value that goes on: two quotes begin a field, the first of them outside of all quotes.
        empty = (
            ~opens[inside]
            & (bytes_N[at - 1] == ord('"'))
            & np.isin(bytes_N[at - 2], (self._delimiter, ord("\n")))
        )
        odd = at[goes_on & (~around[bytes_N[at - 1]] | empty)]
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
