"""The columns of Arrow's own formats: by name, or by the path of what is nested in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tocsin.text.reading import OnBadRow, find_columns, stripped_names, valid_strings

__all__ = ["checked", "part_of", "pick_columns"]


def pick_columns(
    path: Path, wanted: Sequence[str], existing: Sequence[str], schema: pa.Schema
) -> list[tuple[int, tuple[str, ...]]]:
    """Return for each wanted column where it stands in a file, and the path to what is meant inside it.

    Args:
        path: The file, for the error.
        wanted: Names, or paths such as `user.name` and `referenced_tweets.0.text`.
        existing: The file's columns.
        schema: Their types, of the first ones.

    Raises:
        DataError: The file lacks a column, or holds it twice.
    """
    names = stripped_names(existing)
    picked: dict[str, tuple[int, tuple[str, ...]]] = {}
    for name in wanted:
        parts = name.split(".")
        for size in range(len(parts) - 1, 0, -1):
            head, keys = ".".join(parts[:size]), tuple(parts[size:])
            if name not in (*names, *existing) and names.count(head) == 1:
                place = names.index(head)
                if place < len(schema.types) and _has(schema.types[place], keys):
                    picked[name] = (place, keys)
                    break
    flat = [name for name in wanted if name not in picked]
    places = dict(zip(flat, find_columns(path, flat, existing), strict=True))
    return [picked.get(name) or (places[name], ()) for name in wanted]


def part_of(array: pa.Array, keys: tuple[str, ...]) -> pa.Array:
    """Return what stands at a path in each value of a column; null where a value does not have it."""
    for key in keys:
        if pa.types.is_struct(array.type):
            array = pc.struct_field(array, key)
            continue
        at = int(key)
        long_enough = pc.greater(pc.fill_null(pc.list_value_length(array), 0), at)
        found = pc.list_element(array.filter(long_enough), at)
        places = pc.if_else(
            long_enough, pc.subtract(pc.cumulative_sum(long_enough.cast(pa.int64())), 1), None
        )
        array = found.take(places)
    return array


def checked(array: pa.Array, name: str, path: Path, first_row: int, on_bad_row: OnBadRow | None) -> pa.Array:
    """Return a column whose strings, where it holds any, are proper UTF-8; see `valid_strings`."""
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return valid_strings(array, path=path, column=name, first_row=first_row, on_bad_row=on_bad_row)
    return array


def _has(kind: pa.DataType, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if pa.types.is_struct(kind) and kind.get_field_index(key) >= 0:
            kind = kind.field(key).type
        elif (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and key.isdecimal():
            kind = kind.value_type
        else:
            return False
    return True
