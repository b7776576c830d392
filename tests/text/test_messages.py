"""Message files read into one table."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import ConfigError, DataError
from tocsin.text.cleaners import Cleaner, NoCleaner, TweetCleaner
from tocsin.text.messages import ColumnNames, Messages, iterate_strings, read_messages, source_column
from tocsin.text.reading import DataWarning


def read(*paths: Path, **options: Any) -> Messages:
    given: dict[str, Any] = {
        "text": "text",
        "id": "id",
        "lang": None,
        "cleaner": NoCleaner(),
        "on_empty": "drop",
    }
    return read_messages(paths, **{**given, **options})


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "messages.csv"
    path.write_text("id,lang,text,related\n7,en,RT fire,1\n8,,@you,0\n9,ht,dlo,\n", encoding="utf-8")
    return path


def test_table(csv: Path) -> None:
    messages = read(csv, lang="lang", extra=["related"], cleaner=TweetCleaner())
    assert messages.table.to_pylist() == [
        {"file": str(csv), "row": 1, "id": "7", "lang": "en", "text": "fire", "related": "1"},
        {"file": str(csv), "row": 3, "id": "9", "lang": "ht", "text": "dlo", "related": ""},
    ]
    assert messages.table.schema.field("text").type == pa.large_string()
    assert (messages.dropped_empty, messages.kept_empty, messages.null_texts) == (1, 0, 0)


def test_empty_texts_are_kept_on_request(csv: Path) -> None:
    messages = read(csv, cleaner=TweetCleaner(), on_empty="keep")
    assert messages.table["text"].to_pylist() == ["fire", "", "dlo"]
    assert messages.table["lang"].to_pylist() == [None, None, None]
    assert (messages.dropped_empty, messages.kept_empty) == (0, 1)


def test_null_and_white_texts_count_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "messages.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "text": ["fire", None, " \n "]}), path)
    messages = read(path)
    assert (messages.dropped_empty, messages.null_texts) == (2, 1)
    assert messages.table["id"].to_pylist() == ["1"]


def test_nothing_left(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text('{"id":"1","text":""}\n{"id":"2","text":null}\n')
    with pytest.raises(DataError, match="no message is left of 2 rows"):
        read(path)


def test_several_files_in_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.jsonl"
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"], "n": pa.array([1, 0], pa.int8())}), one)
    two.write_text('{"id":"c","text":"z","n":1}\n')
    table = read(one, two, extra=["n"]).table
    assert table["row"].to_pylist() == [1, 2, 1]
    assert table["file"].to_pylist() == [str(one), str(one), str(two)]
    assert table["n"].to_pylist() == [1, 0, 1]


def test_a_list_here_and_a_number_there(csv: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text('{"id":"b","text":"z","related":[1]}\n')
    other.write_text('{"id":"c","text":"z","related":1}\n')
    with pytest.raises(DataError, match=r"'related' holds int64 here but list.* in") as caught:
        read(one, other, extra=["related"])
    assert caught.value.file == str(other)


class TestIds:
    """Ids are unique, and a message has the same one whatever is dropped."""

    def test_repeated_ids_take_their_row(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.csv"
        path.write_text("id,text\n17,a\n18,b\n17,c\n,d\n17#1,e\n")
        messages = read(path)
        ids = messages.table["id"].to_pylist()
        assert ids == ["17#1#1", "18", "17#3", "messages#4", "17#1#5"]
        assert messages.repeated_ids == 4

    def test_same_id_after_other_rows_are_dropped(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.csv"
        path.write_text("id,text\n17,@a\n17,c\n")
        kept = read(path, cleaner=TweetCleaner(), on_empty="keep").table["id"].to_pylist()
        assert read(path, cleaner=TweetCleaner()).table["id"].to_pylist() == kept[1:] == ["17#2"]

    def test_repeated_between_files(self, tmp_path: Path) -> None:
        paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
        for path in paths:
            path.write_text("id,text\n17,x\n")
        assert read(*paths).table["id"].to_pylist() == ["17#1.1", "17#2.1"]

    def test_no_id_column(self, csv: Path) -> None:
        messages = read(csv, id=None)
        assert messages.table["id"].to_pylist() == ["messages#1", "messages#2", "messages#3"]
        assert messages.repeated_ids == 0

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.sampled_from([None, "", "1", "1#1", "1#2", "m#1", "2"]), min_size=1, max_size=12))
    def test_always_unique(self, tmp_path_factory: pytest.TempPathFactory, ids: list[str | None]) -> None:
        path = tmp_path_factory.mktemp("ids") / "m.parquet"
        pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "text": ["x"] * len(ids)}), path)
        unique = read(path).table["id"].to_pylist()
        assert len(set(unique)) == len(ids)
        assert None not in unique


def test_extra_columns_called_like_ours(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text("id,text,original\n1,a,A\n1,b,B\n")
    table = read(path, text="original", extra=["id", "text"]).table
    assert table["text"].to_pylist() == ["A", "B"]
    assert source_column(table, "text").to_pylist() == ["a", "b"]
    assert source_column(table, "id").to_pylist() == ["1", "1"]
    with pytest.raises(DataError, match="no column 'nowhere'"):
        source_column(table, "nowhere")


@pytest.mark.parametrize(
    ("column", "match"),
    [
        (pa.array([None, 5, 6]), "int64"),
        (pa.array([None, [1], []]), "list"),
        (pa.array([None, True, False]), "bool"),
    ],
)
def test_text_that_is_no_string(tmp_path: Path, column: pa.Array, match: str) -> None:
    path = tmp_path / "messages.parquet"
    pq.write_table(pa.table({"id": ["1", "2", "3"], "text": column}), path)
    with pytest.raises(DataError, match=match) as caught:
        read(path)
    assert (caught.value.file, caught.value.row) == (str(path), 2)


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["a", "b"], pa.string_view()),
    ],
)
def test_every_kind_of_string(tmp_path: Path, values: pa.Array) -> None:
    path = tmp_path / "messages.parquet"
    pq.write_table(pa.table({"id": values, "text": values, "lang": values}), path)
    assert read(path, lang="lang").table.select(["id", "lang", "text"]).to_pylist() == [
        {"id": "a", "lang": "a", "text": "a"},
        {"id": "b", "lang": "b", "text": "b"},
    ]


@pytest.mark.parametrize(("option", "match"), [("id", "strings or numbers"), ("lang", "must be strings")])
def test_ids_and_languages_of_a_wrong_type(tmp_path: Path, option: str, match: str) -> None:
    path = tmp_path / "messages.parquet"
    pq.write_table(pa.table({"id": [1], "text": ["a"], "wrong": [[1]]}), path)
    with pytest.raises(DataError, match=match):
        read(path, **{option: "wrong"})


def test_missing_column(csv: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'releted'\. Did you mean 'related'"):
        read(csv, extra=["releted"])


def test_wrong_options(csv: Path) -> None:
    with pytest.raises(ConfigError, match="on_empty is 'dorp'"):
        read(csv, on_empty="dorp")
    with pytest.raises(ConfigError, match="on_error is 'ignore'"):
        read(csv, on_error="ignore")
    with pytest.raises(ConfigError, match="no message file"):
        read()


def test_bad_rows_raise_or_are_skipped_and_told(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text(
        '{"id":"1","text":"a"}\n{"id":"2","text":5}\nnonsense\n{"id":"4","text":"d"}\n{"id":"5","text":""}\n'
    )
    with pytest.raises(DataError):
        read(path)
    messages = read(path, on_error="skip")
    assert messages.table["row"].to_pylist() == [1, 4]
    assert [fault.row for fault in messages.skipped] == [2, 3] or {
        fault.row for fault in messages.skipped
    } == {2, 3}
    assert (messages.null_texts, messages.dropped_empty) == (0, 1)


def test_cleaner_that_cuts_a_surrogate_pair(csv: Path) -> None:
    class Cutting(Cleaner):
        def clean(self, text: str) -> str:
            return text + "\ud83d"

    assert read(csv, cleaner=Cutting()).table["text"][2].as_py() == "dlo?"


def test_progress_goes_to_stderr(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(csv, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3 messages" in captured.err


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), max_size=3), max_size=4))
def test_strings_of_chunks(chunks: Sequence[list[str]]) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())
    assert list(iterate_strings(column)) == [text for chunk in chunks for text in chunk]


def test_null_among_strings() -> None:
    with pytest.raises(ValueError, match="null"):
        list(iterate_strings(pa.array(["a", None])))


def test_wanted_columns_are_named_once() -> None:
    assert ColumnNames("text", "id", None, ("id", "n")).wanted == ("text", "id", "n")


@pytest.mark.shared_data
def test_real_messages(shared_data: Path) -> None:
    path = shared_data / "crisis_messages_multilabel.parquet"
    messages = read(path, lang="original_lang_guess", extra=["related"], on_empty="keep")
    assert messages.table.num_rows == 20_990
    assert len(set(messages.table["id"].to_pylist())) == 20_990
    assert messages.repeated_ids > 0


def test_columns_of_the_path(tmp_path: Path) -> None:
    paths = []
    for name in ("2012_fire/tweets.labeled.csv", "2013_flood/tweets.labeled.csv"):
        paths.append(tmp_path / name)
        paths[-1].parent.mkdir()
        paths[-1].write_text("id,text\n1,a\n")
    table = read(*paths, path_columns={"event": "folder", "name": "file", "kind": "stem"}).table
    assert table["event"].to_pylist() == ["2012_fire", "2013_flood"]
    assert set(table["name"].to_pylist()) == {"tweets.labeled.csv"}
    assert set(table["kind"].to_pylist()) == {"tweets"}
    for wrong in ({"event": "disk"}, {"text": "folder"}):
        with pytest.raises(ConfigError, match="path_columns"):
            read(*paths, path_columns=wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("près de l’école", False),
        ("prÃ¨s de lâ€™Ã©cole", True),
        ("voilÃ\xa0 tout", True),
        ("SÃO PAULO É ÃO", False),
        ("Ã", False),
        ("plain", False),
    ],
)
def test_mojibake_is_said(tmp_path: Path, text: str, said: bool) -> None:
    for name, content in (
        ("m.csv", f"id,text\n1,{text}\n"),
        ("m.jsonl", json.dumps({"id": "1", "text": text})),
    ):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert read(path).table["text"].to_pylist() == [text]
        assert [one.category for one in caught] == ([DataWarning] if said else [])


def test_a_row_with_two_faults_is_left_out_once(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"id,text\n1,fire\n\xe9,\xe9\n3,food\n")
    found = read_messages(
        [path], text="text", id="id", lang=None, cleaner=NoCleaner(), on_empty="drop", on_error="skip"
    )
    assert found.table["id"].to_pylist() == ["1", "3"]
    assert [error.row for error in found.skipped] == [2]
