"""Damaged and hostile files: a DataError or rows, never another exception, and never for long."""

from __future__ import annotations

import gzip
import json
import random
import time
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tocsin.errors import DataError
from tocsin.text.csv_files import CsvReader
from tocsin.text.json_lines import JsonLinesReader
from tocsin.text.readers import Reader, reader_for

ROWS = [{"id": str(n), "text": f'près "{n}", 🚨\nand\ton', "flood": n % 2} for n in range(12)]
TEXT = "id,text,flood\r\n" + "".join(
    f'{row["id"]},"{str(row["text"]).replace(chr(34), chr(34) * 2)}",{row["flood"]}\r\n' for row in ROWS
)
SIGNS = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\r\n",
    b"\\",
    b'\\"',
    b"\0",
    b"\xff",
    b"\xef\xbf\xbe",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\t",
    b";",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b":",
    b"\x1b",
    b"\\ud800",
    b"1e999",
    b"NaN",
]


def seeds(folder: Path) -> dict[str, bytes]:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "seed.parquet", write_page_checksum=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    return {
        "m.csv": TEXT.encode(),
        "m.tsv": TEXT.replace(",", "\t").encode(),
        "m.jsonl": lines.encode(),
        "m.json": json.dumps(ROWS).encode(),
        "m.csv.gz": gzip.compress(TEXT.encode()),
        "m.parquet": (folder / "seed.parquet").read_bytes(),
    }


def mutated(chance: random.Random, content: bytes) -> bytes:
    made = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            made[at:at] = chance.choice(SIGNS) * chance.choice([1, 1, 2, 300])
        elif kind == 1:
            del made[at : at + chance.choice([1, 2, 40])]
        elif kind == 2 and at < len(made):
            made[at] ^= 1 << chance.randrange(8)
        else:
            made = (
                made[:at] if chance.random() < 0.3 else made[:at] + made[: chance.randrange(60)] + made[at:]
            )
        made = made or bytearray(b"x")
    return bytes(made)


READERS: dict[str, list[Reader]] = {
    "m.csv": [
        CsvReader(),
        CsvReader(escape="\\"),
        CsvReader(encoding="cp1252", quotes=False),
        CsvReader(encoding="utf-16"),
    ],
    "m.tsv": [CsvReader(), CsvReader(column_names=["id", "text", "flood"]), CsvReader(quotes=True)],
    "m.jsonl": [JsonLinesReader(), JsonLinesReader(encoding="latin-1")],
}


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_other_exception(tmp_path: Path, count: int) -> None:
    chance = random.Random(7)
    contents = seeds(tmp_path)
    read = 0
    unnamed: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            name = chance.choice(list(contents))
            path = tmp_path / name
            path.write_bytes(mutated(chance, contents[name]))
            reader = chance.choice([*READERS.get(name, []), reader_for(path)])
            on_bad_row = (lambda _: None) if number % 2 else None
            begin = time.process_time()
            try:
                rows = sum(batch.num_rows for batch in reader.batches(path, ["id", "text"], on_bad_row))
                read += rows > 0
            except DataError as error:
                unnamed += [] if str(path) in str(error) else [str(error)]
            assert time.process_time() - begin < 20
    assert not unnamed
    assert read > count / 20, "some files are read all the same"
