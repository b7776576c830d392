"""Columns of times, however they are written, as microseconds since 1970 in UTC. Axes: N messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import ConfigError, DataError
from tocsin.text.messages import source_column
from tocsin.text.splitting import row_place

__all__ = ["NO_TIME", "microseconds", "parse_time", "time_zone", "times_of", "written"]

NO_TIME = np.iinfo(np.int64).min
"""Stands for null among microseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"seconds": 1_000_000, "milliseconds": 1_000}
_LATEST = 253_402_300_800 * 1_000_000  # the year 10000


def time_zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name, such as "Europe/Paris".

    Raises:
        ConfigError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no name at all, or the name of a folder of zones
        raise ConfigError(
            f"timezone is {name!r}; the name of a time zone was wanted, such as UTC, Asia/Manila or Europe/Paris"
        ) from None


def microseconds(moment: datetime) -> int:
    """Return microseconds since 1970 in UTC of a time with its zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def written(time: int, zone: tzinfo) -> str:
    """Return microseconds since 1970 as a date and time of a zone, to the second."""
    moment = (_EPOCH + timedelta(microseconds=time)).astimezone(zone)
    return moment.isoformat(sep=" ", timespec="seconds")


def parse_time(text: str, zone: tzinfo, format: str | None = None) -> int:
    """Return microseconds since 1970 in UTC.

    Args:
        text: A date or time; a date is its midnight.
        zone: What a time without a zone of its own is in. Where clocks go back, the first of two equal times is meant.
        format: As in `times_of`.

    Raises:
        ValueError: The text is no such time.
    """
    if format in _UNITS:
        return _scaled(int(text), format)
    text = text.strip()
    moment = datetime.fromisoformat(text) if format is None else datetime.strptime(text, format)
    return microseconds(moment if moment.tzinfo is not None else moment.replace(tzinfo=zone))


def times_of(table: pa.Table, column: str, zone: tzinfo, format: str | None = None) -> np.ndarray:
    """Return a column's times, (N,) int64 microseconds since 1970 in UTC; null and empty strings give `NO_TIME`.

    Args:
        table: The messages, (N,).
        column: Timestamps, dates, strings, or numbers with a `format` that says their unit.
        zone: What times without a zone of their own are in.
        format: How strings are written, in the signs of `datetime.strptime`; null for ISO 8601. "seconds" or
            "milliseconds": numbers counted from 1970.

    Raises:
        DataError: A value is no time; names file, row and value.
    """
    values = source_column(table, column)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), NO_TIME)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _of_timestamps(values, zone)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        wanted = f"a time as {format!r} was wanted" if format else "a date or time in ISO 8601 was wanted"
        return _parsed(table, column, values, lambda text: parse_time(text, zone, format), wanted)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"column {column!r} holds {kind}; times were wanted: timestamps, dates or strings")
    if format not in _UNITS:
        raise DataError(
            f"column {column!r} holds {kind}; say what it counts since 1970 (format: seconds, or format: "
            "milliseconds), or write timestamps"
        )
    return _parsed(
        table, column, values, lambda number: _scaled(number, format), f"{format} since 1970 were wanted"
    )


def _of_timestamps(values: pa.ChunkedArray, zone: tzinfo) -> np.ndarray:
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("ms"))
    if values.type.tz is None:
        values = pc.assume_timezone(values, str(zone), ambiguous="earliest", nonexistent="earliest")
    whole = values.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    return pc.fill_null(whole, pa.scalar(int(NO_TIME))).to_numpy()


def _parsed(
    table: pa.Table, column: str, values: pa.ChunkedArray, parse: Callable[..., int], wanted: str
) -> np.ndarray:
    """Parse each distinct value once; refuse those that are no time, naming the first row that holds one."""
    encoded = pc.dictionary_encode(values)
    chunks = encoded.unify_dictionaries().chunks
    times = np.full(len(values), NO_TIME)
    if not chunks:
        return times
    bad: dict[int, object] = {}
    found: list[int] = []
    for code, value in enumerate(chunks[0].dictionary.to_pylist()):
        time = int(NO_TIME)
        if value == "" or value != value:  # how CSV writes a missing value; NaN
            found.append(time)
            continue
        try:
            time = parse(value)
        except (ValueError, OverflowError):
            bad[code] = value
        found.append(time)
    codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in chunks])
    if bad:
        rows = np.flatnonzero(np.isin(codes, list(bad)))
        at = int(rows[0])
        file, row = row_place(table, at)
        more = f" ({len(rows) - 1:,} more rows like it)" if len(rows) > 1 else ""
        raise DataError(
            f"column {column!r} holds {str(bad[int(codes[at])])[:60]!r}, which is no time{more}; {wanted}",
            file=file or "the table",
            row=row,
        )
    known = codes >= 0
    times[known] = np.array(found, np.int64)[codes[known]]
    return times


def _scaled(number: float, unit: str) -> int:
    time = int(number * _UNITS[unit])
    if abs(time) >= _LATEST:
        raise ValueError("beyond the year 9999: another unit?")
    return time
