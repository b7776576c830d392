"""Readers of parallel sentences: English beside its translation, from whatever files hold them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tocsin.arguments import RemembersArguments
from tocsin.errors import TocsinError
from tocsin.text.readers import resolve_data_path
from tocsin.text.reading import OnBadRow

__all__ = ["PAIR_COLUMNS", "PairReader"]

PAIR_COLUMNS = ("english", "text", "lang", "source")
"""What every batch of a pair reader holds, in this order, all strings and none of them null."""


class PairReader(RemembersArguments, ABC):
    """Role: files of sentence pairs -> record batches of (english, text, lang, source).

    A reader's constructor names its files. Nothing is opened before the first batch is asked for, and batches
    are of bounded size: sources of a hundred million pairs stream through it.
    """

    @abstractmethod
    def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of the columns `PAIR_COLUMNS`, in the order of the files.

        `lang` is the language code of `text`, `source` names the corpus.

        Args:
            on_bad_row: Called with a DataError that names file and row for each pair that cannot be read, which
                is then left out; None raises the first one.

        Raises:
            DataError: A file is missing, torn or empty, or a row is bad and `on_bad_row` is None.
        """

    def approximate_pairs(self) -> int | None:
        """Return the number of pairs if it can be told cheaply, for a progress bar; None where it cannot."""
        return None

    def files(self) -> list[Path]:
        """Return the files that are read: caches are keyed by their bytes.

        Here: every argument, or item of a list, that names an existing file or folder. A reader that finds its files
        otherwise says which they are; one that has none is read through whenever its pairs are looked for in a cache.
        """
        named = [
            one
            for value in self.arguments.values()
            for one in (value if isinstance(value, list) else [value])
        ]
        found: list[Path] = []
        for one in named:
            if not isinstance(one, str) or not 0 < len(one) < 4096 or "\0" in one:
                continue
            try:
                found.append(resolve_data_path(one))
            except (TocsinError, OSError):
                continue  # a word that names no file, such as a language
        return list(dict.fromkeys(found))
