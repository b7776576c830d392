"""The reader of Arrow files, and of the folders of them that `Dataset.save_to_disk` writes.

Nothing in such a folder is executed: its JSON files name Arrow files, and these hold columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tocsin.errors import DataError
from tocsin.text.columns import checked, part_of, pick_columns
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

__all__ = ["ArrowReader", "is_dataset_folder"]

_STATE = "state.json"
_SPLITS = "dataset_dict.json"
_SPLIT = "split"
_FILE_MAGIC = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def is_dataset_folder(path: Path) -> bool:
    """Tell whether `save_to_disk` of the library datasets wrote this folder."""
    return (path / _STATE).is_file() or (path / _SPLITS).is_file()


class ArrowReader(Reader):
    """Reads Arrow IPC files (.arrow), and folders of them that `save_to_disk` of the library datasets wrote.

    Only Arrow is needed, and nothing of a folder is executed. A folder of several splits is read as one table, in the
    order in which it names them, with a further column `split` (unless its tables have one of that name), which
    `GivenSplit` understands. A row of a folder is counted over all its files.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".arrow",)

    def columns(self, path: Path) -> list[str]:
        """Return the names of the top-level columns, and `split` for a folder of several splits."""
        split, file = self._files(path)[0]
        with self._opened(file) as source:
            names = stripped_names(source.schema.names)
        return [*names, _SPLIT] if split is not None and _SPLIT not in names else names

    def metadata(self, path: Path) -> dict[bytes, bytes]:
        """Return the metadata of the first file's schema; errors as in `columns`."""
        _, file = self._files(path)[0]
        with self._opened(file) as source:
            return dict(source.schema.metadata or {})

    def batches(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 16,384 rows; see `Reader.batches`."""
        bad = BadRows(path, on_bad_row)
        rows = 0
        for split, file in self._files(path):
            with self._opened(file) as source:
                names = list(source.schema.names)
                added = split is not None and _SPLIT not in names
                existing = [*names, _SPLIT] if added else names
                picked = pick_columns(path if split is None else file, columns, existing, source.schema)
                if not rows:
                    warn_of_header(path, existing)
                wanted = [existing[place] for place, _ in picked if place < len(names)]
                for whole in self._read(source, file, rows, list(dict.fromkeys(wanted))):
                    for start in range(0, whole.num_rows, BATCH_ROWS):
                        part = whole.slice(start, BATCH_ROWS)
                        arrays = [
                            pa.array([split] * part.num_rows, pa.string())
                            if place == len(names)
                            else checked(
                                part_of(part.column(existing[place]), keys), name, path, rows + 1, bad.hook
                            )
                            for name, (place, keys) in zip(columns, picked, strict=True)
                        ]
                        rows += part.num_rows
                        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        check_not_empty(path, rows)
        bad.check(rows)

    def _files(self, path: Path) -> list[tuple[str | None, Path]]:
        """Return the Arrow files of a path in order, each with the split that it belongs to, or None."""
        if not path.is_dir():
            check_file(path)
            return [(None, path)]
        if (path / _SPLITS).is_file():
            splits = _listed(path / _SPLITS, "splits")
            return [(split, file) for split in splits for file in self._shards(_inside(path, split))]
        return [(None, file) for file in self._shards(path)]

    @staticmethod
    def _shards(folder: Path) -> list[Path]:
        shards = _listed(folder / _STATE, "_data_files", "filename")
        files = [_inside(folder, name) for name in shards]
        if not files:
            raise DataError("names no Arrow file: the data set has no rows", file=folder / _STATE)
        for file in files:
            check_file(file)
        return files

    @staticmethod
    def _opened(file: Path) -> Any:
        """Return a reader of record batches; the two kinds of Arrow file begin differently."""
        try:
            with file.open("rb") as opened:
                if opened.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
                    return _Footed(pa.memory_map(str(file)))
                opened.seek(max(file.stat().st_size - len(_END_OF_STREAM), 0))
                if opened.read() != _END_OF_STREAM:
                    raise DataError(
                        "torn, or not an Arrow file (its end is missing); write it again", file=file
                    )
            return pa.ipc.open_stream(pa.memory_map(str(file)))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"torn, or not an Arrow file ({one_line(error)}); write or fetch it again", file=file
            ) from None

    @staticmethod
    def _read(source: Any, file: Path, rows_before: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        batches = iter(source)
        rows = rows_before
        while True:
            try:
                batch = next(batches, None)
                if batch is not None:
                    batch = batch.select(columns)
                    # In full: offsets that lead out of their buffer would read foreign memory. UTF-8 is not looked at
                    # here but in valid_strings, which names the row.
                    _check_offsets(batch)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise DataError(
                    f"the Arrow file is torn or damaged here ({one_line(error)}); write or fetch it again",
                    file=file,
                    row=rows + 1,
                ) from None
            if batch is None:
                return
            rows += batch.num_rows
            yield batch


def _check_offsets(batch: pa.RecordBatch) -> None:
    for array in batch.columns:
        kind = array.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            array = array.view(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
        array.validate(full=True)


class _Footed:
    """An Arrow file with a footer, read in order as a stream is."""

    def __init__(self, source: Any) -> None:
        self._file = pa.ipc.open_file(source)
        self.schema = self._file.schema

    def __enter__(self) -> _Footed:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__(None, None, None)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (self._file.get_batch(number) for number in range(self._file.num_record_batches))


def _listed(file: Path, key: str, inner: str | None = None) -> list[str]:
    """Return the names that a folder's JSON file lists."""
    check_file(file)
    try:
        names = json.loads(file.read_text(encoding="utf-8"))[key]
        names = [name[inner] if inner else name for name in names]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"does not list {key} as save_to_disk writes it ({one_line(error)}); save the data set again",
            file=file,
        ) from None
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{key} must be names; save the data set again", file=file)
    return names


def _inside(folder: Path, name: str) -> Path:
    """Return a path right inside a folder; what a JSON file names must not lead anywhere else."""
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
        raise DataError(
            f"names {name!r}, which is no file or folder inside it; save the data set again", file=folder
        )
    return folder / name
