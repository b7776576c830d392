"""Message files read into one table: cleaned texts, unique ids, and where each row came from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import ConfigError, DataError
from tocsin.text.alike import concatenated
from tocsin.text.cleaners import Cleaner
from tocsin.text.ids import IdColumn
from tocsin.text.progress import progress_bar
from tocsin.text.readers import Reader, reader_for
from tocsin.text.reading import DataWarning, holds_bytes

__all__ = ["ColumnNames", "Messages", "iterate_strings", "read_messages", "source_column"]


def _stem(path: Path) -> str:
    return path.name.split(".")[0] if path.name.strip(".") else path.name


_OWN_COLUMNS = ("file", "row", "id", "lang", "text")
_SOURCE = "source:"  # prefix of an extra column whose name is one of ours
_PATH_PARTS = {
    "folder": lambda path: path.absolute().parent.name,
    "file": lambda path: path.name,
    "stem": _stem,
}
_MOJIBAKE = re.compile("Ã[\\x80-\\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\\x80-\\xbf™œ\x9d˜¦“”¢]|Ã\u0192|â‚¬")


@dataclass(frozen=True)
class ColumnNames:
    """Which columns of a message file are read.

    Attributes:
        text: The column that holds the message.
        id: The column that identifies it, or None: file name and row number serve.
        lang: The column with its language code, or None: unknown.
        extra: Further columns, kept with their own names and types.
        of_path: Among these, those that are made of a file's path: name -> "folder", "file" or "stem".
    """

    text: str
    id: str | None = None
    lang: str | None = None
    extra: tuple[str, ...] = ()
    of_path: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every column to be read, each once."""
        named = (self.text, self.id, self.lang, *(name for name in self.extra if name not in self.of_path))
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass
class Messages:
    """Messages of one or more files, in the order of the files and of their rows.

    Attributes:
        table: Columns `file` (dictionary of strings), `row` (int64, counted from 1 within its file, header
            not counted), `id` (string, unique), `lang` (string, null where unknown), `text` (large_string,
            cleaned, never null), then each extra column under its own name with its own type. An extra column
            called like one of these five is kept under another name: ask `source_column` for it.
        dropped_empty: Rows left out because their cleaned text is empty.
        kept_empty: Rows kept although their cleaned text is empty.
        null_texts: Rows without a text; each is also counted as dropped or kept.
        repeated_ids: Rows whose id was null or stood in an earlier or later row too, and was completed by the
            number of the row ("17#204"; with several files "17#2.204" for row 204 of the second file).
        skipped: The faults of the rows left out under `on_error="skip"`.
    """

    table: pa.Table
    dropped_empty: int = 0
    kept_empty: int = 0
    null_texts: int = 0
    repeated_ids: int = 0
    skipped: list[DataError] = field(default_factory=list)


def read_messages(
    paths: Sequence[Path],
    *,
    text: str,
    id: str | None,
    lang: str | None,
    extra: Sequence[str] = (),
    cleaner: Cleaner,
    on_empty: Literal["drop", "keep"],
    reader: Reader | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = False,
    path_columns: Mapping[str, str] | None = None,
) -> Messages:
    """Read and clean the messages of some files, batch by batch.

    Args:
        paths: The files.
        text: The column that holds the message.
        id: The column that identifies it; None makes ids of file name and row number.
        lang: The column with the language code; None leaves the language unknown.
        extra: Further columns to keep (labels, slices, what a splitter reads).
        cleaner: Applied to each text.
        on_empty: Whether rows whose cleaned text is empty (or white space) are dropped or kept; both are
            counted.
        reader: Reads every file; None chooses by the ending of each file's name.
        on_error: Whether a row that cannot be read raises, or is skipped and counted. A torn file always
            raises.
        progress: Show a bar on stderr.
        path_columns: Extra columns that are made of the file's path, each "folder" (the name of the folder that holds
            it), "file" (its name) or "stem" (its name up to the first point).

    Raises:
        DataError: A file or a row cannot be read, a column is missing, a text is no string, or no message is
            left.
        ConfigError: `on_empty`, `on_error` or a path column is none of its choices, or no file is given.
    """
    if on_empty not in ("drop", "keep"):
        raise ConfigError(f"on_empty is {on_empty!r}; it must be 'drop' or 'keep'")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error is {on_error!r}; it must be 'raise' or 'skip'")
    if not paths:
        raise ConfigError("no message file is given; name at least one")
    of_path = dict(path_columns or {})
    for name, part in of_path.items():
        if part not in _PATH_PARTS or name in (text, id, lang):
            raise ConfigError(
                f"path_columns: {name!r} is {part!r}; wanted was a new column's name with one of "
                f"{', '.join(map(repr, _PATH_PARTS))}"
            )
    names = ColumnNames(text, id, lang, tuple(dict.fromkeys([*extra, *of_path])), of_path)
    files = [str(path) for path in paths]
    readers = [reader or reader_for(path) for path in paths]
    result = Messages(pa.table({}))
    tables: list[pa.Table] = []
    sizes = [one.approximate_rows(path) for one, path in zip(readers, paths, strict=True)] if progress else []
    total = sum(size for size in sizes if size is not None) if sizes and None not in sizes else None
    with progress_bar("reading", total, unit="messages", show=progress) as advance:
        for number, (path, one) in enumerate(zip(paths, readers, strict=True)):
            batches: list[pa.Table] = []
            for batch in _batches(path, one, names, cleaner, on_error, result, number, files):
                batches.append(batch)
                advance(batch.num_rows)
            tables.append(concatenated(batches, [path]))
    table = concatenated(tables, paths)
    result.table = _with_unique_ids(table, files, result, has_ids=id is not None)
    return _without_empty(result, on_empty)


