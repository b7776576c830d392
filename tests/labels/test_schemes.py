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
from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages


def targets_of(values: pa.Array, unknown_values: list[int] | None = None) -> list[float | None]:
    targets_NL = Columns(["fire"], unknown_values or []).targets(pa.table({"fire": values}))
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
        (pa.array(["1", "yes"]), "'yes'"),
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
        "Likewise 1 more in this column, 1 in 'death'. If 2 means unknown, add it: unknown_values: [2]"
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
        (["fire", "death", "fire"], "'fire' named more than once"),
    ],
)
def test_impossible_names(names: list[str], match: str) -> None:
    with pytest.raises(LabelError, match=match):
        Columns(names)


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
