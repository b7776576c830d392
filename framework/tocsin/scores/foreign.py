"""Scores files as Arrow tables, whoever wrote them: Parquet or CSV, a column a label or a row a label.

Wide, as we write it ourselves: `id`, `prob.<label>` or `logit.<label>`, `target.<label>` (0, 1, empty for unknown;
absent where nobody labelled the messages), optional `lang` and columns to cut figures by.

Long, as a database gives it: one row a message and label with `id`, `label`, `prob` (or `probability`, or `logit`),
optional `target`; any other column (`lang`, ...) says the same in all rows of a message.

N messages, L labels.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tocsin.errors import DataError
from tocsin.escaping import original_cell
from tocsin.parquet_files import read_parquet
from tocsin.text.reading import wrong_delimiter

__all__ = ["METADATA", "own_facts", "read_columns", "widened"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SCORES = {"prob": "prob.", "probability": "prob.", "logit": "logit."}
_TEXT = ("id", "lang", "label")
_PARQUET = (".parquet", ".pq")
_MAGIC = b"PAR1"
_KINDS = ".parquet, .csv or .tsv"
_NOT_UTF8 = "UTF-8 is wanted, and the file is in another encoding. Save it once more, as CSV in UTF-8."
_SHOWN = 5  # files a message names of a folder
METADATA = b"tocsin."


def read_columns(path: str | Path) -> pa.Table:
    """Return the Arrow table of a scores file with our column names.

    Args:
        path: A file ending in .csv or .tsv (UTF-8, a header line), or a Parquet file, whatever its ending.

    Raises:
        DataError: For a missing or torn file, a folder, or a file of another kind; a table without messages; a long
            table with a cell twice, or without one.
    """
    path = Path(path)
    delimiter = _DELIMITERS.get(path.suffix.lower())
    _check_kind(path)
    try:
        if delimiter is not None:
            table = _read_csv(path, delimiter)
        elif path.is_dir():
            table = _read_parts(path)
        else:
            table = read_parquet(path)
    except FileNotFoundError:
        raise DataError("There is no such scores file.", file=path) from None
    except (pa.ArrowException, OSError, UnicodeError) as error:
        kind = "Parquet" if delimiter is None else "CSV"
        if "invalid UTF8" in str(error):
            raise DataError(_NOT_UTF8, file=path) from error
        # Arrow quotes the row, or the value, and either may be a message.
        cause = re.sub(r"(got \d+): .*|(invalid value) .*", r"\1\2", str(error), flags=re.DOTALL)
        raise DataError(f"Cannot be read as {kind} ({cause}). Is the file whole?", file=path) from None
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise DataError(
            f"{len(twice)} columns stand twice, the first of them {twice[0]!r}. Give each a name of its own.",
            file=path,
        )
    if not table.num_rows and not own_facts(table):
        raise DataError(
            "The file has no messages, only the names of its columns. Was it written before the scores were?",
            file=path,
        )
    return widened(table, path) if _score_column(table) is not None else table


def own_facts(table: pa.Table) -> dict[str, str]:
    """Return what a scores table of ours says of itself, without the prefix; empty for other programs' tables."""
    return {
        key.removeprefix(METADATA).decode(errors="replace"): value.decode(errors="replace")
        for key, value in (table.schema.metadata or {}).items()
        if key.startswith(METADATA)
    }


def _read_parts(path: Path) -> pa.Table:
    """The files of a folder as one table, those of another program: ours is one file."""
    files = [each for each in sorted(path.glob("*")) if each.suffix.lower() in _PARQUET]
    tables = [read_parquet(file) for file in files]
    if not tables or any(own_facts(table) for table in tables):
        raise DataError(
            "This is a folder; one file of scores is wanted, or the parts that another program wrote of one table.",
            file=path,
        )
    return pa.concat_tables(tables, promote_options="default")


def _check_kind(path: Path) -> None:
    """Refuse what is no scores file by its looks: a folder, or neither text with a known ending nor Parquet."""
    if path.is_dir():
        if path.suffix.lower() in _PARQUET:  # Parquet in parts, as Spark writes it
            return
        found = [
            str(each)
            for folder in (path, path / "scores")
            for each in sorted(folder.glob("*"))
            if each.suffix.lower() in (*_PARQUET, *_DELIMITERS) and each.is_file()
        ]
        listed = ", ".join(found[:_SHOWN]) + (
            f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        )
        there = f"In it lie: {listed}" if found else "None lies in it or in its scores/"
        raise DataError(f"This is a folder; a scores file is wanted ({_KINDS}). {there}.", file=path)
    if path.suffix.lower() in (*_PARQUET, *_DELIMITERS) or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                return
    except OSError:
        return  # whoever opens it next says why it cannot be read
    ending = f"The ending {path.suffix!r} is not known" if path.suffix else "The file has no ending"
    raise DataError(
        f"{ending}, and this is no Parquet file; wanted {_KINDS}. Write the scores as one of these.",
        file=path,
    )


def _check_text(path: Path, delimiter: str) -> None:
    """Refuse text in another encoding, or with another sign between its fields."""
    with path.open("rb") as file:
        line = file.readline()
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in line:
        raise DataError("The file is UTF-16; UTF-8 is wanted. Save it once more, as CSV in UTF-8.", file=path)
    try:
        header = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(_NOT_UTF8, file=path) from error
    if fault := wrong_delimiter(header, delimiter):
        raise DataError(fault, file=path)


