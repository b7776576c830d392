"""The bytes of a text file, block by block, whatever packs or encodes it.

A file is unpacked by its ending (.gz, .bz2, .zst), decoded, and freed of its byte-order mark. Memory is bounded by the
size of a block, whatever a hostile file unpacks to.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from tocsin.errors import ConfigError, DataError
from tocsin.text.reading import PACKED_ENDINGS, check_file, one_line

__all__ = [
    "LINE_BYTES",
    "MARK",
    "TextStream",
    "check_encoding",
    "closed_on_error",
    "inner_suffix",
    "lines_of",
    "marked",
    "unmarked",
]

LINE_BYTES = 1 << 24
"""Most bytes of one line of JSON, or of one row of a table."""

MARK = "\ufffe"
"""Begins what stands for bytes that Arrow could not take: a code point that Unicode keeps out of all text."""

_CHUNK = 1 << 20
_MOST_UNPACKED = 1 << 30  # bytes that any packed file may unpack to
_MOST_RATIO = 200  # of a larger one; tables of text pack to a twentieth at best
_MARK = MARK.encode()
_CR, _OWN = MARK + "R", MARK + "E"
_LONE_CR = re.compile(rb"\r(?!\r*\n)")
_ESCAPED = re.compile("[\udc80-\udcff]")
_MARKED = re.compile(MARK.encode() + rb"(R|E|[\xc4-\xc7][\x80-\xbf])")


def inner_suffix(path: Path) -> str:
    """Return the ending that says what a file holds, in lower case: ".csv" of a.csv and of a.csv.gz."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED_ENDINGS else suffix


def check_encoding(encoding: str | None) -> str | None:
    """Return the name of an encoding, or None for UTF-8.

    Raises:
        ConfigError: Python knows no text encoding of this name.
    """
    if encoding is None:
        return None
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, UnicodeError, ValueError, TypeError):
        raise ConfigError(
            f"encoding is {encoding!r}; wanted was a name such as utf-8, cp1252 (Windows), latin-1 or utf-16"
        ) from None
    return None if name in ("utf-8", "utf-8-sig") else name


class TextStream:
    """A file's bytes as UTF-8, without a byte-order mark. A context manager.

    Args:
        path: The file.
        encoding: How it is written; None: UTF-8, whose faults are left in it.

    Raises:
        DataError: The file is absent or empty, or of an encoding that was not named; while reading: it is torn, or
            unpacks to far more than a table would.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        check_file(path)
        self.path, self.encoding = path, encoding
        self._file = _opened(path)
        self._unpacked = 0
        self._most = max(_MOST_UNPACKED, _MOST_RATIO * path.stat().st_size)
        self._decoder: codecs.IncrementalDecoder | None = None
        if encoding is not None:
            # No surrogate escapes in UTF-16 and UTF-32: there half of a pair becomes U+FFFD, as in JSON.
            errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
            self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._first: bytes | None = None
        with closed_on_error(self):
            first = self._raw()
            if not first:
                raise DataError("the file is packed, and empty inside; write or fetch it again", file=path)
            _check_is_text(path, first)
            if self._decoder is None:
                _check_is_utf8(path, first)
            self._first = self._decoded(first).removeprefix(codecs.BOM_UTF8)

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def head(self) -> bytes:
        """How the stream begins, as long as nothing of it was read."""
        return self._first or b""

    def block(self) -> bytes:
        """Return about a megabyte more, or nothing at the end."""
        if self._first is not None:
            block, self._first = self._first, None
            if block:
                return block
        while raw := self._raw():
            if block := self._decoded(raw):
                return block
        return b""

    def _raw(self) -> bytes:
        try:
            raw = self._file.read(_CHUNK)
        except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
            raise DataError(
                f"torn or damaged after {self._unpacked:,} unpacked bytes ({one_line(error)}); write or fetch it again",
                file=self.path,
            ) from None
        self._unpacked += len(raw)
        if self._unpacked > self._most and self.path.suffix.lower() in PACKED_ENDINGS:
            raise DataError(
                f"unpacks to more than {self._most >> 20:,} MB, {_MOST_RATIO} times its size: damaged or hostile. If "
                "it is neither, unpack it first",
                file=self.path,
            )
        return bytes(raw)

    def _decoded(self, raw: bytes) -> bytes:
        if self._decoder is None:
            return raw
        try:
            # A decoder of several bytes a character may let half of a pair pass; what is no byte is not escaped.
            return self._decoder.decode(raw, final=False).encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise DataError(
                f"cannot be read as {self.encoding} ({one_line(error)}); name how it is written in its reader's option "
                "`encoding`, such as utf-16-le for UTF-16 without a byte-order mark",
                file=self.path,
            ) from None


@contextlib.contextmanager
def closed_on_error(opened: TextStream) -> Iterator[None]:
    """Close a stream when its own making fails: nobody else has it yet."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def lines_of(stream: TextStream, most: int = LINE_BYTES) -> Iterator[bytes]:
    """Yield the lines of a stream with their newlines; the last one may lack it.

    In a file whose first line ends in a carriage return alone, each of them ends a line.

    Raises:
        DataError: A line is longer than `most` bytes.
    """
    rest = b""
    number = 0
    old: bool | None = None
    while block := stream.block():
        if old is None:
            old = ends_in_carriage_return(block)
        lines = (rest + (block.replace(b"\r", b"\n") if old else block)).split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            if len(line) > most:
                break
            yield line + b"\n"
        else:
            line = rest
        if len(line) > most:
            raise DataError(
                f"line {number + 1} is longer than {most >> 20} MB; wanted was one message a line",
                file=stream.path,
            )
    if rest:
        yield rest


