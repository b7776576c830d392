"""Readers of message files: Parquet, CSV and TSV, JSON lines, and Arrow."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tocsin.errors import DataError
from tocsin.text.arrow_files import ArrowReader, is_dataset_folder
from tocsin.text.columns import checked, part_of, pick_columns
from tocsin.text.csv_files import CsvReader
from tocsin.text.hub import HUB, hub_file
from tocsin.text.json_lines import JsonLinesReader
from tocsin.text.reading import (
    BATCH_ROWS,
    BadRows,
    OnBadRow,
    Reader,
    check_file,
    check_not_empty,
    one_line,
    stripped_names,
    warn_of_header,
)
from tocsin.text.streams import inner_suffix

__all__ = [
    "ArrowReader",
    "CsvReader",
    "JsonLinesReader",
    "ParquetReader",
    "Reader",
    "reader_for",
    "resolve_data_path",
    "resolve_data_paths",
]


class ParquetReader(Reader):
    """Reads Parquet files (.parquet, .pq) with their own types."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def columns(self, path: Path) -> list[str]:
        """Return the names of the top-level columns."""
        with self._open(path) as file:
            return stripped_names(file.schema_arrow.names)

    def approximate_rows(self, path: Path) -> int | None:
        """Return the exact number of rows, which the file's footer states."""
        with self._open(path) as file:
            return int(file.metadata.num_rows)

    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 16,384 rows; see `Reader.batches`."""
        with self._open(path) as file:
            existing = file.schema_arrow.names
            picked = pick_columns(path, columns, existing, file.schema_arrow)
            warn_of_header(path, existing)
            bad = BadRows(path, on_bad_row)
            rows = 0
            whole = [existing[place] for place, _ in picked]
            if len(set(existing)) < len(existing):  # two of one name: Arrow would give both
                whole = [name for name in whole if existing.count(name) == 1]
            batches = file.iter_batches(batch_size=BATCH_ROWS, columns=list(dict.fromkeys(whole)))
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, OSError, ValueError) as error:
                    raise DataError(
                        f"the Parquet file is torn or damaged here ({one_line(error)}); "
                        "write or fetch it again",
                        file=path,
                        row=rows + 1,
                    ) from None
                if batch is None:
                    break
                arrays = [
                    checked(part_of(batch.column(existing[place]), keys), name, path, rows + 1, bad.hook)
                    for name, (place, keys) in zip(columns, picked, strict=True)
                ]
                rows += batch.num_rows
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            check_not_empty(path, rows)
            bad.check(rows)

    @staticmethod
    def _open(path: Path) -> pq.ParquetFile:
        check_file(path)
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            file.schema_arrow.names  # noqa: B018 (names that are no text show here)
            return file
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"torn, or not a Parquet file ({one_line(error)}); write or fetch it again", file=path
            ) from None


def reader_for(path: Path) -> Reader:
    """Return one of our own readers for a file, by the ending of its name, or for a folder that `save_to_disk`
    wrote. A plugin's has to be named, so that what is installed never changes how a file is read.

    Raises:
        DataError: No reader takes this ending; names the endings that are known.
    """
    if path.is_dir():
        if is_dataset_folder(path):
            return ArrowReader()
        raise DataError(
            "is a folder, and not one that save_to_disk of the library datasets wrote (state.json or "
            "dataset_dict.json is missing); where files are listed, name the folder or a pattern such as FOLDER/*.csv",
            file=path,
        )
    ending = inner_suffix(path)
    for kind in _KINDS:
        if ending in kind.suffixes and (ending == path.suffix.lower() or kind in _PACKED_KINDS):
            return kind()
    known = dict.fromkeys(suffix for kind in _KINDS for suffix in kind.suffixes)
    raise DataError(
        f"has {f'the ending {path.suffix!r}' if path.suffix else 'no ending'}; known are {', '.join(known)} (text also "
        f"packed: .csv.gz, .jsonl.zst). Name its reader to read it all the same, such as `reader: CsvReader`",
        file=path,
    )


_KINDS = (ParquetReader, CsvReader, JsonLinesReader, ArrowReader)
_PACKED_KINDS = (CsvReader, JsonLinesReader)


def resolve_data_paths(name: str, reader: Reader | None = None) -> list[Path]:
    """Return the data files that a name in a config stands for: itself, all that a pattern finds, or a folder's.

    A pattern has `*`, `?` or `[...]` (`events/*/tweets-*.csv`; `**` stands for folders of any depth). Of a folder all
    files with an ending that our readers know are taken, at any depth, hidden ones left out. Files come in the order of
    their paths. A folder is taken as it is where `save_to_disk` wrote it, or a plugin's reader is to read it.

    Args:
        name: As in `resolve_data_path`.
        reader: What is to read the files; None: their endings say.

    Raises:
        DataError: There is no such file, or none in the folder.
        ConfigError: See `resolve_data_path`.
    """
    if not name.startswith(HUB) and any(sign in name for sign in "*?["):
        for place in _places(name):
            if place.exists():  # a name that only looks like a pattern
                return [place]
            found = [Path(one) for one in glob.glob(str(place), recursive=True)]
            if files := sorted(one for one in found if one.is_file() or is_dataset_folder(one)):
                return files
        raise DataError(f"no data file is called {name!r}; looked for {', '.join(map(str, _places(name)))}")
    path = resolve_data_path(name)
    if not path.is_dir() or is_dataset_folder(path) or not (reader is None or isinstance(reader, _KINDS)):
        return [path]
    endings = [ending for kind in _KINDS for ending in kind.suffixes] if reader is None else reader.suffixes
    files = sorted(
        one
        for one in path.rglob("*")
        if one.is_file() and inner_suffix(one) in endings and not _hidden(one.relative_to(path))
    )
    if not files:
        raise DataError(f"the folder holds no message file ({', '.join(dict.fromkeys(endings))})", file=path)
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def resolve_data_path(name: str) -> Path:
    """Return the path of a data file named in a config, which may be a folder that `save_to_disk` wrote.

    hf://owner/name@revision is fetched from the Hugging Face hub, once: see `tocsin.text.hub`.
    An absolute path is taken as it is. Any other is looked for as data/NAME in the working folder, then as
    NAME in the folder that the environment variable TOCSIN_DATA gives, then as NAME itself.

    Raises:
        DataError: No such file; names every path tried.
        ConfigError: A data set of the hub is named wrongly or cannot be fetched.
    """
    if name.startswith(HUB):
        return hub_file(name)
    tried = _places(name)
    for path in tried:
        if path.exists():
            return path
    hint = (
        ""
        if len(tried) == 1 or os.environ.get("TOCSIN_DATA")
        else " Put it into data/, or set TOCSIN_DATA to the folder that holds it."
    )
    raise DataError(f"no data file {name!r}; looked for {', '.join(map(str, tried))}.{hint}")


def _places(name: str) -> list[Path]:
    """Return the paths that a name in a config may mean, in the order in which they are tried."""
    given = Path(name).expanduser()
    if given.is_absolute():
        return [given]
    folder = os.environ.get("TOCSIN_DATA")
    return [Path("data") / given, *([Path(folder).expanduser() / given] if folder else []), given]
