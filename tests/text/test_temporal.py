"""The split by time, and the many ways of writing a time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import ConfigError, DataError
from tocsin.plugins.testing import check_splitter
from tocsin.text.temporal import TemporalSplit, cut_by_shares, split_at
from tocsin.text.times import NO_TIME, times_of

DAYS = [f"2014-05-{day:02d}" for day in range(1, 21)]


def table_of(times: Any, **columns: Any) -> pa.Table:
    texts = [f"message {number}" for number in range(len(times))]
    return pa.table({"text": pa.array(texts, pa.large_string()), "time": times, **columns})


def counts(splitter: TemporalSplit, times: Any) -> dict[str, int]:
    return splitter.split(table_of(times)).counts()


def test_shares_cut_the_sorted_times() -> None:
    shuffled = [DAYS[(7 * number) % 20] for number in range(20)]
    split = TemporalSplit().split(table_of(shuffled))
    for day, name in zip(shuffled, split.names, strict=True):
        assert name == ("train" if day <= "2014-05-16" else "validation" if day <= "2014-05-18" else "test")
    assert split.crossing == [
        "cut by shares: validation from 2014-05-17 00:00:00+00:00, test from 2014-05-19 00:00:00+00:00; "
        "new messages can move these cuts"
    ]


def test_dates_cut_and_new_rows_move_nothing() -> None:
    splitter = TemporalSplit(validation_from="2014-05-11", test_from="2014-05-16")
    assert splitter.split(table_of(DAYS)).names.tolist() == ["train"] * 10 + ["validation"] * 5 + ["test"] * 5
    assert counts(splitter, DAYS) == {"train": 10, "validation": 5, "test": 5, "": 0}
    assert not splitter.whole_table
    assert TemporalSplit().whole_table
    assert counts(TemporalSplit(test_from="2014-05-16"), DAYS) == {
        "train": 15,
        "validation": 0,
        "test": 5,
        "": 0,
    }
    assert counts(TemporalSplit(validation_from="2014-05-16"), DAYS) == {
        "train": 15,
        "validation": 5,
        "test": 0,
        "": 0,
    }


def test_embargo_leaves_out_the_days_before_a_cut() -> None:
    cuts = {"validation_from": "2014-05-11", "test_from": "2014-05-16"}
    split = TemporalSplit(**cuts, embargo=2).split(table_of(DAYS))  # type: ignore[arg-type]
    assert [day for day, name in zip(DAYS, split.names, strict=True) if name == ""] == [
        "2014-05-09", "2014-05-10", "2014-05-14", "2014-05-15",
    ]  # fmt: skip
    assert split.crossing == ["4 messages of the 2 days before a cut left out (embargo)"]
    without = TemporalSplit(**cuts).split(table_of(DAYS))  # type: ignore[arg-type]
    assert ((split.names == "test") == (without.names == "test")).all(), (
        "test is the same whatever the embargo"
    )
    half = TemporalSplit(**cuts, embargo=0.5).split(table_of(["2014-05-10T11:59", "2014-05-10T12:00"]))  # type: ignore[arg-type]
    assert half.names.tolist() == ["train", ""]


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.integers(0, 5),
)
def test_no_time_is_parted_and_the_gap_is_kept(
    values: list[int], validation: float, test: float, embargo: int
) -> None:
    times = np.array(values)
    split = split_at(times, *cut_by_shares(times, validation, test), embargo=embargo)
    for time in set(values):
        assert len(set(split[times == time])) == 1
    order = ("train", "validation", "test")
    for at, earlier in enumerate(order):
        for later in order[at + 1 :]:
            if (split == earlier).any() and (split == later).any():
                assert times[split == later].min() - times[split == earlier].max() > embargo * bool(embargo)
    # No later split is larger than its share asks for, but for rows of one time.
    assert np.count_nonzero(times > times[split == "test"].min(initial=99)) <= round(len(times) * test)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (["2014-05-01T10:00:00Z"], {}),
        (["2014-05-01 18:00:00+08:00"], {}),
        (["2014-05-01T18:00"], {"timezone": "Asia/Manila"}),
        (["Thu May 01 10:00:00 +0000 2014"], {"format": "%a %b %d %H:%M:%S %z %Y"}),
        (["01.05.2014 12:00"], {"format": "%d.%m.%Y %H:%M", "timezone": "Europe/Paris"}),
        ([1398938400], {"format": "seconds"}),
        (["1398938400"], {"format": "seconds"}),
        ([1398938400000.0], {"format": "milliseconds"}),
        (pa.array([datetime(2014, 5, 1, 10)], pa.timestamp("s")), {}),
        (pa.array([datetime(2014, 5, 1, 18)], pa.timestamp("ns")), {"timezone": "Asia/Manila"}),
        (
            pa.array([datetime(2014, 5, 1, 10, tzinfo=UTC)], pa.timestamp("us", "Asia/Manila")),
            {"timezone": "UTC"},
        ),
        (pa.array(["2014-05-01T10:00"]).dictionary_encode(), {}),
    ],
)
def test_one_moment_written_in_many_ways(values: Any, options: dict[str, str]) -> None:
    zone = ZoneInfo(options.get("timezone", "UTC"))
    times = times_of(table_of(values), "time", zone, options.get("format"))
    assert times.tolist() == [int(datetime(2014, 5, 1, 10, tzinfo=UTC).timestamp()) * 1_000_000]


def test_a_date_is_its_midnight_in_the_zone() -> None:
    midnight = int(datetime(2014, 4, 30, 16, tzinfo=UTC).timestamp()) * 1_000_000
    for values in (["2014-05-01"], pa.array([date(2014, 5, 1)])):
        assert times_of(table_of(values), "time", ZoneInfo("Asia/Manila")).tolist() == [midnight]
    splitter = TemporalSplit(test_from="2014-05-01", timezone="Asia/Manila")
    assert splitter.split(table_of(["2014-04-30T15:59Z", "2014-04-30T16:00Z"])).names.tolist() == [
        "train",
        "test",
    ]


def test_messages_without_a_time_are_in_no_split_and_told() -> None:
    split = TemporalSplit(test_from="2014-05-02").split(table_of(["2014-05-01", None, "", "2014-05-03"]))
    assert split.names.tolist() == ["train", "", "", "test"]
    assert split.crossing == ["2 messages have no time: left out"]
    assert times_of(table_of([float("nan"), 0.0]), "time", ZoneInfo("UTC"), "seconds").tolist() == [
        NO_TIME,
        0,
    ]
    assert times_of(table_of(pa.nulls(2)), "time", ZoneInfo("UTC")).tolist() == [NO_TIME] * 2


def test_what_is_no_time_is_named_by_file_and_row() -> None:
    table = table_of(
        ["2014-05-01", "yesterday", "1/2/14"], file=["a.csv", "b.csv", "b.csv"], row=[7, 204, 205]
    )
    with pytest.raises(
        DataError, match=r"b\.csv, row 204: column 'time' holds 'yesterday', which is no time"
    ) as told:
        TemporalSplit().split(table)
    assert (told.value.file, told.value.row) == ("b.csv", 204)
    assert "1 more rows like it" in str(told.value)
    assert "ISO 8601" in str(told.value)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ([1398938400], {}, "format: seconds, or format: milliseconds"),
        ([1398938400000], {"format": "seconds"}, "seconds since 1970 were wanted"),
        ([True], {}, "holds bool; times were wanted"),
        ([[1]], {}, "holds list"),
        (["2014-05-01"], {"format": "%d.%m.%Y"}, "'%d.%m.%Y' was wanted"),
    ],
)
def test_columns_of_another_kind(values: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        TemporalSplit(**options).split(table_of(values))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validation": 0.6, "test": 0.4}, "sum under 1"),
        ({"embargo": -1}, "embargo is -1"),
        ({"embargo": float("nan")}, "embargo is nan"),
        ({"timezone": "Mars/Olympus"}, "timezone is 'Mars/Olympus'"),
        ({"test_from": "in May"}, "test_from is 'in May'"),
        ({"validation_from": "2014-06-01", "test_from": "2014-05-01"}, "is not before test_from"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TemporalSplit(**options)


def test_empty_splits_and_crossing_texts_are_told() -> None:
    split = TemporalSplit(test_from="2020-01-01").split(table_of(DAYS))
    assert split.crossing == ["no message fell into test: look at the cuts and the embargo"]
    table = pa.table(
        {"text": pa.array(["Fire", "fire"], pa.large_string()), "time": ["2014-05-01", "2014-05-09"]}
    )
    assert TemporalSplit(test_from="2014-05-02").split(table).crossing == [
        "1 text stands in more than one split (messages: 1 in train, 1 in test)"
    ]


@pytest.mark.parametrize(
    "options", [{}, {"validation_from": "2014-05-05", "test_from": "2014-05-11", "embargo": 1.5}]
)
def test_it_conforms(options: dict[str, Any]) -> None:
    check_splitter(TemporalSplit, pa.table({"time": DAYS}), **options)
