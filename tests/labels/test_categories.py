"""Categorical columns as labels: order, what null and unlisted values mean, and every spelling of a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import LabelError
from tocsin.labels.categories import Categories
from tocsin.plugins.testing import check_label_scheme
from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages

NULL = float("nan")


def test_a_value_is_one_its_column_s_others_are_zero_null_is_unknown() -> None:
    scheme = Categories({"kind": ["flood", "fire"], "level": ["3", "1"]})
    assert scheme.names == ("kind=flood", "kind=fire", "level=3", "level=1")
    assert scheme.columns == ("kind", "level")
    table = pa.table({"level": [1, None, 3], "kind": ["fire", "flood", None]})
    np.testing.assert_array_equal(
        scheme.targets(table), np.array([[0, 1, 0, 1], [1, 0, NULL, NULL], [NULL, NULL, 1, 0]], np.float32)
    )
    assert scheme.targets(table).dtype == np.float32


def test_order_is_that_of_the_lists_not_of_the_file() -> None:
    table = pa.table({"kind": ["a", "b", "c"]})
    assert Categories({"kind": ["c", "a", "b"]}).targets(table).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        (pa.array([3, 1, None], pa.int16()), ["1", "3"]),
        (pa.array([3.0, 1.0, NULL]), ["1", "3"]),
        (pa.array(["3", " 1 ", ""]), ["1", "3"]),
        (pa.array(["3.0", "1.00", "nan"]), ["1", "3"]),
        (pa.array([3, 1, None]), ["1.0", "3.0"]),
        (pa.array(["TRUE", "False", ""]), ["false", "True"]),
        (pa.array(["3", "1", None], pa.large_string()), ["1", "3"]),
        (pa.array(["3", "1", None], pa.string_view()), ["1", "3"]),
        (pa.array(["3", "1", None]).dictionary_encode(), ["1", "3"]),
        (pa.array([True, False, None]), ["false", "true"]),
        (pa.array([2.5, 0.5, None]), ["0.5", "2.5"]),
    ],
    ids=lambda values: str(getattr(values, "type", "")),
)
def test_values_of_every_type(values: pa.Array, listed: list[str]) -> None:
    targets_NL = Categories({"kind": listed}).targets(pa.table({"kind": values}))
    np.testing.assert_array_equal(targets_NL, np.array([[0, 1], [1, 0], [NULL, NULL]], np.float32))


def test_blank_means_what_the_option_says() -> None:
    table = pa.table({"kind": ["flood", "", None, "n/a", " "]})
    scheme = Categories({"kind": ["flood"]}, null_values=["n/a"], blank=0)
    np.testing.assert_array_equal(scheme.targets(table)[:, 0], [1, 0, 0, NULL, 0])
    assert Categories({"kind": ["flood"]}, blank=0).targets(pa.table({"kind": pa.nulls(1)})).tolist() == [
        [0.0]
    ]


def test_a_cell_that_lists_labels_advises_the_scheme_for_it() -> None:
    scheme = Categories({"kind": ["flood", "fire"]})
    for cell in ("flood;fire", "['flood', 'fire']", "fire, flood"):
        with pytest.raises(LabelError, match=r"read by the label scheme Lists.*column: kind") as caught:
            scheme.targets(pa.table({"kind": ["fire", cell]}))
        assert "label of its own" not in str(caught.value)
    with pytest.raises(LabelError, match="Add it to the values of 'kind'"):
        scheme.targets(pa.table({"kind": ["earthquake, volcano"]}))


def test_columns_of_nulls_and_no_rows() -> None:
    scheme = Categories({"kind": ["flood"]})
    assert np.isnan(scheme.targets(pa.table({"kind": pa.nulls(2)}))).tolist() == [[True], [True]]
    assert scheme.targets(pa.table({"kind": pa.array([], pa.string())})).shape == (0, 1)


VALUES = ["flood", "fire", "n/a", "none", None, ""]


@given(st.lists(st.lists(st.sampled_from(VALUES), max_size=5), max_size=4))
def test_against_a_loop_over_chunks(chunks: list[list[str | None]]) -> None:
    scheme = Categories({"kind": ["flood", "fire"]}, ["n/a"], ["none"])
    column = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())
    wanted = []
    for value in (value for chunk in chunks for value in chunk):
        unknown = value in (None, "", "n/a")
        wanted.append([NULL if unknown else float(value == label) for label in ("flood", "fire")])
    found = scheme.targets(pa.table({"kind": column}))
    np.testing.assert_array_equal(found, np.array(wanted, np.float32).reshape(-1, 2))


def test_null_and_negative_values_of_one_column_alone() -> None:
    scheme = Categories({"kind": ["x"], "level": ["x", "n/a"]}, ["kind=n/a"], ["kind=no", "level=off"])
    table = pa.table({"kind": ["n/a", "no", "x"], "level": ["n/a", "off", "x"]})
    np.testing.assert_array_equal(
        scheme.targets(table), np.array([[NULL, 0, 1], [0, 0, 0], [1, 1, 0]], np.float32)
    )
    with pytest.raises(LabelError, match=r"row 1: label column 'level' holds 'no'; 'x', 'n/a' or null"):
        scheme.targets(pa.table({"kind": ["x"], "level": ["no"]}))


def test_a_category_never_listed_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text("text,kind,level\n,storm,1\na,fire,1\nb,Flood,9\nc,quake,1\n")
    table = read_messages(
        [path], text="text", id=None, lang=None, extra=["kind", "level"], cleaner=NoCleaner(), on_empty="drop"
    ).table
    with pytest.raises(LabelError) as caught:
        Categories({"kind": ["flood", "fire"], "level": ["1"]}).targets(table)
    assert str(caught.value) == (
        f"{path}, row 3: label column 'kind' holds 'Flood'; 'flood', 'fire' or null (unknown) were wanted. "
        "Likewise 1 more in this column, 1 in 'level'. It stands in none of the lists. Did you mean 'flood'? Add it "
        "to the values of 'kind' for a label of its own, to null_values if it means unknown, or to negative_values if "
        "none of the labels holds"
    )


def test_values_in_a_text_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scheme = Categories({"kind": "kinds.txt", "level": ["1"]})  # building reads nothing
    (tmp_path / "kinds.txt").write_text("flood\n\nwild fire\n")
    assert scheme.names == ("kind=flood", "kind=wild fire", "level=1")
    assert scheme.files == (Path("kinds.txt"),)
    with pytest.raises(LabelError, match=r"text file with one value a line.*no data file 'none\.txt'"):
        _ = Categories({"kind": "none.txt"}).names


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"values": {}}, "values names no column"),
        ({"values": {"kind": []}}, "values of column 'kind': no value is named"),
        ({"values": {"kind": ["a", "a"]}}, "'a' named more than once; name each value once"),
        ({"values": {"kind": [True]}}, "name 1 is True .*quotes"),
        (
            {"values": {"kind": ["a"]}, "null_values": ["a"]},
            "'a' is a label of column 'kind' and stands in null",
        ),
        ({"values": {"kind": ["a"]}, "negative_values": ["kind=a"]}, "stands in negative_values"),
        (
            {"values": {"kind": ["a"]}, "null_values": ["b"], "negative_values": ["b"]},
            "in null_values and in",
        ),
        ({"values": {"a": ["b=c"], "a=b": ["c"]}}, "'a=b=c' named more than once"),
    ],
)
def test_impossible_settings(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(LabelError, match=match):
        _ = Categories(**arguments).names


def test_a_column_that_is_missing_or_holds_no_values() -> None:
    scheme = Categories({"kind": ["a"]})
    with pytest.raises(LabelError, match=r"categorical column 'kind': Did you mean 'kinds'\?"):
        scheme.targets(pa.table({"kinds": ["a"]}))
    with pytest.raises(LabelError, match="'kind' holds list"):
        scheme.targets(pa.table({"kind": [["a"]]}))


def test_it_conforms() -> None:
    table = pa.table({"kind": ["flood", None, "fire", "n/a", "none"], "level": [1, 2, None, 2, 1]})
    values = {"kind": ["flood", "fire"], "level": ["1", "2"]}
    check_label_scheme(Categories, table, values=values, null_values=["n/a"], negative_values=["kind=none"])