def source_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return the extra column that a file calls `name`, also when that is the name of one of our own columns.

    Raises:
        DataError: The table has no such column.
    """
    for stored in (_SOURCE + name, name):
        # Not table.column_names: it decodes every name, each time, and a scheme may ask for 500 columns.
        if (index := table.schema.get_field_index(stored)) >= 0:
            return table.column(index)
    raise DataError(
        f"the table has no column {name!r}; its columns: {', '.join(map(repr, table.column_names))}"
    )


def iterate_strings(column: pa.ChunkedArray | pa.Array) -> Iterator[str]:
    """Yield the strings of a column, some thousands of them in memory at a time.

    Raises:
        ValueError: A value is null.
    """
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        for start in range(0, len(chunk), 16_384):
            for value in chunk.slice(start, 16_384).to_pylist():
                if value is None:
                    raise ValueError("a null among the texts")
                yield value


def _batches(
    path: Path,
    reader: Reader,
    names: ColumnNames,
    cleaner: Cleaner,
    on_error: str,
    result: Messages,
    number: int,
    files: list[str],
) -> Iterator[pa.Table]:
    """Yield a file's batches in the shape of `Messages.table`, without the bad rows, with the empty ones."""
    bad_rows: set[int] = set()

    def on_bad_row(error: DataError) -> None:
        result.skipped.append(error)
        bad_rows.add(error.row or 0)

    # Plugins' readers need not offer to skip.
    batches = (
        reader.batches(path, names.wanted, on_bad_row)
        if on_error == "skip"
        else reader.batches(path, names.wanted)
    )
    rows = 0
    ids = None if names.id is None else IdColumn(path, names.id)
    made: dict[str, str] = {name: _PATH_PARTS[part](path) for name, part in names.of_path.items()}
    mojibake = 0
    for batch in batches:
        first, rows = rows + 1, rows + batch.num_rows
        source: dict[str | None, pa.Array] = {name: batch.column(name) for name in names.wanted}
        texts = _texts(source[names.text], names.text, path, first)
        mojibake += _count_mojibake(texts)
        cleaned = [cleaner.clean(value or "") for value in texts.to_pylist()]
        columns: dict[str, pa.Array] = {
            "file": pa.DictionaryArray.from_arrays(pa.array(np.full(len(cleaned), number, np.int32)), files),
            "row": pa.array(np.arange(first, rows + 1)),
            "id": pa.nulls(len(cleaned), pa.string())
            if ids is None
            else ids.strings(source[names.id], first),
            "lang": _codes(source[names.lang], names.lang, path, first)
            if names.lang
            else pa.nulls(len(cleaned), pa.string()),
            "text": _encoded(cleaned),
        }
        for name in names.extra:
            column = pa.array([made[name]] * len(cleaned), pa.string()) if name in made else source[name]
            columns[_SOURCE + name if name in _OWN_COLUMNS else name] = column
        table = pa.table(columns)
        good = np.ones(len(cleaned), bool)
        if bad_rows:
            good[[row - first for row in bad_rows if first <= row <= rows]] = False
            table = table.filter(pa.array(good))
        result.null_texts += int(np.count_nonzero(texts.is_null().to_numpy(zero_copy_only=False) & good))
        yield table
    if ids is not None:
        ids.warn()
    if mojibake:
        warnings.warn(
            f"{path}: {mojibake:,} of {rows:,} texts look like UTF-8 that was read as Windows-1252 and saved so "
            "(Ã© for é, â€™ for ’). Write the file again from where its letters are right; in Python, "
            'text.encode("cp1252").decode("utf-8") mends such a text',
            DataWarning,
            stacklevel=2,
        )


