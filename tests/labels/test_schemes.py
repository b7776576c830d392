"""Label schemes: names, targets, and every value that is no label."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import LabelError
from tocsin.labels.schemes import Columns, LabelScheme, check_same_labels, label_digest
from tocsin.labels.soft import Soft
from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages


def targets_of(
    values: pa.Array, unknown_values: list[Any] | None = None, **options: Any
) -> list[float | None]:
    targets_NL = Columns(["fire"], unknown_values or [], **options).targets(pa.table({"fire": values}))
    assert targets_NL.dtype == np.float32
    assert targets_NL.shape == (len(values), 1)
    return [None if np.isnan(value) else float(value) for value in targets_NL[:, 0]]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 0, None], pa.int8()),
        pa.array([1, 0, None], pa.uint64()),
        pa.array([1.0, 0.0, None], pa.float32()),
        pa.array([1.0, 0.0, float("nan")]),
        pa.array([1, 0, None]).cast(pa.decimal128(21, 2)),
        pa.array([True, False, None]),
        pa.array(["1", "0", ""]),
        pa.array([" 1.0", "0 ", None], pa.large_string()),
        pa.array(["True", "false", "NaN"]),
        pa.array(["1", "0", ""], pa.string_view()),
        pa.array(["1", "0", None]).dictionary_encode(),
        pa.array([1, 0, None]).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_values_of_every_type(values: pa.Array) -> None:
    assert targets_of(values) == [1.0, 0.0, None]


@pytest.mark.parametrize("end", ["", " ", "\t", "\xa0"])
@pytest.mark.parametrize(
    ("one", "zero"),
    [
        ("yes", "no"), ("Y", "N"), ("TRUE", "FALSE"), ("T", "F"), ("on", "off"), ("1.0", "0.0"), ("1,0", "0,0"),
        ("1.", "0."), ("+1", "-0"), ("01", "00"), ("1e0", "0e0"), ("x", "0"), ("X", "no"), ("✓", "0"), ("１", "０"),
    ],
)  # fmt: skip
def test_spellings_in_text(one: str, zero: str, end: str) -> None:
    column = pa.array([one + end, end + zero, end, None])
    wanted = [1.0, 0.0, None, None]
    assert targets_of(column) == targets_of(column.dictionary_encode()) == wanted
    assert targets_of(column, blank=0) == [1.0, 0.0, 0.0, 0.0]
    assert Soft(["fire"]).targets(pa.table({"fire": column}))[:2, 0].tolist() == [1.0, 0.0]


SAME = {
    "int64": pa.array([1, 0, None, 2]),
    "float": pa.array([1.0, 0.0, float("nan"), 2.0]),
    "decimal": pa.array([1, 0, None, 2]).cast(pa.decimal128(21, 1)),
    "text": pa.array(["1", "0", "", "2"]),
    "text of pandas": pa.array(["1.0", "0.0", "nan", "2.0"]),
    "categories": pa.array(["1", "0", None, "2"]).dictionary_encode(),
}


@pytest.mark.parametrize("blank", ["unknown", 0])
@pytest.mark.parametrize("kind", SAME)
def test_one_meaning_whatever_type_carries_it(kind: str, blank: Any) -> None:
    none = None if blank == "unknown" else 0.0
    for option, wanted in (("unknown_values", None), ("positive_values", 1.0), ("negative_values", 0.0)):
        for value in (2, 2.0, "2", "2.0"):
            assert targets_of(SAME[kind], blank=blank, **{option: [value]}) == [1.0, 0.0, none, wanted]


def test_words_that_mean_unknown_are_named_by_an_option() -> None:
    words = ["NA", "n/a", "NULL", "None", "-", "?", "<NA>", "na ", "not sure"]
    column = pa.array([*words, "1", "no"])
    given = ["na", "N/A", None, "none", "-", "?", "<na>", "Not sure"]
    assert targets_of(column, given) == [None] * 9 + [1.0, 0.0]
    assert targets_of(column, given, blank=0) == [None] * 9 + [1.0, 0.0]
    with pytest.raises(LabelError) as caught:
        targets_of(column)
    said = 'If such values mean unknown, name them: unknown_values: ["NA", "n/a", "NULL", "None", "-"]'
    assert said in str(caught.value)
    assert targets_of(pa.array(["ja", "Nein"]), positive_values=["JA"], negative_values=["nein"]) == [
        1.0,
        0.0,
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unknown_values": ["yes"]}, "unknown_values holds 'yes', which is read as 1"),
        ({"unknown_values": ["1.0"]}, "unknown_values holds '1.0', but 0 and 1 are what a label is"),
        ({"positive_values": ["False"]}, "which is read as 0"),
        ({"unknown_values": [""]}, "which is read as blank; set the option `blank`"),
        (
            {"unknown_values": ["?"], "negative_values": ["?"]},
            r"'\?' stands in unknown_values and in negative_values",
        ),
        ({"blank": "0"}, "blank is '0'; it must be unknown or 0"),
        ({"blank": False}, "blank is False"),
    ],
)
def test_options_that_contradict(options: dict[str, Any], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        Columns(["fire"], **options)


@pytest.mark.parametrize(
    "cell", ["flood;needs", "['flood', 'needs']", '["flood"]', "flood|fire", "flood, fire"]
)
def test_a_cell_that_lists_labels_advises_the_scheme_for_it(cell: str) -> None:
    with pytest.raises(LabelError, match=r"read by the label scheme Lists: labels: \{class_path: Lists"):
        targets_of(pa.array(["1", cell]))
    with pytest.raises(LabelError, match="read by the label scheme Lists"):
        targets_of(pa.array([["flood"], ["fire"]]))


def test_a_long_cell_is_not_shown_whole() -> None:
    with pytest.raises(LabelError) as caught:
        targets_of(pa.array(["secret " * 1000]))
    assert len(str(caught.value)) < 700


def test_files_of_different_types_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,fire\na,1\nb,0\nc,\n")
    (tmp_path / "b.jsonl").write_text(
        '{"text": "a", "fire": true}\n{"text": "b", "fire": false}\n{"text": "c"}\n'
    )
    for name, column in {"c": pa.array([1, 0, None], pa.int8()), "d": pa.array([1.0, 0.0, None])}.items():
        pq.write_table(pa.table({"text": ["a", "b", "c"], "fire": column}), tmp_path / f"{name}.parquet")
    paths = [tmp_path / name for name in ("c.parquet", "a.csv", "b.jsonl", "d.parquet")]
    for files in (paths, paths[::-1], paths[2:], paths[:1] + paths[3:]):
        table = read_messages(
            files, text="text", id=None, lang=None, extra=["fire"], cleaner=NoCleaner(), on_empty="drop"
        ).table
        found = Columns(["fire"]).targets(table)[:, 0]
        np.testing.assert_array_equal(found, [1, 0, np.nan] * len(files))
        assert Columns(["fire"], blank=0).targets(table)[:, 0].tolist() == [1, 0, 0] * len(files)


def test_columns_of_nulls_and_no_rows() -> None:
    assert targets_of(pa.nulls(2)) == [None, None]
    assert targets_of(pa.array([], pa.string())) == []


@given(st.lists(st.lists(st.sampled_from([0, 1, None, 2]), max_size=4), max_size=4))
def test_chunks_and_unknown_values(chunks: list[list[int | None]]) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.int64()) for chunk in chunks], pa.int64())
    wanted = [None if value in (None, 2) else float(value) for chunk in chunks for value in chunk]
    assert targets_of(column, [2]) == wanted
    assert targets_of(column.cast(pa.string()), [2]) == wanted


def test_order_of_the_names_is_that_of_the_targets() -> None:
    table = pa.table({"a": [0], "b": [1]})
    assert Columns(["b", "a"]).targets(table).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([1, 2]), "2"),
        (pa.array([1, -1]), "-1"),
        (pa.array([1, 0.5]), "0.5"),
        (pa.array(["1", "maybe"]), "'maybe'"),
        (pa.array(["1", "NA"]), "'NA'"),
        (pa.array(["1", "0,5"]), "'0,5'"),
        (pa.array(["1", "inf"]), "'inf'"),
        (pa.array(["1", "2"]).dictionary_encode(), "'2'"),
    ],
)
def test_value_that_is_no_label(values: pa.Array, shown: str) -> None:
    with pytest.raises(LabelError, match=rf"row 2: label column 'fire' holds {shown}; 0, 1 or null"):
        targets_of(values)


@pytest.mark.parametrize("values", [pa.array([[1]]), pa.array([b"1"]), pa.array([{"a": 1}])])
def test_type_that_is_no_label(values: pa.Array) -> None:
    with pytest.raises(LabelError, match="label column 'fire' holds"):
        targets_of(values)


def test_fault_names_file_row_and_how_many_more(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text("text,fire,death\n,2,2\na,1,0\nb,2,7\nc,,1\nd,2,1\n")
    table = read_messages(
        [path], text="text", id=None, lang=None, extra=["fire", "death"], cleaner=NoCleaner(), on_empty="drop"
    ).table
    with pytest.raises(LabelError) as caught:
        Columns(["fire", "death"]).targets(table)
    assert str(caught.value) == (
        f"{path}, row 3: label column 'fire' holds '2'; 0, 1 or null (unknown) were wanted. "
        "Likewise 1 more in this column, 1 in 'death'. If 2 means unknown, add it: unknown_values: [2]; "
        "if it means 0 or 1: negative_values: [2] or positive_values: [2]"
    )
    assert np.isnan(Columns(["fire"], [2]).targets(table)).sum() == 3


def test_unknown_label() -> None:
    with pytest.raises(LabelError, match=r"label 'fier': Did you mean 'fire'\?"):
        Columns(["fier"]).targets(pa.table({"fire": [1]}))


@pytest.mark.parametrize("name", [True, 7, None, 1000.0])
def test_names_that_yaml_changed(name: Any) -> None:
    with pytest.raises(LabelError, match=r"name 2 is .* not a string.*quotes"):
        Columns(["fire", name])


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ([], "no label is named"),
        (["fire", ""], "name 2 is empty"),
        (["fire", " "], "name 2 is empty"),
        (["fire "], "white space"),
        (["fire\nbig"], "name 1, .* holds a line break or another control character"),
        (["fire", "\x1b[31mred"], "name 2, .* control character"),
        (["a\x00b"], "control character"),
        (["a\u2028b"], "control character"),
        (["a\u202eb"], "control character"),
        (["a\ud800"], "control character"),
        (["fire", "death", "fire"], "'fire' named more than once"),
    ],
)
def test_impossible_names(names: list[str], match: str) -> None:
    with pytest.raises(LabelError, match=match):
        Columns(names)


def test_names_that_look_like_markup_or_yaml_stay_as_they_are() -> None:
    names = [
        "[/urgent]",
        "[red]",
        ":fire:",
        "no",
        "on",
        "1e3",
        "007",
        "=cmd",
        "-a",
        "@b",
        "a b",
        "👩‍🚒",
        "می‌روم",
        "NaN",
    ]
    assert Columns(names).names == tuple(names)


class TestAPattern:
    """`names: "label_*"`."""

    def test_columns_in_the_files_order(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,is_b,other,is_a,is_[x]\na,1,0,1,0\n")
        scheme = Columns("is_*")
        assert scheme.unnamed
        assert scheme.files == ()
        with pytest.raises(
            LabelError, match="columns that match 'is_\\*' are found when the train files are read"
        ):
            _ = scheme.names
        scheme.find_names([path], None, [])
        assert scheme.names == scheme.columns == ("is_b", "is_a", "is_[x]")
        for pattern, taken, wanted in (("*", ["text"], 4), ("*", ["text", "other"], 3), ("is_?", [], 2)):
            scheme = Columns(pattern)
            scheme.find_names([path], None, taken)
            assert len(scheme.names) == wanted
        with pytest.raises(
            LabelError, match=r"no column of .*a.csv matches 'has_\*'. Its columns.*: text, is_b"
        ):
            Columns("has_*").find_names([path], None, ["other"])


def test_unknown_values_that_are_labels() -> None:
    with pytest.raises(LabelError, match="unknown_values holds 1"):
        Columns(["fire"], [1])


class TestNamesInAFile:
    """One name a line."""

    def test_read_when_asked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        scheme = Columns("labels.txt")  # building reads nothing
        (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbffire\r\n\r\nno\r\n007\r\n")
        assert scheme.names == scheme.columns == ("fire", "no", "007")

    def test_found_in_the_data_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "labels.txt").write_text("fire\n")
        assert Columns("labels.txt").names == ("fire",)

    @pytest.mark.parametrize(
        ("content", "match"),
        [(b"", "no label is named"), (b"a\na\n", "more than once"), (b"\xff\n", "UTF-8")],
    )
    def test_faults_name_the_file(self, tmp_path: Path, content: bytes, match: str) -> None:
        path = tmp_path / "labels.txt"
        path.write_bytes(content)
        with pytest.raises(LabelError, match=match) as caught:
            _ = Columns(str(path)).names
        assert str(path) in str(caught.value)

    def test_no_such_file(self) -> None:
        with pytest.raises(LabelError, match=r"text file.*write it as a list: \[fire\]"):
            _ = Columns("fire").names


def test_digest() -> None:
    assert label_digest(["a", "é"]) == hashlib.sha256('["a", "é"]'.encode()).hexdigest()
    assert Columns(["a", "b"]).digest == label_digest(("a", "b")) != label_digest(["b", "a"])
    assert label_digest(["a", "b"]) != label_digest(['a", "b'])


@pytest.mark.parametrize(
    ("given_names", "match"),
    [
        (
            ["b", "a"],
            r"another order; label 1 is 'b', and 'a' is wanted\.\n  given:  \['b', 'a'\]\n  wanted: \['a', 'b'\]\nPut",
        ),
        (["a"], "they lack 'b'\\. Rename"),
        (["a", "b", "c"], "they have 'c'\\. Rename"),
        (["a", "B"], "they lack 'b' and have 'B'\\. Rename"),
        (["a", "b", "a"], r"a label stands twice in \['a', 'b', 'a'\]"),
    ],
)
def test_labels_that_differ(given_names: list[str], match: str) -> None:
    said = f"the file's labels are not those of checkpoint last.ckpt: .*{match}"
    with pytest.raises(LabelError, match=said) as caught:
        check_same_labels(given_names, ("a", "b"), where="checkpoint last.ckpt", what="the file's labels")
    assert ("into the wanted order" in str(caught.value)) == (sorted(given_names) == ["a", "b"])


def test_of_many_labels_ten_are_named() -> None:
    names = [f"label {i}" for i in range(36)]
    for others in (names[::-1], [f"other {i}" for i in range(36)]):
        with pytest.raises(LabelError, match="and 26 more") as caught:
            check_same_labels(others, names, where="the bundle")
        assert "label 10'" not in str(caught.value)
        assert len(str(caught.value)) < 700


def test_labels_that_agree() -> None:
    check_same_labels(["a", "b"], ("a", "b"), where="bundle")


def test_role_is_abstract() -> None:
    with pytest.raises(TypeError):
        LabelScheme()  # type: ignore[abstract]


@pytest.mark.shared_data
def test_real_labels(shared_data: Path) -> None:
    table = pq.read_table(shared_data / "crisis_messages_multilabel.parquet")
    with pytest.raises(LabelError, match=r"'related' holds 2.*150 more.*unknown_values: \[2\]"):
        Columns(["related", "child_alone"]).targets(table)
    targets_NL = Columns(["related", "child_alone"], [2]).targets(table)
    assert np.isnan(targets_NL[:, 0]).sum() == 151
    assert not targets_NL[:, 1].any()
