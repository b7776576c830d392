"""Sentence pairs from files of two columns."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from tocsin.plugins import ConfigError, DataError, PairReader

__all__ = ["TemplatePairReader"]

_BATCH_PAIRS = 10_000

OnBadRow = Callable[[DataError], None]
Pair = tuple[str, str]


class TemplatePairReader(PairReader):
    """Reads UTF-8 files of one pair a line: English, a tab, its translation.

    Args:
        files: The files, in the order of reading.
        lang: Language code of the second column.
        source: Name of the corpus.
    """

    def __init__(self, files: list[str], lang: str, source: str = "pairs") -> None:
        if not files:
            raise ConfigError("files is empty; name at least one.")
        self.paths = [Path(name).expanduser() for name in files]
        self.lang = lang
        self.source = source

    def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 10,000 pairs; see `PairReader.batches`."""
        for path in self.paths:
            pairs: list[Pair] = []
            for pair in self._pairs(path, on_bad_row):
                pairs.append(pair)
                if len(pairs) == _BATCH_PAIRS:
                    yield self._batch(pairs)
                    pairs = []
            if pairs:
                yield self._batch(pairs)

    def _pairs(self, path: Path, on_bad_row: OnBadRow | None) -> Iterator[Pair]:
        try:
            file = path.open("rb")
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", file=path) from error
        row = 0
        with file:
            for row, line in enumerate(file, start=1):
                try:
                    yield _pair(line)
                except ValueError as error:
                    fault = DataError(str(error), file=path, row=row)
                    if on_bad_row is None:
                        raise fault from None
                    on_bad_row(fault)
        if row == 0:
            raise DataError("the file is empty; fetch it again", file=path)

    def _batch(self, pairs: list[Pair]) -> pa.RecordBatch:
        english, translations = (list(column) for column in zip(*pairs, strict=True))
        count = len(pairs)
        columns = [english, translations, [self.lang] * count, [self.source] * count]
        names = ["english", "text", "lang", "source"]
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.RecordBatch.from_arrays(arrays, names=names)


def _pair(line: bytes) -> Pair:
    """Return both sides of a line, or raise ValueError (not UTF-8 is one, too)."""
    fields = line.decode("utf-8").rstrip("\r\n").split("\t")
    if len(fields) != 2 or not all(field.strip() for field in fields):
        raise ValueError(f"{len(fields)} fields; wanted two with text")
    return fields[0], fields[1]
