"""JSON: arrays of objects, nested columns, packed files, other encodings."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tocsin.errors import DataError
from tocsin.text import json_lines, streams
from tocsin.text.json_lines import JsonLinesReader
from tocsin.text.readers import reader_for
from tocsin.text.reading import DataWarning

ROWS = [{"id": str(n), "text": f"près #{n} [{{\\", "flood": n % 2} for n in range(50)]


def read(path: Path, *columns: str, reader: Any = None) -> list[dict[str, Any]]:
    batches = (reader or reader_for(path)).batches(path, list(columns))
    return [row for batch in batches for row in batch.to_pylist()]


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["m.json", "m.jsonl", "m.ndjson", "m.json.gz", "m.jsonl.gz"])
@pytest.mark.parametrize("form", ["lines", "array", "indented", "ascii", "spaced"])
def test_forms_and_endings(tmp_path: Path, name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_CHUNK", 300)  # objects and characters are cut
    content = {
        "lines": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS),
        "array": json.dumps(ROWS, ensure_ascii=False),
        "indented": json.dumps(ROWS, ensure_ascii=False, indent=2) + "\n",
        "ascii": json.dumps(ROWS),
        "spaced": " \r\n[ \n" + ",\r\n".join(json.dumps(row) for row in ROWS) + "\n]\n\n",
    }[form]
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    assert reader_for(path).columns(path) == ["id", "text", "flood"]
    assert read(path, "id", "text", "flood") == ROWS


@pytest.mark.parametrize("cut", [2, 30, 700])
def test_torn_array_names_the_place(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(ROWS)[:-cut], encoding="utf-8")
    with pytest.raises(DataError, match="of the array cannot be read") as caught:
        read(path, "text")
    assert caught.value.row is not None
    assert caught.value.row > 30


def test_what_an_array_may_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('[{"text": "a"}, 17, {"text": "b"}]')
    with pytest.raises(DataError, match="value 2 of the array is not a JSON object: a JSON number") as caught:
        read(path, "text")
    assert caught.value.row == 2
    faults: list[DataError] = []
    batches = list(JsonLinesReader().batches(path, ["text"], faults.append))
    assert [row["text"] for batch in batches for row in batch.to_pylist()] == ["a", None, "b"]
    path.write_text('[{"text": "a"}]\n{"text": "b"}\n')
    with pytest.raises(DataError, match="something follows the array"):
        read(path, "text")
    path.write_text("[]")
    with pytest.raises(DataError, match="no rows"):
        read(path, "text")
    path.write_bytes('[{"text": "é"}]'.encode("cp1252"))
    with pytest.raises(DataError, match=r"not UTF-8 text.*`encoding`"):
        read(path, "text")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '[{"a":' + "[" * 100_000, '[{"n": ' + "9" * 10_000 + "}]"]
)
def test_hostile_arrays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(DataError):
        read(path, "text")


def test_a_line_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"text": "a"}\n{"text": "' + "x" * (17 << 20) + '"}\n')
    with pytest.raises(DataError, match="line 2 is longer than 16 MB"):
        read(path, "text")
    monkeypatch.setattr(json_lines, "LINE_BYTES", 1 << 20)
    path.write_text('[{"text": "a"}, {"text": "' + "x" * (4 << 20) + '"}]')
    with pytest.raises(DataError, match="value 2 of the array"):
        read(path, "text")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("array", [True, False])
def test_encodings(tmp_path: Path, encoding: str, array: bool) -> None:
    rows = [{"text": "près"}, {"text": "café"}]
    content = (
        json.dumps(rows, ensure_ascii=False)
        if array
        else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    path = tmp_path / "m.jsonl"
    path.write_bytes(content.encode(encoding))
    with pytest.raises(DataError, match="`encoding"):
        read(path, "text")
    assert read(path, "text", reader=JsonLinesReader(encoding=encoding)) == rows


NESTED = [
    {
        "id": "1",
        "user": {"name": "ana", "place": {"city": "Tarim"}},
        "referenced_tweets": [{"text": "full one"}],
    },
    {"id": "2", "user": None},
    {"id": "3", "user": {"name": "bo"}, "referenced_tweets": []},
    {"id": "4", "a.b": "flat", "referenced_tweets": [{"text": "x"}, {"text": "second"}]},
]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_nested_columns_by_their_path(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"m{ending}"
    if ending == ".parquet":
        keys = dict.fromkeys(["id", "user", "referenced_tweets", "a.b"])
        pq.write_table(pa.Table.from_pylist([{**keys, **row} for row in NESTED]), path)
    else:
        path.write_text(lines(NESTED) if ending == ".jsonl" else json.dumps(NESTED))
    columns = (
        "referenced_tweets.0.text",
        "referenced_tweets.1.text",
        "user.name",
        "user.place.city",
        "id",
        "a.b",
    )
    found = read(path, *columns)
    assert [row["referenced_tweets.0.text"] for row in found] == ["full one", None, None, "x"]
    assert [row["referenced_tweets.1.text"] for row in found] == [None, None, None, "second"]
    assert [row["user.name"] for row in found] == ["ana", None, "bo", None]
    assert [row["user.place.city"] for row in found] == ["Tarim", None, None, None]
    assert [row["a.b"] for row in found] == [None, None, None, "flat"]
    for wrong in ("user.nam", "user.name.x", "referenced_tweets.x.text", "nobody.name"):
        with pytest.raises(DataError, match="no column"):
            read(path, wrong)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".arrow"])
def test_white_space_around_names(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"m{ending}"
    table = pa.table({" id": ["1"], "text ": ["fire"]})
    if ending == ".jsonl":
        path.write_text('{" id": "1", "text ": "fire"}\n')
    elif ending == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table)
    assert reader_for(path).columns(path) == ["id", "text"]
    with pytest.warns(DataWarning, match="white space"):
        assert read(path, "text", "id") == [{"text": "fire", "id": "1"}]


def test_a_file_of_bad_lines_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("[1]\nnul\n")
    with pytest.raises(DataError, match=r"none of its rows can be read \(2 were left out\)"):
        list(JsonLinesReader().batches(path, ["text"], lambda _: None))


@pytest.mark.parametrize("array", [False, True])
def test_a_key_that_stands_twice(tmp_path: Path, array: bool) -> None:
    def written(second: str) -> Path:
        row = f'{{"text": "a", "fire": 1, "fire": {second}}}'
        path = tmp_path / "m.json"
        path.write_text(f"[{row}]" if array else row + "\n")
        return path

    with pytest.raises(DataError, match=r"row 1: .*the key 'fire' stands twice, with different values"):
        read(written("0"), "text", "fire")
    assert read(written("1"), "text", "fire") == [{"text": "a", "fire": 1}]
