"""Several labels in one column, in every form that files write them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import LabelError
from tocsin.labels.categories import Categories
from tocsin.labels.lists import Lists
from tocsin.labels.names import label_digest
from tocsin.labels.schemes import Columns
from tocsin.labels.soft import Soft
from tocsin.labels.union import Union
from tocsin.plugins.testing import check_label_scheme
from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages

NAMES = ["flood", "fire", "needs"]
NONE = [0.0, 0.0, 0.0]
UNKNOWN = [None, None, None]


def targets_of(cells: Any, names: list[str] = NAMES, **options: Any) -> list[list[float | None]]:
    column = cells if isinstance(cells, pa.Array | pa.ChunkedArray) else pa.array(cells)
    targets_NL = Lists("labels", names, **options).targets(pa.table({"labels": column}))
    assert targets_NL.dtype == np.float32
    assert targets_NL.shape == (len(column), len(names))
    return [[None if np.isnan(value) else float(value) for value in row] for row in targets_NL]


@pytest.mark.parametrize(
    "cell",
    [
        "flood;needs",
        " needs ; flood;",
        "flood|needs",
        "flood, needs",
        "flood\nneeds",
        "needs\tflood",
        "flood；needs",
        "['flood', 'needs']",
        '["flood", "needs"]',
        "['flood' 'needs']",
        "[flood, needs]",
        "('flood', 'needs')",
        "{'needs', 'flood'}",
        "{flood,needs}",
        "array(['flood', 'needs'], dtype=object)",
        "array(['flood', 'needs'],\n      dtype='<U5')",
        "frozenset({'flood', 'needs'})",
        "[np.str_('flood'), np.str_('needs')]",
        '["fl\\u006fod", "needs"]',
        "0;2",
        "[0, 2]",
        "[2 0]",
        "[1, 0, 1]",
        "[1. 0. 1.]",
        "[True, False, True]",
        "[true,false,true]",
        "1 , 0 , 1",
    ],
)
def test_forms_of_a_text(cell: str) -> None:
    assert targets_of([cell, "[]", "fire", None, "", "set()"]) == [
        [1.0, 0.0, 1.0],
        NONE,
        [0.0, 1.0, 0.0],
        UNKNOWN,
        UNKNOWN,
        NONE,
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([["flood", "needs"], ["fire"], [], None], pa.list_(pa.string())),
        ([["flood", "needs"], ["fire"], [], None], pa.large_list(pa.large_string())),
        ([["needs", "flood"], ["fire"], [], None], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        ([[0, 2], [1], [], None], pa.list_(pa.int64())),
        ([[2.0, 0.0], [1.0], [], None], pa.list_(pa.float64())),
        ([[1, 0, 1], [0, 1, 0], [0, 0, 0], None], pa.list_(pa.int8())),
        ([[True, False, True], [False, True, False], [False] * 3, None], pa.list_(pa.bool_(), 3)),
    ],
    ids=str,
)
def test_lists_of_arrow(values: Any, kind: pa.DataType) -> None:
    column = pa.array(values, kind)
    wanted = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], NONE, UNKNOWN]
    assert targets_of(column) == wanted
    assert targets_of(pa.chunked_array([column, column])) == wanted * 2
    assert targets_of(column.slice(1, 2)) == wanted[1:3]


def test_ids_that_are_no_hot_vector() -> None:
    assert targets_of(["[1, 0]", "2;1"]) == [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]


def test_one_id_a_message() -> None:
    assert targets_of(pa.array([2, None, 0])) == [[0.0, 0.0, 1.0], UNKNOWN, [1.0, 0.0, 0.0]]


@given(st.lists(st.sets(st.sampled_from(NAMES)), min_size=1))
def test_all_forms_say_the_same(rows: list[set[str]]) -> None:
    lists = [sorted(row) for row in rows]
    wanted = [[float(name in row) for name in NAMES] for row in rows]
    for cells in (
        lists,
        [str(row) for row in lists],
        [json.dumps(row) for row in lists],
        [str([NAMES.index(name) for name in row]) for row in lists],
        [str([int(value) for value in row]) for row in wanted],
        [";".join(row) or "[]" for row in lists],
    ):
        assert targets_of(pa.array(cells, pa.list_(pa.string())) if cells is lists else cells) == wanted


def test_null_inside_a_hot_vector_is_unknown() -> None:
    assert targets_of(["[1, null, 0]", "[0, nan, 1]"]) == [[1.0, None, 0.0], [0.0, None, 1.0]]
    assert targets_of(pa.array([[1, None, 0]])) == [[1.0, None, 0.0]]


def test_blank_and_words() -> None:
    cells = ["flood", "", None, "NaN", "none", "unclear;fire", "fire;unclear", "n/a", "other;needs", " "]
    found = targets_of(cells, blank=0, unknown_values=["unclear", "N/A"], negative_values=["None", "other"])
    some = [None, 1.0, None]
    assert found == [[1.0, 0, 0], NONE, NONE, NONE, NONE, some, some, UNKNOWN, [0, 0, 1.0], NONE]
    assert targets_of(pa.array([[""], [], None], pa.list_(pa.string()))) == [UNKNOWN, NONE, UNKNOWN]


def test_names_that_hold_separators_and_brackets() -> None:
    names = ["search, rescue", "[red]", "[/urgent]", "a;b", "no"]
    assert targets_of(["[red];[/urgent]", "[red], no, [/urgent]"], names) == [
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 1],
    ]
    cells = [
        "search, rescue",
        "[red]",
        "search, rescue; [red]",
        "a;b",
        "['search, rescue', 'no']",
        "[/urgent]|no",
    ]
    assert targets_of(cells, names) == [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0],
        [1, 0, 0, 0, 1],
        [0, 0, 1, 0, 1],
    ]
    assert targets_of(["no [red]"], ["no", "[red]"], separator=" ") == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("flood;foood", "'foood' is no label. Did you mean 'flood'?"),
        ("Flood", "'Flood' is no label. Did you mean 'flood'?"),
        ("['flood', 'wind']", "'wind' is no label"),
        ("NA", "unknown_values"),
        ("flood needs", "`separator`"),
        ("[3]", "numbers from 0"),
        ("[1, 1]", "wanted are names of labels"),
        ("[-1]", "numbers from 0"),
        ("[['flood']]", "a list inside a list"),
        ("[{'label': 'flood'}]", "a list inside a list, an object"),
        ("['it's', 'flood']", "a quote is closed in the middle of an entry"),
        ("[flood, __import__('os').system('exit 1')]", ""),
        ("__import__('os').getcwd()", "is no label"),
        ("[" * 50_000, "is no label"),
        ("['" * 50_000, "is no label"),
        ("np.str_(" * 20_000 + ")" * 20_000, "is no label"),
        ("list(" * 20_000 + ")" * 20_000, "is no label"),
        ("array([" + ",dtype=" * 50_000 + "x])", "is no label"),
        ("[" + "[" * 20_000 + "]" * 20_000 + "]", "a list inside a list"),
        ("[" + "'" * 50_001 + "]", ""),
        ("[" + "\\" * 50_001 + "]", "is no label"),
    ],
)
def test_what_cannot_be_read_is_named(cell: str, said: str) -> None:
    with pytest.raises(LabelError) as caught:
        targets_of(["flood", cell, cell])
    message = str(caught.value)
    assert message.startswith("row 2: label column 'labels' holds ")
    assert said in message
    assert message.endswith("Likewise 1 more rows.")
    assert len(message) < 700


@given(st.one_of(st.text(), st.text(alphabet="[](){}'\"\\,;| 01a.np_", max_size=30)))
def test_any_text_is_read_or_refused_in_words(cell: str) -> None:
    cell = cell.encode("utf-8", "replace").decode("utf-8")
    for scheme in (
        Lists("labels", ["a", "b"]),
        Columns(["labels"]),
        Categories({"labels": ["a"]}),
        Soft(["labels"]),
    ):
        with suppress(LabelError):  # nothing else may be raised
            assert scheme.targets(pa.table({"labels": [cell]})).shape == (1, len(scheme.names))


def test_what_two_labels_cannot_tell_is_refused() -> None:
    two = ["flood", "fire"]
    for cell in ("[0, 1]", "[1, 0]"):
        with pytest.raises(
            LabelError, match=r"as ids or as a 0 or 1 a label. Say which: entries: ids or entries: hot"
        ):
            targets_of([cell], two)
    assert targets_of(["[0, 1]", "[1]"], two, entries="ids") == [[1.0, 1.0], [0.0, 1.0]]
    assert targets_of(["[0, 1]", "[1, 1]"], two, entries="hot") == [[0.0, 1.0], [1.0, 1.0]]
    with pytest.raises(LabelError, match=r"row 2: .*: these are ids, but row 1 holds '\[0, 0, 1\]'"):
        targets_of(["[0, 0, 1]", "2"])


def test_signs_outside_the_alphabet() -> None:
    names = ["🔥", "Überfall 🚒", "it's", 'a "b"', "a\\b"]
    rows = [[names[0], names[2]], [names[1], names[3]], [names[4]]]
    wanted = [[1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1]]
    for cells in (
        [str(row) for row in rows],
        [json.dumps(row) for row in rows],
        [json.dumps(row, ensure_ascii=False) for row in rows],
        rows,
    ):
        assert targets_of(cells, names) == wanted


def test_labels_that_are_numbers() -> None:
    assert targets_of(["1;7", "[7]", "1"], ["1", "7", "911"]) == [
        [1.0, 1.0, 0.0],
        [0.0, 1.0, 0.0],
        [1.0, 0.0, 0.0],
    ]
    with pytest.raises(LabelError, match="as names or as a 0 or 1 a label"):
        targets_of(["[1, 0, 1]"], ["0", "1", "2"])
    assert targets_of(["[1, 0]"], ["0", "1", "2"], entries="names") == [[1.0, 1.0, 0.0]]


@pytest.mark.parametrize("values", [pa.array([{"a": 1}]), pa.array([b"flood"]), pa.array([[[1]]])], ids=str)
def test_types_that_list_nothing(values: pa.Array) -> None:
    with pytest.raises(LabelError, match=r"row 1: label column 'labels' holds .*: an entry is a "):
        targets_of(values)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"separator": ""}, "separator is empty"),
        ({"entries": "index"}, "entries is 'index'"),
        ({"blank": 1}, "blank is 1; it must be unknown or 0"),
        (
            {"unknown_values": ["x"], "negative_values": ["X"]},
            "stands in unknown_values and in negative_values",
        ),
        ({"negative_values": ["Fire"]}, "'fire' is a label and stands in negative_values"),
    ],
)
def test_impossible_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        _ = Lists("labels", NAMES, **options).names


class TestNamesThatAreFound:
    """`names: null`."""

    def found(self, path: Path, **options: Any) -> tuple[str, ...]:
        scheme = Lists("labels", **options)
        assert scheme.unnamed
        with pytest.raises(LabelError, match="found when the train files are read"):
            _ = scheme.names
        scheme.find_names([path], None, [])
        assert not scheme.unnamed
        assert scheme.digest == label_digest(scheme.names)
        return scheme.names

    def test_sorted(self, tmp_path: Path) -> None:
        path = tmp_path / "train.csv"
        path.write_text("text,labels\na,flood;needs\nb,\"['fire', 'needs']\"\nc,\nd,none\ne,[]\nf,NA\n")
        assert self.found(path, negative_values=["none"], unknown_values=["na"]) == ("fire", "flood", "needs")

    def test_class_names_in_their_order(self, tmp_path: Path) -> None:
        path = class_file(tmp_path / "train.parquet", ["needs", "fire", "flood"])
        assert self.found(path) == ("needs", "fire", "flood")

    def test_numbers_are_no_names(self, tmp_path: Path) -> None:
        path = tmp_path / "train.csv"
        path.write_text('text,labels\na,"[0, 2]"\nb,1\n')
        with pytest.raises(LabelError, match="lists numbers, which do not say what the labels are called"):
            self.found(path)
        assert self.found(path, entries="names") == ("0", "1", "2")

    def test_nothing_to_find(self, tmp_path: Path) -> None:
        path = tmp_path / "train.csv"
        path.write_text("text,labels\na,\n")
        with pytest.raises(LabelError, match="no label is named"):
            self.found(path)

    def test_in_a_union(self, tmp_path: Path) -> None:
        path = tmp_path / "train.csv"
        path.write_text("text,labels\na,flood;needs\n")
        union = Union([Lists("labels"), Lists("labels", ["other"])])
        assert union.unnamed
        union.find_names([path], None, [])
        assert union.names == ("flood", "needs", "other")


def class_file(path: Path, names: list[str]) -> Path:
    """Ids 0 and 0, 2, as the library datasets writes them."""
    feature = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "List"}
    text = json.dumps({"info": {"features": {"labels": feature}}})
    table = pa.table({"text": ["a", "b", "c"], "labels": [[0], [0, 2], None]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": text.encode()}), path)
    return path


def test_ids_mean_what_their_file_says(tmp_path: Path) -> None:
    one = class_file(tmp_path / "one.parquet", ["needs", "fire", "flood"])
    other = class_file(tmp_path / "other.parquet", ["fire", "needs", "flood"])
    table = read_messages(
        [one, other], text="text", id=None, lang=None, extra=["labels"], cleaner=NoCleaner(), on_empty="drop"
    ).table
    found = Lists("labels", NAMES).targets(table)
    np.testing.assert_array_equal(
        found, [[0, 0, 1], [1, 0, 1], [np.nan] * 3, [0, 1, 0], [1, 1, 0], [np.nan] * 3]
    )
    with pytest.raises(LabelError, match=r"one.parquet, row 1: label column 'labels' holds \[0\]"):
        Lists("labels", ["flood", "fire"]).targets(table)
    part = Lists("labels", ["flood", "fire"], negative_values=["needs"]).targets(table)
    np.testing.assert_array_equal(part[:2], [[0, 0], [1, 0]])


@pytest.mark.parametrize(
    "text", ["{", '{"info": 3}', '{"info": {"features": {"labels": {"names": 3}}}}', "[" * 100_000]
)
def test_other_metadata_is_no_harm(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["a"], "labels": [[0]]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": text.encode()}), path)
    read = read_messages(
        [path], text="text", id=None, lang=None, extra=["labels"], cleaner=NoCleaner(), on_empty="drop"
    ).table
    assert Lists("labels", NAMES).targets(read).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (None, {}),
        (None, {"entries": "names"}),
        (["flood;needs", "[]", None, "fire", ""], {"unknown_values": ["NA"], "negative_values": ["none"]}),
        (["[0, 0, 1]", "[1, 1, 0]", None], {"entries": "hot"}),
        ([["flood", "needs"], [], None, ["fire"]], {}),
        ([[0, 2], [], None, [1]], {"entries": "ids"}),
    ],
)
def test_it_conforms(cells: Any, options: dict[str, Any]) -> None:
    tables = [] if cells is None else [pa.table({"labels": cells})]
    check_label_scheme(Lists, *tables, names=NAMES, **options)