def _read_csv(path: Path, delimiter: str) -> pa.Table:
    _check_text(path, delimiter)
    # A byte order mark before the header would become a part of the first name.
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n").split(delimiter)
    text = [name for name in _TEXT if name in (given.strip('"') for given in header)]
    table = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        # An id of 007 is not 7, and the language "no" or "NA" is a text like any other.
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string())),
    )
    # Arrow makes bytes of a column that is no UTF-8.
    if any(pa.types.is_binary(kind) for kind in table.schema.types):
        raise DataError(_NOT_UTF8, file=path)
    for place, field in enumerate(table.schema):
        # Our own writer puts an apostrophe before what a spreadsheet would take for a formula.
        column = table[place]
        if pa.types.is_string(field.type) and pc.any(pc.starts_with(column, "'")).as_py():
            cells = [None if cell is None else original_cell(cell) for cell in column.to_pylist()]
            column = pa.chunked_array([pa.array(cells, pa.string())])
        table = table.set_column(place, original_cell(field.name), column)
    # A torn quote makes other names of the header than its line shows.
    if "lang" in text and table.column_names.count("lang") == 1:
        place = table.column_names.index("lang")
        known = pc.if_else(pc.equal(table["lang"], ""), pa.scalar(None, pa.string()), table["lang"])
        table = table.set_column(place, "lang", known)
    return table


def _score_column(table: pa.Table) -> str | None:
    """Return the name of a long table's scores; None for a wide one."""
    if not {"id", "label"} <= set(table.column_names):
        return None
    return next((name for name in _SCORES if name in table.column_names), None)


def widened(table: pa.Table, path: str | Path) -> pa.Table:
    """Return a long table with a row a message: messages and labels in the order of their first rows.

    Args:
        table: With the columns `id`, `label`, a score and perhaps `target`.
        path: Named in errors.

    Raises:
        DataError: A cell stands twice or is missing, an id or label is null, or a message's other columns differ.
    """
    score = _score_column(table)
    assert score is not None
    ids, labels = (_encoded(table, name, path) for name in ("id", "label"))
    messages, names = ids.dictionary, labels.dictionary.to_pylist()
    rows, columns = (np.asarray(part.indices) for part in (ids, labels))
    cells = rows.astype(np.int64) * len(names) + columns
    filled, first, counts = np.unique(cells, return_index=True, return_counts=True)

    def words(cell: int) -> str:
        return f"message {messages[cell // len(names)].as_py()!r} and label {names[cell % len(names)]!r}"

    if (counts > 1).any():
        twice = int(np.argmax(counts > 1))
        raise DataError(
            f"{int((counts > 1).sum()):,} cells stand twice, the first of them {words(int(filled[twice]))}; one row "
            "a message and label is wanted.",
            file=path,
        )
    size = len(messages) * len(names)
    if len(filled) != size:
        absent = int(np.setdiff1d(np.arange(size), filled, assume_unique=True)[0])
        raise DataError(
            f"{size - len(filled):,} of {size:,} cells are missing, the first of them {words(absent)}. Every message "
            "needs a score for every label; an unknown target is an empty cell.",
            file=path,
        )

    place = pa.array(first)  # cell -> its row in the file
    wide: dict[str, Any] = {"id": messages}
    own = ("id", "label", "target", *_SCORES)
    first_rows = np.unique(rows, return_index=True)[1]
    for name in table.column_names:
        if name not in own:
            wide[name] = _of_messages(table[name], name, rows, first_rows, messages, path)
    for name, prefix in ((score, _SCORES[score]), ("target", "target.")):
        if name not in table.column_names:
            continue
        values = table[name].take(place)
        for number, label in enumerate(names):
            wide[prefix + label] = values.take(pa.array(np.arange(number, size, len(names))))
    return pa.table(wide)


def _encoded(table: pa.Table, name: str, path: str | Path) -> pa.DictionaryArray:
    column = table[name].cast(pa.string())
    if column.null_count:
        row = int(pc.index(pc.is_null(column), True).as_py()) + 1
        raise DataError(f"{column.null_count:,} rows have no {name}; each needs one.", file=path, row=row)
    return column.combine_chunks().dictionary_encode()


def _of_messages(
    column: pa.ChunkedArray,
    name: str,
    rows: np.ndarray,
    first_rows: np.ndarray,
    messages: pa.Array,
    path: str | Path,
) -> pa.ChunkedArray:
    """Return a column's value a message; every row of a message must say the same."""
    codes = (
        column.combine_chunks()
        .dictionary_encode(null_encoding="encode")
        .indices.to_numpy(zero_copy_only=False)
    )
    differs = codes != codes[first_rows][rows]
    if differs.any():
        row = int(np.argmax(differs))
        raise DataError(
            f"Column {name!r} says different things of message {messages[int(rows[row])].as_py()!r}; in a table with a "
            "row a message and label, all rows of a message must say the same.",
            file=path,
            row=row + 1,
        )
    return column.take(pa.array(first_rows))
