"""The split by time: trained on the past, tested on what came after. Axes: N messages."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from tocsin.errors import ConfigError
from tocsin.text.splitting import Split, Splitter, check_shares, crossing_texts, empty_splits
from tocsin.text.times import NO_TIME, parse_time, time_zone, times_of, written

__all__ = ["TemporalSplit", "cut_by_shares", "split_at"]

_DAY = 86_400 * 1_000_000  # microseconds


class TemporalSplit(Splitter):
    """Trains on the earliest messages, validates on later ones and tests on the last.

    Cuts are given as times (`validation_from`, `test_from`), or follow from shares of the table; messages of one
    time are never parted. With shares a new message can move the cuts; with times it cannot. Messages without a time
    are in no split, and texts that stand on both sides of a cut (retweets) are counted.

    The messages of `embargo` days before each cut are left out of the earlier split. Give at least as many days as a
    label looks ahead: the label "followed by an event within 7 days" of a message of the last week tells what happened
    after the cut. Leaving them out of the earlier split keeps the later one the same whatever the embargo.

    Args:
        column: The column of times: timestamps, dates, strings, or numbers (see `format`).
        validation: Share of the messages in validation, 0 to 1; unused where a cut is given.
        test: Share of the messages in test, 0 to 1; unused where a cut is given.
        validation_from: First time of validation, such as "2014-05-01" or "2014-05-01T06:00+08:00"; a date is its
            midnight. Null together with a `test_from`: no validation split.
        test_from: First time of test. Null together with a `validation_from`: no test split.
        embargo: Days before each cut whose messages are in no split; 0 or more, parts of a day are taken.
        timezone: IANA name of the zone that cuts, and times without a zone of their own, are in.
        format: How times are written where they are strings, in the signs of Python's `datetime.strptime`, such as
            "%a %b %d %H:%M:%S %z %Y"; null for ISO 8601. "seconds" or "milliseconds": numbers counted from 1970.
    """

    def __init__(
        self,
        column: str = "time",
        validation: float = 0.1,
        test: float = 0.1,
        validation_from: str | None = None,
        test_from: str | None = None,
        embargo: float = 0.0,
        timezone: str = "UTC",
        format: str | None = None,
    ) -> None:
        check_shares("TemporalSplit", validation, test)
        if not 0 <= embargo < math.inf:
            raise ConfigError(
                f"TemporalSplit: embargo is {embargo}; a number of days of at least 0 was wanted"
            )
        self.column = column
        self.shares = {"validation": validation, "test": test}
        self.embargo = embargo
        self.zone = time_zone(timezone)
        self.format = format
        self._validation_from = self._cut("validation_from", validation_from)
        self._test_from = self._cut("test_from", test_from)
        first, last = self._validation_from, self._test_from
        if first is not None and last is not None and first >= last:
            raise ConfigError(
                f"TemporalSplit: validation_from {validation_from} is not before test_from {test_from}; "
                "training comes first, then validation, then test"
            )

    def _cut(self, name: str, given: str | None) -> int | None:
        if given is None:
            return None
        try:
            return parse_time(given, self.zone)
        except (ValueError, OverflowError):
            raise ConfigError(
                f"TemporalSplit: {name} is {given!r}; a date or time in ISO 8601 was wanted, such as 2014-05-01"
            ) from None

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of times."""
        return (self.column,)

    @property
    def whole_table(self) -> bool:
        """True where shares make the cuts: they lie where the table's times do."""
        return self._validation_from is None and self._test_from is None

    def split(self, table: pa.Table) -> Split:
        """Return a split by time; see `Splitter.split`.

        Raises:
            DataError: A value of the column is no time; names file, row and value.
        """
        times = times_of(table, self.column, self.zone, self.format)
        known = times != NO_TIME
        cuts = self._validation_from, self._test_from
        sentences: list[str] = []
        if self.whole_table:
            cuts = cut_by_shares(times[known], self.shares["validation"], self.shares["test"])
            told = [
                f"{name} from {written(cut, self.zone)}"
                for name, cut in zip(self.shares, cuts, strict=True)
                if cut is not None
            ]
            if told:
                sentences.append(f"cut by shares: {', '.join(told)}; new messages can move these cuts")
        names = split_at(times, *cuts, embargo=round(self.embargo * _DAY))
        if missing := int(np.count_nonzero(~known)):
            sentences.append(f"{missing:,} messages have no {self.column}: left out")
        if held := int(np.count_nonzero(known & (names == ""))):
            sentences.append(
                f"{held:,} messages of the {self.embargo:g} days before a cut left out (embargo)"
            )
        shares = {
            name: self.shares[name] if self.whole_table else 1.0
            for name, cut in zip(self.shares, cuts, strict=True)
            if cut is not None
        }
        advice = "look at the cuts and the embargo"
        sentences += [
            sentence.replace(" (share 1)", "")
            for sentence in empty_splits(names, {"train": 1.0, **shares}, advice)
        ]
        return Split(names, [*sentences, *crossing_texts(table, names)])


def cut_by_shares(times: np.ndarray, validation: float, test: float) -> tuple[int | None, int | None]:
    """Return the first time of validation and of test, or None for a share of 0 (or no times).

    Args:
        times: (n,) int64 in any order.
        validation: Share of the messages in validation, 0 to 1.
        test: Share of the messages in test, 0 to 1.
    """
    ordered = np.sort(times)

    def at(share: float) -> int:
        # Rounded: 1 - .1 - .1 is .7999…, and a message would change sides.
        return int(ordered[min(round(len(ordered) * share), len(ordered) - 1)])

    if not len(ordered):
        return None, None
    return (
        at(1 - validation - test) if validation > 0 else None,
        at(1 - test) if test > 0 else None,
    )


def split_at(
    times: np.ndarray, validation_from: int | None, test_from: int | None, *, embargo: int = 0
) -> np.ndarray:
    """Return the split of each time, (N,) strings.

    Args:
        times: (N,) int64; `NO_TIME` for none, which is in no split.
        validation_from: First time of validation, or None for no such split.
        test_from: First time of test, or None for no such split.
        embargo: In the unit of the times: what lies less than this before a cut, on its earlier side, is in no split.
    """
    names = np.full(len(times), "train", "U10")
    for cut, name in ((validation_from, "validation"), (test_from, "test")):
        if cut is not None:
            names[(times < cut) & (times >= cut - embargo)] = ""
            names[times >= cut] = name
    names[times == NO_TIME] = ""
    return names
