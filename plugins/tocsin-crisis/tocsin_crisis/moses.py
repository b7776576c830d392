"""Two files of aligned lines, as OPUS ships them."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa

from tocsin.plugins import ConfigError, DataError, OnBadRow, PairReader, check_file, resolve_data_path
from tocsin_crisis.languages import iso639_3

__all__ = ["MosesPairs"]

_PAIRS = 10_000
_LONGEST = 1 << 24  # bytes of a line
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UNREADABLE = (EOFError, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)


class MosesPairs(PairReader):
    """Reads two UTF-8 files whose lines are translations of each other: plain, gzipped, or inside a zip of OPUS.

    A line ends with a newline and nothing else: other separators, such as U+2028, stand inside sentences. A pair with
    an empty side, or one that is not UTF-8, is a bad row.

    Args:
        english: The file of English lines, relative to data/ or to $TOCSIN_DATA; with `archive` its name inside.
        text: The file of their translations, likewise.
        lang: Language of the translations as OPUS names it, such as pt_br.
        source: Name of the corpus.
        archive: A zip that holds both files; null where they stand alone. Nothing is unpacked.
        codes: Languages as ISO 639-3 (see `tocsin_crisis.languages`), or as they are given.
        variants: With iso639-3, whether pt_br becomes por (merge) or por_br (keep).
    """

    def __init__(
        self,
        english: str,
        text: str,
        lang: str,
        source: str = "moses",
        archive: str | None = None,
        codes: Literal["iso639-3", "as-is"] = "iso639-3",
        variants: Literal["merge", "keep"] = "merge",
    ) -> None:
        if not lang.strip():
            raise ConfigError("MosesPairs: lang is empty; wanted a language such as 'fr'.")
        self.english, self.text, self.archive = english, text, archive
        self.lang = iso639_3(lang, variants=variants == "keep") if codes == "iso639-3" else lang
        self.source = source

    def files(self) -> list[Path]:
        """Return the archive, or both files."""
        names = [self.english, self.text] if self.archive is None else [self.archive]
        return [resolve_data_path(name) for name in names]

    def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 10,000 pairs; see `PairReader.batches`.

        Raises:
            DataError: Also when the files have different numbers of lines; names both, and how many each has.
        """
        pairs: list[tuple[str, str]] = []
        for pair in self._pairs(on_bad_row):
            pairs.append(pair)
            if len(pairs) == _PAIRS:
                yield self._batch(pairs)
                pairs = []
        if pairs:
            yield self._batch(pairs)

    def _pairs(self, on_bad_row: OnBadRow | None) -> Iterator[tuple[str, str]]:
        with contextlib.ExitStack() as stack:
            names, files = self._opened(stack)
            sides = [_lines(file, name) for file, name in zip(files, names, strict=True)]
            row = 0
            while True:
                lines = [next(side, None) for side in sides]
                if None in lines:
                    break
                row += 1
                pair: list[str] = []
                fault: DataError | None = None
                for line, name in zip(lines, names, strict=True):
                    assert line is not None
                    try:
                        pair.append(_decoded(line))
                    except ValueError as error:
                        fault = fault or DataError(str(error), file=name, row=row)
                if fault is None:
                    yield pair[0], pair[1]
                elif on_bad_row is None:
                    raise fault
                else:
                    on_bad_row(fault)
            counts = [
                row + (line is not None) + sum(1 for _ in side)
                for line, side in zip(lines, sides, strict=True)
            ]
        if counts[0] != counts[1]:
            raise DataError(
                f"has {counts[0]:,} lines, and {names[1]} has {counts[1]:,}: their lines are no translations of each "
                "other, at least from some line on. Fetch both again, from the same release",
                file=names[0],
                row=min(counts) + 1,
            )
        if not row:
            raise DataError("the file is empty; fetch it again, or take it off the list", file=names[0])

    def _opened(self, stack: contextlib.ExitStack) -> tuple[list[str], list[IO[bytes]]]:
        """Return both files' names, for errors, and the open files."""
        if self.archive is None:
            paths = self.files()
            return [str(path) for path in paths], [
                stack.enter_context(_plain_or_gzip(path)) for path in paths
            ]
        (path,) = self.files()
        check_file(path)
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except _UNREADABLE as error:
            raise DataError(f"torn, or not a zip archive ({error}); fetch it again", file=path) from None
        members = archive.namelist()
        for name in (self.english, self.text):
            if name not in members:
                shown = ", ".join(members[:20])
                raise DataError(f"holds no file {name!r}. Its files: {shown}", file=path)
        names = [f"{path}:{name}" for name in (self.english, self.text)]
        try:
            return names, [stack.enter_context(archive.open(name)) for name in (self.english, self.text)]
        except _UNREADABLE as error:
            raise DataError(f"cannot be read ({error}); fetch it again", file=path) from None

    def _batch(self, pairs: list[tuple[str, str]]) -> pa.RecordBatch:
        english, text = (list(side) for side in zip(*pairs, strict=True))
        columns = [english, text, [self.lang] * len(pairs), [self.source] * len(pairs)]
        names = ["english", "text", "lang", "source"]
        return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=names)


def _plain_or_gzip(path: Path) -> IO[bytes]:
    check_file(path)
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    return gzip.open(path, "rb") if zipped else path.open("rb")


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield lines without their newline, and without a byte-order mark before the first."""
    row = 0
    while True:
        try:
            line = file.readline(_LONGEST + 1)
        except _UNREADABLE as error:
            raise DataError(
                f"torn or damaged after this row ({error}); fetch it again", file=name, row=row
            ) from None
        if not line:
            return
        if len(line) > _LONGEST:
            raise DataError(
                f"a line of more than {_LONGEST >> 20} MB: no file of sentences", file=name, row=row + 1
            )
        row += 1
        yield (line.removeprefix(_BOM) if row == 1 else line).rstrip(b"\n")


def _decoded(line: bytes) -> str:
    try:
        text = line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8 text (byte {line[error.start]:#04x} at position {error.start}); save the file as UTF-8"
        ) from None
    if not text.strip():
        raise ValueError(
            "the line is empty; a pair needs both its sides. Leave such rows out (on_bad_pair: skip)"
        )
    return text
