"""A teacher's scores file, read as the probabilities of messages by id. M messages of the teacher, L labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tocsin.errors import DataError, LabelError, did_you_mean
from tocsin.logits import sigmoid
from tocsin.parquet_files import read_parquet

__all__ = ["read_teacher", "teacher_labels"]

_KINDS = ("logit.", "prob.")


def teacher_labels(path: Path) -> tuple[str, ...]:
    """Return the labels of a scores file in order, from its columns and metadata alone.

    Raises:
        LabelError: The file is no scores table, or its metadata names other labels than its columns.
    """
    schema = _schema(path)
    kind = _kind(schema, path)
    found = tuple(name.removeprefix(kind) for name in schema.names if name.startswith(kind))
    text = (schema.metadata or {}).get(b"tocsin.labels")
    if text is None:
        return found
    try:
        labels = tuple(map(str, json.loads(text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise LabelError(f"{path}: the labels in the metadata cannot be read: {error}") from None
    if set(labels) != set(found):
        raise LabelError(
            f"{path}: the metadata names the labels {list(labels)}, and the columns hold {list(found)}. The file was "
            "edited by another tool; write it again from the model"
        )
    return labels


def read_teacher(path: Path, labels: Sequence[str]) -> tuple[pa.Array, np.ndarray]:
    """Read what a teacher said of its messages.

    Args:
        path: A scores table, or what `tocsin predict` wrote: Parquet with `id` and `logit.<label>` or
            `prob.<label>`.
        labels: L names, in the order wanted; a file may hold more.

    Returns:
        Ids (M,) as strings, each once, and probabilities (M, L) float32, NaN where the file holds null.

    Raises:
        LabelError: The file is no scores table, lacks a label or ids, names an id twice, or holds a probability
            that is none; names file and row.
    """
    schema = _schema(path)
    kind = _kind(schema, path)
    for label in labels:
        if kind + label not in schema.names:
            known = [name.removeprefix(kind) for name in schema.names if name.startswith(kind)]
            raise LabelError(
                f"the teacher's scores {path} have no label {label!r}.{did_you_mean(label, known)} They have: "
                f"{', '.join(known)}"
            )
    try:
        table = read_parquet(path, ["id", *(kind + label for label in labels)])
    except DataError as error:
        raise LabelError(f"the teacher's scores cannot be read: {error}") from None
    probabilities_ML = np.empty((table.num_rows, len(labels)), np.float32)
    for at, label in enumerate(labels):
        probabilities_ML[:, at] = _probabilities(table[kind + label], kind, label, path)
    return _ids(table["id"], path), probabilities_ML


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise LabelError(f"the teacher's scores {path} cannot be read as one Parquet file: {error}") from None


def _kind(schema: pa.Schema, path: Path) -> str:
    kind = next((k for k in _KINDS if any(name.startswith(k) for name in schema.names)), None)
    if kind is None or "id" not in schema.names:
        raise LabelError(
            f"{path} is no scores table: a column 'id' and columns 'logit.<label>' or 'prob.<label>' were wanted, and "
            f"it has {', '.join(schema.names[:8]) or 'none'}"
        )
    return kind


def _probabilities(column: pa.ChunkedArray, kind: str, label: str, path: Path) -> np.ndarray:
    if not (
        pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)
    ):
        raise LabelError(f"{path}: column {kind + label!r} holds {column.type}; numbers were wanted")
    null_M = column.is_null().to_numpy()
    scores_M = column.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy()
    wrong_M = np.isnan(scores_M) if kind == "logit." else ~((scores_M >= 0) & (scores_M <= 1))
    if wrong_M.any():
        row = int(np.flatnonzero(wrong_M)[0])
        wanted = "a number" if kind == "logit." else "a probability in [0, 1]"
        raise LabelError(
            f"{path}, row {row + 1}: column {kind + label!r} holds {scores_M[row]:g}; {wanted} or null was wanted "
            f"({int(wrong_M.sum()):,} such scores). Score the messages again with the teacher"
        )
    return np.where(null_M, np.nan, sigmoid(scores_M) if kind == "logit." else scores_M)


def _ids(column: pa.ChunkedArray, path: Path) -> pa.Array:
    ids = column.cast(pa.string()).combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks) if ids.chunks else pa.array([], pa.string())
    if ids.null_count:
        row = int(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise LabelError(f"{path}, row {row}: the message has no id, so no other file can name it")
    if len(pc.unique(ids)) < len(ids):
        counts = np.bincount(ids.dictionary_encode().indices.to_numpy())
        again = ids.dictionary_encode().dictionary[int(np.flatnonzero(counts > 1)[0])].as_py()
        raise LabelError(
            f"the teacher's scores {path} hold the message {again!r} more than once, and which score is meant cannot "
            "be told. Keep one row of each message"
        )
    return ids
