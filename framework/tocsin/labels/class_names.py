"""The names of class ids that a file itself holds, as the library datasets writes them into Parquet and Arrow files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tocsin.errors import DataError
from tocsin.text.readers import ArrowReader, ParquetReader

__all__ = ["class_names"]

_MOST = 1 << 24  # bytes of metadata that are parsed
_DEPTH = 4  # a list of lists of class ids is already no label column


def class_names(path: Path, column: str) -> tuple[str, ...] | None:
    """Return the names of a column's class ids, in the order of the ids; None where the file holds none."""
    metadata = _metadata(path)
    text = metadata.get(b"huggingface", b"")
    if not text or len(text) > _MOST:
        return None
    try:
        node = json.loads(text)["info"]["features"][column]
        for _ in range(_DEPTH):
            node = node[0] if isinstance(node, list) else node
            if node.get("_type") == "ClassLabel":
                names = node["names"]
                return tuple(names) if all(isinstance(name, str) for name in names) else None
            node = node["feature"]
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return None  # other metadata than that library's: ids are then counted by the option `names`
    return None


def _metadata(path: Path) -> dict[bytes, bytes]:
    try:
        if path.suffix.lower() in ParquetReader.suffixes:
            return pq.read_schema(path).metadata or {}
        if path.is_dir() or path.suffix.lower() in ArrowReader.suffixes:
            return ArrowReader().metadata(path)
    except (DataError, pa.ArrowException, OSError):
        return {}  # no such file, or a torn one: its reader says so
    return {}