def _count_mojibake(texts: pa.Array) -> int:
    """Return how many texts hold what UTF-8 becomes when it is taken for Windows-1252."""
    if pa.types.is_null(texts.type) or not any(holds_bytes(texts, sign.encode()) for sign in ("Ã", "â€")):
        return 0
    found = pc.match_substring(texts, "Ã")
    found = pc.or_(found, pc.match_substring(texts, "â€"))
    if not pc.any(found).as_py():
        return 0
    return sum(_MOJIBAKE.search(text) is not None for text in texts.filter(found).to_pylist())


def _texts(column: pa.Array, name: str, path: Path, first_row: int) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type) or _is_string(column.type):
        return column.cast(pa.string()) if pa.types.is_string_view(column.type) else column
    offset = int(np.argmax(column.is_valid().to_numpy(zero_copy_only=False)))
    raise DataError(
        f"column {name!r} holds {_short(column.type)} here, a message's text must be a string; "
        "name the column that holds the messages, or write these values as strings",
        file=path,
        row=first_row + offset,
    )


def _short(kind: pa.DataType) -> str:
    text = str(kind)  # an object with a key a message has a type as long as the file
    return text if len(text) <= 60 else f"{text[:60]}…"


def _codes(column: pa.Array, name: str, path: Path, first_row: int) -> pa.Array:
    if not (pa.types.is_null(column.type) or _is_string(column.type) or pa.types.is_dictionary(column.type)):
        raise DataError(
            f"column {name!r} holds {_short(column.type)}, language codes must be strings",
            file=path,
            row=first_row,
        )
    codes = column.cast(pa.string())
    return pc.if_else(pc.equal(codes, ""), pa.scalar(None, pa.string()), codes)


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _encoded(texts: list[str]) -> pa.Array:
    """Return texts as large_string: 20 million messages pass the 2 GB of an Arrow string array."""
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:  # a cleaner cut a surrogate pair
        return pa.array(
            [text.encode("utf-8", "replace").decode("utf-8") for text in texts], pa.large_string()
        )


def _with_unique_ids(table: pa.Table, files: list[str], result: Messages, *, has_ids: bool) -> pa.Table:
    """Complete ids that are null or repeat by their row number.

    Done before rows are dropped, so that a message has the same id whatever the cleaner leaves of it.
    """
    rows = table["row"].to_numpy()
    numbers = np.concatenate(
        [chunk.indices.to_numpy() for chunk in table["file"].chunks] or [np.zeros(0, np.int32)]
    )
    column = table["id"].combine_chunks().cast(pa.large_string())
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    changed = missing.copy()
    if missing.any():
        stems = [Path(file).stem for file in files]
        where = np.flatnonzero(missing)
        column = _replaced(column, missing, [f"{stems[numbers[at]]}#{rows[at]}" for at in where])
    while (repeated := _repeated(column)).any():
        where = np.flatnonzero(repeated)
        ids = column.take(pa.array(where)).to_pylist()
        several = len(files) > 1
        column = _replaced(
            column,
            repeated,
            [
                f"{name}#{numbers[at] + 1}.{rows[at]}" if several else f"{name}#{rows[at]}"
                for name, at in zip(ids, where, strict=True)
            ],
        )
        changed |= repeated
    result.repeated_ids = int(changed.sum()) if has_ids else 0
    return table.set_column(table.column_names.index("id"), "id", column.cast(pa.string()))


def _repeated(column: pa.Array) -> np.ndarray:
    """Tell for each value, (N,) bool, whether it stands more than once."""
    codes = column.dictionary_encode().indices.to_numpy()
    return np.bincount(codes)[codes] > 1 if len(codes) else np.zeros(0, bool)


def _replaced(column: pa.Array, mask: np.ndarray, values: list[str]) -> pa.Array:
    return pc.replace_with_mask(column, pa.array(mask), pa.array(values, column.type))


def _without_empty(result: Messages, on_empty: str) -> Messages:
    table = result.table
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table["text"])), 0)
    count = pc.sum(empty).as_py() or 0
    if on_empty == "keep":
        result.kept_empty = count
    else:
        result.dropped_empty = count
        if count:
            result.table = table.filter(pc.invert(empty))
    if result.table.num_rows == 0:
        reasons = f"{count} empty after cleaning, {len(result.skipped)} skipped"
        raise DataError(f"no message is left of {table.num_rows + len(result.skipped)} rows ({reasons})")
    return result