def ends_in_carriage_return(head: bytes) -> bool:
    """Tell whether lines end in a lone carriage return, as on old Macs, by the first end of a line."""
    at = head.find(b"\r")
    return at >= 0 and head[at + 1 : at + 2] not in (b"\n", b"") and b"\n" not in head[:at]


def marked(block: bytes) -> bytes:
    """Return a block as valid UTF-8 without lone carriage returns; `unmarked` gives back the bytes.

    The block must not end inside a character or in a carriage return.
    """
    if _MARK in block:
        block = block.replace(_MARK, _OWN.encode())
    if block.count(b"\r") != block.count(b"\r\n"):
        block = _LONE_CR.sub(_CR.encode(), block)
    if not _is_utf8(block):
        text = block.decode("utf-8", "surrogateescape")
        block = _ESCAPED.sub(lambda found: MARK + chr(0x100 + ord(found[0]) - 0xDC00), text).encode()
    return block


def unmarked(value: bytes) -> bytes:
    """Return the bytes that `marked` replaced."""

    def original(found: re.Match[bytes]) -> bytes:
        if found[1] == b"R":
            return b"\r"
        return _MARK if found[1] == b"E" else bytes([ord(found[1].decode()) - 0x100])

    return _MARKED.sub(original, value)


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    buffers = [None, pa.array([0, len(block)], pa.int64()).buffers()[1], pa.py_buffer(block)]
    try:  # faster than Python's decoder, and nothing is copied
        pa.Array.from_buffers(pa.large_binary(), 1, buffers).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _opened(path: Path) -> IO[bytes]:
    opener = _PACKED.get(path.suffix.lower())
    try:
        return path.open("rb") if opener is None else opener(path)  # type: ignore[operator]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot be read: {one_line(error)}", file=path) from None


def _zstandard(path: Path) -> IO[bytes]:
    # Arrow reports no end of a file: a stream that was cut gives what there is, and then an error.
    return io.BufferedReader(_ArrowBytes(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")), _CHUNK)


class _ArrowBytes(io.RawIOBase):
    def __init__(self, source: pa.NativeFile) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = self._source.read(len(buffer))
        buffer[: len(got)] = got
        return len(got)


_PACKED = {".gz": gzip.open, ".bz2": bz2.open, ".zst": _zstandard}


_BINARY = {
    b"\x1f\x8b": "packed by gzip; let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "packed by zstd; let its name end in .zst",
    b"BZh": "packed by bzip2; let its name end in .bz2",
    b"PK\x03\x04": "a zip archive or an Excel file; unpack it, or save its table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save its table as CSV",
    b"PAR1": "a Parquet file; let its name end in .parquet, or take the reader ParquetReader",
    b"ARROW1": "an Arrow file; let its name end in .arrow, or take the reader ArrowReader",
}


def _check_is_text(path: Path, head: bytes) -> None:
    """Refuse what is no text by the bytes that it begins with; a table may begin with such letters, and has no NUL."""
    for magic, said in _BINARY.items():
        if head.startswith(magic) and b"\0" in head[:4096]:
            raise DataError(f"the file is no text but {said}", file=path)


def _check_is_utf8(path: Path, head: bytes) -> None:
    """Refuse UTF-16 and UTF-32, with and without a byte-order mark; other encodings show in a row."""
    head = head[:4096]
    name = ""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        name = "utf-32"
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name = "utf-16"
    else:
        even, odd = head[0:400:2].count(0), head[1:400:2].count(0)
        half = len(head[:400]) // 2
        if half >= 4 and even + odd >= 0.4 * half:
            name = "utf-16-le" if odd > 4 * even else "utf-16-be" if even > 4 * odd else ""
    if name:
        raise DataError(
            f"the file is {name[:6].upper()}, not UTF-8; name the option `encoding: {name}` of its reader, or save it "
            "as UTF-8",
            file=path,
        )
