"""Ids as text, the same whatever type a file gives them, and whether they lost digits on their way."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import DataError
from tocsin.text.reading import DataWarning, holds_bytes

__all__ = ["IdColumn", "check_ids_join", "lossy_ids", "plain_text"]

# 1.29403E+18 as a spreadsheet or a float writes it, or 16 digits and ".0".
# Sixteen decimals are what `plain_text` writes.
_LOSSY = r"^-?(?:\d(?:[.,]\d+)?[eE]\+?(?:1[5-9]|[2-9]\d)|\d\.\d{16}[eE]\+\d\d|(?:9[1-9]|\d{3})\d{14,}\.0+)$"
_WHOLE = r"^-?\d{1,15}\.0$"
_ENOUGH = 3  # ids that must all be round before that is no chance
_HINT = "Write ids as text, from where they still have all their digits"


class IdColumn:
    """The ids of one file, batch by batch.

    Args:
        path: The file, for messages.
        name: The column.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._whole: bool | None = None
        self._lossy, self._rows = 0, 0
        self._example = ("", 0)

    def strings(self, column: pa.Array, first_row: int) -> pa.Array:
        """Return (n,) ids as strings; empty ones are null.

        A whole number is written without a point, in whatever type it comes; text such as 17.0 likewise, where all of a
        file's first ids are like this.

        Raises:
            DataError: The column holds neither text nor numbers.
        """
        try:
            strings = plain_text(column)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"column {self._name!r} holds {column.type}; strings or numbers were wanted",
                file=self._path,
                row=first_row,
            ) from None
        strings = pc.if_else(pc.equal(strings, ""), pa.scalar(None, pa.string()), strings)
        if self._whole is None and strings.null_count < len(strings):
            pointed = pc.all(pc.ends_with(strings, ".0")).as_py()
            self._whole = bool(pointed and pc.all(pc.match_substring_regex(strings, _WHOLE)).as_py())
        if self._whole:
            strings = pc.replace_substring_regex(strings, r"^(-?\d{1,15})\.0$", r"\1")
        count, at = lossy_ids(strings)
        if count and not self._lossy:
            self._example = (strings[at].as_py(), first_row + at)
        self._lossy += count
        self._rows += len(strings)
        return strings

    def warn(self) -> None:
        """Say how many ids lost digits, with one of them."""
        if self._lossy:
            example, row = self._example
            warnings.warn(
                f"{self._path}: {self._lossy:,} of {self._rows:,} ids in column {self._name!r} lost digits on their "
                f"way through a floating-point number or a spreadsheet, such as {example} in row {row}: several "
                f"messages may have one id, and no other file has it. {_HINT}",
                DataWarning,
                stacklevel=2,
            )


def lossy_ids(ids: pa.Array | pa.ChunkedArray) -> tuple[int, int]:
    """Return how many ids lost digits, and where the first of them stands.

    An id has lost digits if it is written as a floating-point number beyond 2**53. Where three or more ids have 16 to
    19 digits, they have if all of these are multiples of 128, as whole floats are, or all end in four zeros, as a
    spreadsheet leaves them.
    """
    strings = ids.cast(pa.string())
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks()
        strings = pa.concat_arrays(strings.chunks) if isinstance(strings, pa.ChunkedArray) else strings
    if holds_bytes(strings, b"#"):  # completed by a row's number
        strings = pc.replace_substring_regex(strings, r"#[\d.]+$", "")
    lengths = pc.binary_length(strings)
    # Digits alone say nothing of the sort, and are what most ids are.
    digits = pc.utf8_is_decimal(strings).fill_null(False)
    mask = pc.and_(pc.invert(digits), pc.fill_null(pc.greater_equal(lengths, 5), False))
    if pc.any(mask).as_py():
        mask = pc.fill_null(pc.match_substring_regex(strings, _LOSSY), False)
    if not pc.any(mask).as_py():
        mask = pc.and_(digits, pc.fill_null(pc.and_(pc.greater(lengths, 15), pc.less(lengths, 20)), False))
        if not pc.any(mask).as_py():
            return 0, 0
        numbers = strings.filter(mask).cast(pa.uint64()).to_numpy()
        beyond = numbers[numbers >= 2**53]
        if len(beyond) < _ENOUGH or ((beyond % 128).any() and (beyond % 10_000).any()):
            return 0, 0
    places = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
    return len(places), int(places[0])


def check_ids_join(ids: pa.Array | pa.ChunkedArray, what: str) -> None:
    """Refuse ids by which nothing can be found again.

    Args:
        ids: (N,) text.
        what: What holds them, for the error, such as a file's name.

    Raises:
        DataError: Some lost digits.
    """
    count, at = lossy_ids(ids)
    if count:
        raise DataError(
            f"{what}: rows are found by their ids, and {count:,} of {len(ids):,} ids lost digits on their way through "
            f"a floating-point number or a spreadsheet, such as {ids[at].as_py()}. {_HINT}"
        )


def plain_text(column: pa.Array) -> pa.Array:
    """Return a column as strings: a whole number has no point ("1" for 1.0), true and false are in lower case.

    A float beyond what its type counts exactly stays in scientific notation, which says that it has lost digits.

    Raises:
        pa.ArrowNotImplementedError: The column's type has no text.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64()) if column.type.scale > 0 else column
    if not pa.types.is_floating(column.type):
        return column.cast(pa.string())
    exact = (
        2.0**24
        if pa.types.is_float32(column.type)
        else 2.0**11
        if pa.types.is_float16(column.type)
        else 2.0**53
    )
    column = column.cast(pa.float64())
    values = column.to_numpy(zero_copy_only=False)
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < exact)
    integers = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
    beyond = np.isfinite(values) & (np.abs(values) >= exact)
    texts = column.cast(pa.string())
    if beyond.any():  # Arrow writes some of them with all the digits that they do not have
        written = [
            format(value, ".17g") if "e" in format(value, ".17g") else f"{value:.16e}"
            for value in values[beyond]
        ]
        texts = pc.replace_with_mask(texts, pa.array(beyond), pa.array(written, pa.string()))
    return pc.if_else(pa.array(whole), integers, texts)
