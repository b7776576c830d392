"""Parquet files of scores, read with their checksum compared and their size bounded before anything is unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tocsin.checksums import add_parquet_checksum, check_parquet, open_regular
from tocsin.errors import DataError

__all__ = ["DIGEST", "read_parquet", "write_parquet"]

DIGEST = b"tocsin.digest"
"""The metadata's key of the file's own SHA-256."""
_ROOM = 1 << 28  # bytes that any file may unpack to
_RATIO = 100  # a larger one: so many times its size


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table with page checksums and the SHA-256 of all bytes of the file in its metadata (`tocsin.digest`)."""
    metadata = {**(table.schema.metadata or {}), DIGEST: b"0" * 64}
    pq.write_table(
        table.replace_schema_metadata(metadata), path, compression="zstd", write_page_checksum=True
    )
    add_parquet_checksum(path)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, ours or another program's.

    Args:
        path: The file; it is read whole into memory, once.
        columns: Those wanted; None for all.

    Raises:
        DataError: It is missing, torn, altered, ours without a checksum, or unpacks to far more than a table of its
            size can hold.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
        check_parquet(content)
    except FileNotFoundError:
        raise DataError("There is no such scores file.", file=path) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    except ValueError as error:
        raise DataError(
            f"{error}. Score the messages again; or, where it was changed on purpose, write it without the metadata "
            "tocsin.*, so that it counts as another program's",
            file=path,
        ) from error
    try:
        found = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        room = max(_ROOM, _RATIO * len(content))
        schema = found.schema_arrow
        wide = _check_size(found.metadata, schema, room, path)
        if wide:
            found = pq.ParquetFile(
                pa.BufferReader(content), page_checksum_verification=True, read_dictionary=wide
            )
        table = found.read(None if columns is None else list(columns))
        table.validate(full=True)
        _check_words(table, room, path)
        return table.cast(_unpacked(schema, table)) if wide else table
    except DataError:
        raise
    except Exception as error:  # of Arrow or of what it decodes: a damaged file leads to many kinds
        raise DataError(f"Cannot be read as Parquet ({error}). Is the file whole?", file=path) from error


def _refuse(path: Path, size: int) -> DataError:
    return DataError(
        f"would take {size:,} bytes of memory, far more than a table of its size on the disk holds; it is not unpacked",
        file=path,
    )


def _check_size(metadata: pq.FileMetaData, schema: pa.Schema, room: int, path: Path) -> list[str]:
    """Refuse what is too large to be unpacked; return the columns of texts that can only be judged by their words."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    fixed = sum(_width(field.type) for field in schema)
    packed = sum(group.total_byte_size for group in groups)
    if max(rows * fixed, packed) > room:
        raise _refuse(path, max(rows * fixed, packed))
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    texts = {field.name for field in schema if _is_text(field.type)}
    return sorted(
        {
            chunk.path_in_schema
            for chunk in chunks
            if chunk.path_in_schema in texts and rows * chunk.total_uncompressed_size > room
        }
    )


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, kind.bit_width // 8)
    except ValueError:
        return 8


def _is_text(kind: pa.DataType) -> bool:
    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _check_words(table: pa.Table, room: int, path: Path) -> None:
    """Refuse columns of few words in many rows that would be too large if each row held its own."""
    size = 0
    for column in table.columns:
        if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
            continue
        for chunk in column.chunks:
            lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
            size += pc.sum(lengths.take(chunk.indices)).as_py() or 0
        if size > room:
            raise _refuse(path, size)


def _unpacked(schema: pa.Schema, table: pa.Table) -> pa.Schema:
    return pa.schema([schema.field(name) for name in table.column_names], table.schema.metadata)
