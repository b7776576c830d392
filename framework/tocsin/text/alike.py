"""Columns that have another type in each file, read alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import DataError
from tocsin.text.ids import plain_text

__all__ = ["concatenated"]


def concatenated(tables: list[pa.Table], paths: Sequence[Path]) -> pa.Table:
    """Return tables one below the other, each column in one type that holds what every table says.

    Integers, floats and truth values together are numbers (1 for true); with text they are text, a whole number without
    a point, a list as JSON.

    Args:
        tables: One or more, of the same columns.
        paths: Their files; one for all of them, too.

    Raises:
        DataError: Two types have no such common one, as lists and numbers.
    """
    schemas = [table.schema for table in tables]
    if all(schema.equals(schemas[0]) for schema in schemas):
        return pa.concat_tables(tables)
    for name in schemas[0].names:
        kinds = dict.fromkeys(schema.field(name).type for schema in schemas)
        kinds.pop(pa.null(), None)
        if len(kinds) < 2 or name == "file":
            continue
        wanted = _common(list(kinds), [table.column(name) for table in tables])
        for at, table in enumerate(tables):
            column = table.column(name)
            try:
                chunks = [_cast(chunk, wanted) for chunk in column.chunks]
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError):
                others = [schema.field(name).type for schema in schemas]
                other = next(at for at, kind in enumerate(others) if kind not in (column.type, pa.null()))
                raise DataError(
                    f"column {name!r} holds {column.type} here but {others[other]} in {paths[other % len(paths)]}; "
                    "write both alike",
                    file=paths[at % len(paths)],
                ) from None
            place = table.schema.get_field_index(name)
            tables[at] = table.set_column(place, name, pa.chunked_array(chunks, wanted))
    return pa.concat_tables(tables, promote_options="permissive")


def _common(kinds: list[pa.DataType], columns: list[pa.ChunkedArray]) -> pa.DataType:
    values = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
    if not all(map(_is_number, values)):
        nested = next((kind for kind in values if pa.types.is_nested(kind)), None)
        if nested is None or any(
            pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in values
        ):
            return pa.large_string() if any(map(pa.types.is_large_string, values)) else pa.string()
        try:
            schemas = [pa.schema([("one", kind)]) for kind in values]
            return pa.unify_schemas(schemas, promote_options="permissive").field("one").type
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            return nested
    whole = [column for column in columns if pa.types.is_integer(column.type)]
    small = all(
        abs(bound) < 2**53
        for column in whole
        for bound in pc.min_max(column).as_py().values()
        if bound is not None
    )
    if len(whole) + sum(map(pa.types.is_boolean, values)) >= len(values) and not any(
        map(pa.types.is_floating, values)
    ):
        return pa.int64() if small or not any(map(pa.types.is_uint64, values)) else pa.string()
    return pa.float64() if small else pa.string()


def _is_number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _cast(chunk: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if pa.types.is_string(wanted) or pa.types.is_large_string(wanted):
        if pa.types.is_nested(chunk.type):
            texts = [
                None if value is None else json.dumps(value, ensure_ascii=False)
                for value in chunk.to_pylist()
            ]
            return pa.array(texts, wanted)
        return (plain_text(chunk) if not pa.types.is_large_string(chunk.type) else chunk).cast(wanted)
    if pa.types.is_boolean(chunk.type) and not pa.types.is_boolean(wanted):
        chunk = chunk.cast(pa.int8())
    return chunk.cast(wanted, safe=not pa.types.is_decimal(chunk.type))
