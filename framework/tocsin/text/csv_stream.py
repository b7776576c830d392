"""A delimited file as Arrow can take it: without its header, in UTF-8, and with a last row that shows where it ends."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tocsin.errors import DataError
from tocsin.text.csv_checks import StrayQuotes
from tocsin.text.streams import (
    MARK,
    TextStream,
    closed_on_error,
    ends_in_carriage_return,
    inner_suffix,
    marked,
)

__all__ = ["END", "CsvDialect", "CsvStream", "lines_of_row"]

END = (MARK + "Z").encode()
"""The value of every field of the row that is added at the end: a quote that is never closed would swallow it."""

_HEADER_BYTES = 1 << 22
_SNIFFED = "\t,;|"


@dataclass(frozen=True)
class CsvDialect:
    """How a delimited file is written.

    Attributes:
        delimiter: The sign between two fields; None: by the file's ending, or its header.
        quotes: Whether a quote opens a value.
        escape: The sign before a quote inside a value, or None where it is doubled.
        encoding: Its encoding; None: UTF-8.
        column_names: The columns of a file without a header, or None.
    """

    delimiter: str | None = None
    quotes: bool = True
    escape: str | None = None
    encoding: str | None = None
    column_names: tuple[str, ...] | None = None

    def delimiter_of(self, path: Path, header: str) -> str:
        """Return the sign between two fields of a file."""
        if self.delimiter is not None:
            return self.delimiter
        suffix = inner_suffix(path)
        if suffix in (".csv", ".tsv", ".tab"):
            return "," if suffix == ".csv" else "\t"
        return next((sign for sign in _SNIFFED if sign in header), ",")

    def rows(self, lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
        """Return a reader of rows, as Arrow reads them."""
        return csv.reader(
            lines,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE,
            escapechar=self.escape,
            doublequote=True,
        )


class CsvStream:
    """What Arrow reads of a file: its rows, then one of `END`s. A context manager.

    Attributes:
        names: The columns, as the header writes them.
        delimiter: The sign between two fields.
        changed: Whether `marked` had anything to replace so far.
        stray: Quotes inside quoted values, counted so far; None where quotes mean nothing.

    Raises:
        DataError: The file cannot be opened or its header not be read.
    """

    closed = False  # Arrow asks

    def __init__(self, path: Path, dialect: CsvDialect) -> None:
        self.path, self.dialect = path, dialect
        self._source = TextStream(path, dialect.encoding)
        self._held = b""
        self._ended = False
        self.changed = False
        with closed_on_error(self._source):
            self._begin()

    def _begin(self) -> None:
        head = self._source.block()
        self._old = ends_in_carriage_return(head)
        while not self._has_line(head) and len(head) < _HEADER_BYTES and (more := self._source.block()):
            head += more
        head = head.replace(b"\r", b"\n") if self._old else head
        self.delimiter = self.dialect.delimiter_of(self.path, _first_line(head).decode("utf-8", "replace"))
        self.names, size = self._header(head)
        self._ready = self._prepared(head[size:])
        self._lead = head[:size]
        quoted = self.dialect.quotes
        self.stray = StrayQuotes(self.path, self.delimiter, self.dialect.escape) if quoted else None

    def __enter__(self) -> CsvStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end of the file only."""
        parts, length = [self._ready], len(self._ready)
        while length < size and not self._ended:
            block = self._source.block()
            if block:
                part = self._prepared(block.replace(b"\r", b"\n") if self._old else block)
            else:
                self._ended = True
                part = self._marked(self._held + b"\n") + self._last_row()
                self._held = b""
            parts.append(part)
            length += len(part)
        whole = b"".join(parts)
        whole, self._ready = whole[:size], whole[size:]
        if self.stray is not None:
            self.stray.look_at(whole)
        return whole

    def lines(self) -> Iterator[str]:
        """Yield the physical lines from the header on, marked; for a stream of which nothing was read."""
        rest = self._lead
        while block := self.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace") + "\n"

    @staticmethod
    def _has_line(head: bytes) -> bool:
        return bool(_first_line(head)) and (b"\n" in head.lstrip() or b"\r" in head.lstrip())

    def _last_row(self) -> bytes:
        return self.delimiter.encode().join([END] * len(self.names)) + b"\n"

    def _header(self, head: bytes) -> tuple[list[str], int]:
        """Return the columns' names, and how many bytes of the head their row takes with what stands before it."""
        if self.dialect.column_names is not None:
            return list(self.dialect.column_names), 0
        lines = [line + b"\n" for line in head.split(b"\n")]
        try:
            rows = self.dialect.rows((line.decode("utf-8") for line in lines), self.delimiter)
            header = next((row for row in rows if row), None)
        except csv.Error as error:
            raise DataError(f"the header cannot be read as CSV: {error}", file=self.path) from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"the header is not UTF-8 text (byte {error.object[error.start]:#04x}); name the option `encoding` of "
                "its reader, such as `encoding: cp1252` for files of Windows, or save the file as UTF-8",
                file=self.path,
            ) from None
        if header is None:
            raise DataError("the file holds blank lines only; it needs a header and rows", file=self.path)
        used: int = rows.line_num  # type: ignore[attr-defined]
        return header, sum(len(line) for line in lines[:used])

    def _prepared(self, block: bytes) -> bytes:
        """Return a block marked, less what may be the beginning of something: it goes before the next one."""
        block = self._held + block
        size = len(block)
        while size and block[size - 1 : size] == b"\r":
            size -= 1
        if escape := self.dialect.escape:
            while size and block[size - 1 : size] == escape.encode():
                size -= 1
        # A character is at most four bytes; of one that is cut, the first byte says so.
        for back in range(1, min(4, size + 1)):
            byte = block[size - back]
            if byte >= 0xC0:
                size -= back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
                break
            if byte < 0x80:
                break
        self._held = block[size:]
        return self._marked(block[:size])

    def _marked(self, block: bytes) -> bytes:
        whole = marked(block)
        self.changed = self.changed or whole is not block
        escape = self.dialect.escape
        return whole if escape is None else _escaped(whole, escape.encode(), self.delimiter.encode())


def _escaped(block: bytes, escape: bytes, delimiter: bytes) -> bytes:
    """Double each escape sign that stands before none of the signs that it can escape: Arrow would drop it."""
    special = b'"\r\n' + delimiter + escape

    def kept(found: re.Match[bytes]) -> bytes:
        return found[0] if found[1] in special else escape + found[0]

    return re.sub(re.escape(escape) + b"(.)", kept, block, flags=re.DOTALL)


def _first_line(head: bytes) -> bytes:
    return next((line for line in head.splitlines() if line.strip()), b"")


def lines_of_row(path: Path, dialect: CsvDialect, row: int) -> tuple[int, int]:
    """Return the physical lines, counted from 1, in which a row begins and ends; (0, 0) where it cannot be told."""
    limit = csv.field_size_limit(1 << 27)
    try:
        with CsvStream(path, dialect) as stream:
            rows = dialect.rows(stream.lines(), stream.delimiter)
            number = -1 if dialect.column_names is None else 0
            before = 0
            for fields in rows:
                number += bool(fields)
                if fields and number == row:
                    end: int = rows.line_num  # type: ignore[attr-defined]
                    return before + 1, end
                before = rows.line_num  # type: ignore[attr-defined]
    except csv.Error:
        pass
    finally:
        csv.field_size_limit(limit)
    return 0, 0
