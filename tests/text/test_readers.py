"""Readers: what they yield, and how they name the file and the row of every fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import ConfigError, DataError
from tocsin.text import csv_files
from tocsin.text.readers import (
    CsvReader,
    JsonLinesReader,
    ParquetReader,
    Reader,
    reader_for,
    resolve_data_path,
    resolve_data_paths,
)

ODD_TEXTS = [
    "plain",
    "NUL \0 inside",
    "مرحبا بالعالم",
    "two\nlines",
    'say "now"',
    "x" * 1_000_000,
    "",
    "🚨 \ufeff bom",
]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows as the format that the ending names."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        options = arrow_csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
        arrow_csv.write_csv(pa.Table.from_pylist(rows), path, options)
    return path


def rows_of(path: Path, columns: Sequence[str], reader: Reader | None = None) -> list[dict[str, object]]:
    return [row for batch in (reader or reader_for(path)).batches(path, columns) for row in batch.to_pylist()]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_columns_by_name_in_the_order_asked(tmp_path: Path, ending: str) -> None:
    rows: list[dict[str, object]] = [
        {"id": str(n), "text": text, "x": "y"} for n, text in enumerate(ODD_TEXTS)
    ]
    path = write(tmp_path / f"messages{ending}", rows)
    assert reader_for(path).columns(path) == ["id", "text", "x"]
    assert rows_of(path, ["text", "id"]) == [{"text": row["text"], "id": row["id"]} for row in rows]
    about = reader_for(path).approximate_rows(path)
    assert about is not None
    assert about >= len(rows)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_streams_batches(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 4096)
    rows: list[dict[str, object]] = [{"id": str(n), "text": f"message {n}"} for n in range(20_000)]
    path = write(tmp_path / f"messages{ending}", rows)
    batches = list(reader_for(path).batches(path, ["id"]))
    assert len(batches) > 1
    assert [row["id"] for batch in batches for row in batch.to_pylist()] == [row["id"] for row in rows]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=1, max_size=5))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    for ending in (".parquet", ".csv", ".jsonl"):
        path = write(folder / f"messages{ending}", [{"id": "1", "text": text} for text in texts])
        assert [row["text"] for row in rows_of(path, ["text"])] == texts


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_missing_column_is_named_with_a_guess(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"messages{ending}", [{"id": "1", "text": "fire", "Lang": "en"}])
    with pytest.raises(
        DataError, match=r"no columns 'txt', 'lang'.*'text' for 'txt'.*'Lang' for 'lang'"
    ) as caught:
        list(reader_for(path).batches(path, ["txt", "lang"]))
    assert caught.value.file == str(path)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_empty_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"messages{ending}"
    path.touch()
    with pytest.raises(DataError, match="empty"):
        list(reader_for(path).batches(path, ["text"]))
    with pytest.raises(DataError, match="no such file"):
        list(reader_for(path).batches(tmp_path / f"other{ending}", ["text"]))
    with pytest.raises(DataError, match="folder"):
        reader_for(path).columns(tmp_path)


@pytest.mark.parametrize("content", ["id,text\n", "id,text", "\ufeffid,text\r\n"])
def test_header_without_rows(tmp_path: Path, content: str) -> None:
    path = tmp_path / "messages.csv"
    path.write_text(content, encoding="utf-8", newline="")
    with pytest.raises(DataError, match="no rows"):
        rows_of(path, ["text"])


def test_parquet_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "messages.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    with pytest.raises(DataError, match="no rows"):
        rows_of(path, ["text"])


@pytest.mark.parametrize("content", ["\n\n", "   \n"])
def test_blank_files(tmp_path: Path, content: str) -> None:
    for ending in (".csv", ".jsonl"):
        path = tmp_path / f"messages{ending}"
        path.write_text(content)
        with pytest.raises(DataError):
            rows_of(path, ["text"])


class TestTorn:
    """Files cut short or damaged."""

    def test_parquet_cut_short(self, tmp_path: Path) -> None:
        path = write(tmp_path / "messages.parquet", [{"text": f"message {n}"} for n in range(100)])
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataError, match="torn"):
            rows_of(path, ["text"])

    def test_parquet_damaged_inside_names_the_row(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.parquet"
        table = pa.table({"text": [f"message {n} of many" for n in range(40_000)]})
        pq.write_table(table, path, row_group_size=20_000, write_page_checksum=True, use_dictionary=False)
        second = pq.ParquetFile(path).metadata.row_group(1).column(0)
        content = bytearray(path.read_bytes())
        middle = second.data_page_offset + second.total_compressed_size // 2
        content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged") as caught:
            rows_of(path, ["text"])
        assert caught.value.row is not None
        assert 16_384 < caught.value.row <= 40_000

    def test_parquet_strings_that_are_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.parquet"
        broken = pa.array([b"good", b"caf\xe9", b"good"]).view(pa.string())
        pq.write_table(pa.table({"text": broken}), path)
        with pytest.raises(DataError, match="not UTF-8") as caught:
            rows_of(path, ["text"])
        assert caught.value.row == 2

    def test_csv_cut_inside_quotes(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.csv"
        path.write_text('id,text\n1,fire\n2,"water is risi')
        with pytest.raises(DataError, match="ends inside a quoted value") as caught:
            rows_of(path, ["id"])
        assert caught.value.row == 2

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    @pytest.mark.parametrize("last", ['""', '"a"', '"a"""', '"""a"', "a", 'a"', '""""'])
    def test_whole_csv_is_not_called_torn(self, tmp_path: Path, last: str, end: str) -> None:
        path = tmp_path / "messages.csv"
        path.write_text(f"id,text\n1,{last}{end}", newline="")
        assert len(rows_of(path, ["text"])) == 1

    def test_csv_row_with_too_few_fields(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.csv"
        path.write_text('id,text\n1,fire\n\n"2","a\nb"\n3\n4,flood\n')
        with pytest.raises(DataError, match="1 fields, the header has 2") as caught:
            rows_of(path, ["text"])
        assert caught.value.row == 3

    def test_csv_quote_never_closed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 4096)
        path = tmp_path / "messages.csv"
        path.write_text('id,text\n1,"fire\n' + "2,flood\n" * 5000)
        with pytest.raises(DataError, match="quote is not closed"):
            rows_of(path, ["text"])

    def test_csv_of_another_encoding_names_the_row(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.csv"
        path.write_bytes(b"id,text\n1,fire\n2,caf\xe9\n")
        with pytest.raises(DataError, match="byte 0xe9 at position 3") as caught:
            rows_of(path, ["text"])
        assert caught.value.row == 2

    def test_jsonl_cut_short_names_the_row(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.jsonl"
        path.write_text('{"text": "fire"}\n\n{"text": "wat')
        with pytest.raises(DataError, match=r"line 3 .*torn") as caught:
            rows_of(path, ["text"])
        assert caught.value.row == 2

    @pytest.mark.parametrize("line", ["[1]", "5", "nul", "[" * 100_000, '{"text": \xff}'])
    def test_jsonl_line_that_is_no_object(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "messages.jsonl"
        path.write_bytes(b'{"text": "fire"}\n' + line.encode("latin-1") + b'\n{"text": "flood"}\n')
        with pytest.raises(DataError, match="not a JSON object") as caught:
            rows_of(path, ["text"])
        assert caught.value.row == 2

    @pytest.mark.parametrize("ending", [".csv", ".jsonl"])
    def test_utf16(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"messages{ending}"
        path.write_bytes("text\nfire\n".encode("utf-16"))
        with pytest.raises(DataError, match="UTF-16"):
            rows_of(path, ["text"])


class TestSkipping:
    """With `on_bad_row` a bad row becomes nulls and the later rows keep their numbers."""

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("m.csv", b"id,text\n1,a\n2\n3,c\n4,d,x\n5,\xff\n6,f\n7\n"),
            (
                "m.jsonl",
                b'{"id":"1","text":"a"}\n2\n{"id":"3","text":"c"}\n{\n{"id":"5","text":6}\n{"id":"6","text":"f"}\n',
            ),
        ],
    )
    def test_numbers_are_kept(self, tmp_path: Path, name: str, content: bytes) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        faults: list[DataError] = []
        batches = list(reader_for(path).batches(path, ["id", "text"], faults.append))
        texts = [row["text"] for batch in batches for row in batch.to_pylist()]
        assert texts == ["a", None, "c", None, None, "f"]
        assert sorted(fault.row or 0 for fault in faults)[:3] == [2, 4, 5]


def test_csv_with_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_bytes(b'\xef\xbb\xbf"id","text"\r\n"1","a\r\nb"\r\n')
    assert rows_of(path, ["id", "text"]) == [{"id": "1", "text": "a\r\nb"}]


def test_csv_values_stay_strings(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text("id,text\n007,null\n1e3,NA\n")
    assert rows_of(path, ["id", "text"]) == [{"id": "007", "text": "null"}, {"id": "1e3", "text": "NA"}]


def test_csv_delimiter_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "messages.tsv"
    path.write_text('id\ttext\n1\t"unpaired\n2\tx\n')
    assert [row["text"] for row in rows_of(path, ["text"], CsvReader(quotes=False))] == ['"unpaired', "x"]
    path.write_text("id;text\n1;a,b\n")
    assert rows_of(path, ["text"], CsvReader(delimiter=";")) == [{"text": "a,b"}]
    with pytest.raises(ConfigError, match="one character"):
        CsvReader(delimiter=";;")


@pytest.mark.parametrize(
    ("name", "sign", "said"),
    [("m.csv", ";", "';'; a comma"), ("m.csv", "\t", "a tab; a comma"), ("m.tsv", ",", "','; a tab")],
)
def test_another_sign_between_fields_is_named(tmp_path: Path, name: str, sign: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(f"id{sign}text\n1{sign}fire\n")
    with pytest.raises(DataError, match=f"fields are separated by {said} is wanted") as caught:
        rows_of(path, ["text"])
    assert str(path) in str(caught.value)
    # a column may be called so, as long as it is what was asked for
    assert rows_of(path, [f"id{sign}text"]) == [{f"id{sign}text": f"1{sign}fire"}]


def test_csv_with_a_column_twice(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text("text,text,id\na,b,1\n")
    with pytest.raises(DataError, match="more than one column called 'text'"):
        rows_of(path, ["text"])
    assert rows_of(path, ["id"]) == [{"id": "1"}]


def test_jsonl_lone_surrogates_and_bom(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "cut \\ud83d"}\n{"text": "whole \\ud83d\\ude00 \\u0000"}\n')
    assert [row["text"] for row in rows_of(path, ["text"])] == ["cut \ufffd", "whole 😀 \0"]


def test_jsonl_types(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text('{"text":"a","n":1,"b":true}\n{"text":"b","n":2.5}\n')
    assert rows_of(path, ["n", "b"]) == [{"n": 1.0, "b": True}, {"n": 2.5, "b": None}]


@pytest.mark.parametrize("value", ["5", "true", '["x"]', '{"a": 1}'])
def test_jsonl_value_of_another_kind_names_the_row(tmp_path: Path, value: str) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text('{"text":"a"}\n{"text":null}\n{"text":' + value + '}\n{"text":"b"}\n')
    with pytest.raises(DataError, match=r"'text' holds a .* here, elsewhere a string") as caught:
        rows_of(path, ["text"])
    assert caught.value.row == 3


def test_jsonl_number_beyond_arrow(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text('{"n":1}\n{"n":' + "9" * 40 + "}\n")
    with pytest.raises(DataError) as caught:
        rows_of(path, ["n"])
    assert caught.value.row == 2


def test_reader_by_ending() -> None:
    assert isinstance(reader_for(Path("a.PARQUET")), ParquetReader)
    assert isinstance(reader_for(Path("a.b.ndjson")), JsonLinesReader)
    with pytest.raises(DataError, match=r"'\.xlsx'; known are .*\.parquet"):
        reader_for(Path("a.xlsx"))
    with pytest.raises(TypeError):
        Reader()  # type: ignore[abstract]


def test_data_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, shared = tmp_path / "work", tmp_path / "shared"
    (work / "data").mkdir(parents=True)
    shared.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("TOCSIN_DATA", raising=False)
    with pytest.raises(DataError, match=r"data/a\.csv, a\.csv\..*TOCSIN_DATA"):
        resolve_data_path("a.csv")
    monkeypatch.setenv("TOCSIN_DATA", str(shared))
    (work / "a.csv").touch()
    assert resolve_data_path("a.csv") == Path("a.csv")
    (shared / "a.csv").touch()
    assert resolve_data_path("a.csv") == shared / "a.csv"
    (work / "data" / "a.csv").touch()
    assert resolve_data_path("a.csv") == Path("data/a.csv")
    assert resolve_data_path(str(shared / "a.csv")) == shared / "a.csv"
    with pytest.raises(DataError, match="looked for"):
        resolve_data_path(str(shared / "b.csv"))


class TestSeveralFiles:
    """Patterns and folders stand for the files in them, in the order of their paths."""

    @pytest.fixture
    def events(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("TOCSIN_DATA", raising=False)
        for name in ("b-flood/tweets.csv", "a-fire/tweets.csv", "a-fire/more.jsonl.gz", "a-fire/.hidden.csv"):
            path = tmp_path / "data" / "events" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("id,text\n1,a\n")
        (tmp_path / "data" / "events" / "notes.pdf").touch()
        return tmp_path / "data" / "events"

    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            ("events", ["a-fire/more.jsonl.gz", "a-fire/tweets.csv", "b-flood/tweets.csv"]),
            ("events/*/tweets.csv", ["a-fire/tweets.csv", "b-flood/tweets.csv"]),
            ("events/**/*.csv", ["a-fire/tweets.csv", "b-flood/tweets.csv"]),
            ("events/[b]*/*", ["b-flood/tweets.csv"]),
            ("events/b-flood/tweets.cs?", ["b-flood/tweets.csv"]),
            ("events/b-flood/tweets.csv", ["b-flood/tweets.csv"]),
        ],
    )
    def test_found(self, events: Path, name: str, wanted: list[str]) -> None:
        assert resolve_data_paths(name) == [Path("data/events") / one for one in wanted]
        assert resolve_data_paths(str(events.parent / name)) == [events / one for one in wanted]

    def test_by_the_reader(self, events: Path) -> None:
        assert [path.name for path in resolve_data_paths("events", CsvReader())] == [
            "tweets.csv",
            "tweets.csv",
        ]

    def test_a_name_that_looks_like_a_pattern(self, events: Path) -> None:
        (events / "fire[1].csv").write_text("text\na\n")
        assert resolve_data_paths("events/fire[1].csv") == [Path("data/events/fire[1].csv")]

    def test_none(self, events: Path) -> None:
        with pytest.raises(
            DataError, match=r"no data file is called 'events/\*\.xlsx'; looked for data/events"
        ):
            resolve_data_paths("events/*.xlsx")
        with pytest.raises(DataError, match="no data file 'other'"):
            resolve_data_paths("other")
        (events.parent / "empty").mkdir()
        with pytest.raises(DataError, match="holds no message file"):
            resolve_data_paths("empty")
