"""Damaged message files, with every option of the readers."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from tests.fuzz.damage import damaged
from tests.fuzz.harness import COUNTS, fuzz
from tocsin.text.cleaners import TweetCleaner
from tocsin.text.messages import read_messages
from tocsin.text.reader_names import make_reader
from tocsin.text.readers import ArrowReader, CsvReader, JsonLinesReader, ParquetReader, reader_for

ROWS: list[dict[str, Any]] = [
    {"id": "a1", "text": 'water, "much" of it', "lang": "eng", "flood": 1, "tags": ["x", "y"]},
    {"id": "a2", "text": "une ligne\nune autre", "lang": "fra", "flood": 0, "tags": []},
    {"id": "a3", "text": "مساعدة; 😢\tend", "lang": None, "flood": None, "tags": None},
    *({"id": f"b{n}", "text": f"text {n}", "lang": "eng", "flood": n % 2, "tags": ["z"]} for n in range(5)),
]


def _csv(delimiter: str = ",", quote: str = '"', newline: str = "\n") -> str:
    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        if quote and any(sign in text for sign in (delimiter, quote, "\n")):
            return quote + text.replace(quote, quote * 2) + quote
        return text.replace("\n", " ").replace(delimiter, " ")

    rows = [list(ROWS[0])] + [list(row.values()) for row in ROWS]
    return "".join(delimiter.join(map(cell, row)) + newline for row in rows)


def _parquet(**options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file, **options)
    return file.getvalue()


def _arrow(stream: bool) -> bytes:
    table = pa.Table.from_pylist(ROWS)
    file = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


CSV = [_csv().encode(), _csv(newline="\r\n").encode(), _csv(";").encode("utf-8-sig"), b"id,text\n1,x\n", b""]
TSV = [_csv("\t", "").encode(), _csv("\t").encode("utf-16"), _csv("\t").encode("cp1252", "replace")]
LINES = [
    "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS).encode(),
    json.dumps([{"id": "1", "text": "a", "user": {"name": "n", "tweets": [{"text": "t"}]}}]).encode(),
]
FILES: dict[str, list[bytes]] = {
    ".csv": CSV,
    ".tsv": TSV,
    ".txt": [*CSV, *TSV],
    ".jsonl": LINES,
    ".json": [*LINES, json.dumps(ROWS, indent=1).encode()],
    ".parquet": [_parquet(), _parquet(compression="zstd", use_dictionary=False, write_page_checksum=True)],
    ".arrow": [_arrow(True), _arrow(False)],
    ".csv.gz": [gzip.compress(CSV[0]), gzip.compress(CSV[0])[:40] + gzip.compress(CSV[2])],
    ".jsonl.gz": [gzip.compress(LINES[0])],
    ".csv.zst": [_zstd(CSV[0])],
    ".jsonl.zst": [_zstd(LINES[0])],
}
ENCODINGS = [
    None,
    None,
    None,
    "utf-8",
    "utf-16",
    "utf-16-le",
    "cp1252",
    "latin-1",
    "utf-7",
    "shift_jis",
    "rot13",
    "idna",
    "zlib",
    "x",
]
CSV_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "delimiter": st.sampled_from([None, ",", ";", "\t", "tab", "|", " ", '"', "é", "\0", "", ",,"]),
        "quotes": st.sampled_from([None, True, False]),
        "escape": st.sampled_from([None, "\\", "'", "\t", "", "\0"]),
        "encoding": st.sampled_from(ENCODINGS),
        "column_names": st.sampled_from(
            [None, ["id", "text"], ["id", "text", "lang", "flood", "tags"], [], ["a", "a"]]
        ),
    },
)
JSON_OPTIONS = st.fixed_dictionaries({}, optional={"encoding": st.sampled_from(ENCODINGS)})


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes, dict[str, Any], str, bool]:
    ending = draw(st.sampled_from(list(FILES)))
    contents = FILES[ending]
    packed = ending.endswith((".gz", ".zst"))
    if packed and draw(st.booleans()):  # what is inside of a sound archive is damaged
        content = draw(damaged(CSV if "csv" in ending else LINES))
        content = gzip.compress(content, 1) if ending.endswith(".gz") else _zstd(content)
    else:
        content = draw(damaged(contents) | st.binary(max_size=200) | st.sampled_from(contents))
    options = draw(CSV_OPTIONS if ".csv" in ending or ending in (".tsv", ".txt") else JSON_OPTIONS)
    column = draw(
        st.sampled_from(["text", "text", "id", "flood", "tags", "user.tweets.0.text", "", "\0", "none"])
    )
    return ending, content, options, column, draw(st.booleans())


@pytest.mark.parametrize("count", COUNTS)
def test_message_files(tmp_path: Path, count: int) -> None:
    def read(drawn: tuple[str, bytes, dict[str, Any], str, bool]) -> None:
        ending, content, options, column, skip = drawn
        path = tmp_path / f"file{ending}"
        path.write_bytes(content)
        if not options:
            reader = reader_for(path)
        elif ".json" in ending:
            reader = JsonLinesReader(**options)
        else:
            reader = {".parquet": ParquetReader, ".arrow": ArrowReader}.get(
                ending, lambda: CsvReader(**options)
            )()
        reader.approximate_rows(path)
        columns = reader.columns(path)
        extra = [name for name in columns if name not in ("id", "text", "lang")][:3]
        read_messages(
            [path],
            text=column,
            id="id" if "id" in columns else None,
            lang="lang" if "lang" in columns else None,
            extra=extra,
            cleaner=TweetCleaner(),
            on_empty="drop",
            reader=reader,
            on_error="skip" if skip else "raise",
        )

    fuzz(count, files(), read)


SPECS = [
    "CsvReader:encoding=cp1252,delimiter=;",
    "tsv:quotes=false",
    "csv:column_names=[id, text],escape=\\\\",
    "jsonl:encoding=utf-16",
    "parquet",
]


@pytest.mark.parametrize("count", COUNTS)
def test_readers_as_options_name_them(count: int) -> None:
    bomb = "csv:column_names=[&a [x,x,x,x,x,x,x,x,x,x]" + "".join(
        f",&{chr(98 + level)} [{','.join([f'*{chr(97 + level)}'] * 10)}]" for level in range(9)
    )
    specs = [*(spec.encode() for spec in SPECS), bomb.encode() + b"]"]
    texts = (damaged(specs) | st.sampled_from(specs)).map(
        lambda content: content.decode("utf-8", "surrogateescape")
    )
    fuzz(count, texts, make_reader)
