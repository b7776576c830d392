"""Messages that the checks make up. N messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages
from tocsin.text.readers import Reader

__all__ = ["FILE", "OWN_COLUMNS", "message_table", "stretched"]

FILE = "invented.parquet"
"""The file that the tables of `message_table` say they come from."""

OWN_COLUMNS = ("file", "row", "id", "lang", "text")
"""What every table of `read_messages` holds before the extra columns."""

_OWN = "own "
_EMPTY_ROW = 2
_PARTS = 3


class _InMemory:
    """Hands over a table as a reader does, in three batches. Not a Reader, lest a config could choose it."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def batches(self, path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        table = self._table.select(list(columns))
        size = max(1, -(-table.num_rows // _PARTS))
        for start in range(0, table.num_rows, size):
            yield table.slice(start, size).combine_chunks().to_batches()[0]


def message_table(columns: Mapping[str, Any], rows: int, extra: Sequence[str]) -> pa.Table:
    """Return (N,) messages as `read_messages` gives them: N is `rows`, each text another one, in three chunks.

    A row with an empty text was dropped on the way (where N is above 3), so that a row's number in its file is not
    its position in the table.

    Args:
        columns: Values of extra columns, and of `text` and `lang` where they matter, repeated as often as needed.
        rows: N.
        extra: Names of the extra columns to keep.
    """
    given = {name: stretched(values, rows) for name, values in columns.items()}
    texts = [f"water rises at bridge {number}" for number in range(rows)]
    if "text" in given and pa.types.is_string(given["text"].type) and not given["text"].null_count:
        # Where its texts run out they begin again: not as duplicates, which the author's table may not hold.
        distinct = len(columns["text"])
        numbered = enumerate(given["text"].to_pylist())
        texts = [text if at < distinct else f"{text} {at}" for at, text in numbered]
    langs = pa.array([("en", "fr", "ht", None)[number % 4] for number in range(rows)])
    if "lang" in given and pa.types.is_string(given["lang"].type):
        langs = given["lang"]
    if rows > _EMPTY_ROW + 1:
        order = pa.array([*range(_EMPTY_ROW), 0, *range(_EMPTY_ROW, rows)])
        given = {name: values.take(order) for name, values in given.items()}
        langs = langs.take(order)
        texts.insert(_EMPTY_ROW, "")
    # Under names of their own: a label, too, may be called "id" or "text".
    own = {_OWN + "id": [f"m{n}" for n in range(len(texts))], _OWN + "lang": langs, _OWN + "text": texts}
    return read_messages(
        [Path(FILE)],
        text=_OWN + "text",
        id=_OWN + "id",
        lang=_OWN + "lang",
        extra=extra,
        cleaner=NoCleaner(),
        on_empty="drop",
        reader=cast(Reader, _InMemory(pa.table({**own, **given}))),
    ).table


def stretched(values: Any, rows: int) -> pa.Array:
    """Return the first (N,) values, N being `rows`, beginning again at the end."""
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    whole = column.take(pa.array(np.arange(rows) % max(1, len(column)), pa.int64()))
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
