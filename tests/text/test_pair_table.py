"""PairTable: columns by option, rows by `where`, and faults named by file and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tocsin.errors import ConfigError, DataError
from tocsin.plugins.testing import check_pair_reader
from tocsin.text.pair_table import PairTable

ROWS = {
    "en": ["Send water", "Road closed", "Help us", "Fire"],
    "other": ["Voye dlo", "Route fermée", "Aidez-nous", "Feu"],
    "code": ["hat", "fra", "fra", "fra"],
    "kind": [1, 2, 2, None],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pq.write_table(pa.table(ROWS), tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def rows(reader: PairTable, bad: Any = None) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for batch in reader.batches(bad) for row in batch.to_pylist()]


def test_columns_values_and_where(path: Path) -> None:
    named = {"english": "en", "text": "other"}
    assert rows(PairTable(str(path), lang="code", source_value="sms", **named))[:2] == [
        ("Send water", "Voye dlo", "hat", "sms"),
        ("Road closed", "Route fermée", "fra", "sms"),
    ]
    assert rows(PairTable([str(path)], lang_value="x", source="kind", where={"kind": "2"}, **named)) == [
        ("Road closed", "Route fermée", "x", "2"),
        ("Help us", "Aidez-nous", "x", "2"),
    ]
    assert rows(PairTable(str(path), lang="code", where={"kind": "2", "code": "hat"}, **named)) == []
    reader = PairTable(str(path), lang="code", **named)
    assert reader.approximate_pairs() == 4
    assert reader.files() == [path]


@pytest.mark.parametrize("ending", ["parquet", "tsv"])
def test_it_conforms(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"pairs.{ending}"
    columns = {"english": ROWS["en"], "text": ROWS["other"], "lang": ROWS["code"]}
    if ending == "parquet":
        pq.write_table(pa.table(columns), file)
    else:
        lines = ["\t".join(columns), *("\t".join(row) for row in zip(*columns.values(), strict=True))]  # type: ignore[arg-type]
        file.write_text("\n".join(lines) + "\n")
    check_pair_reader(PairTable, files=[str(file)])


@pytest.mark.parametrize("value", [None, "", " \u3000"])
@pytest.mark.parametrize("column", ["english", "text", "lang"])
def test_a_missing_side_is_a_bad_row(tmp_path: Path, column: str, value: str | None) -> None:
    columns: dict[str, list[str | None]] = {
        "english": ["a", "b", "c"],
        "text": ["x", "y", "z"],
        "lang": ["fr"] * 3,
    }
    columns[column][1] = value
    pq.write_table(
        pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()}),
        tmp_path / "p.parquet",
    )
    reader = PairTable(str(tmp_path / "p.parquet"))
    with pytest.raises(DataError, match=rf"p.parquet, row 2: column '{column}' is (null|empty)"):
        rows(reader)
    faults: list[DataError] = []
    assert [row[0] for row in rows(reader, faults.append)] == ["a", "c"]
    assert [fault.row for fault in faults] == [2]


def test_awkward_texts_come_through(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    long = "w" * 1_000_000
    file.write_bytes(
        b"\xef\xbb\xbfenglish,text,lang\na\x00b,x,fr\n"
        + f'{long},"two\nlines",fr\n\u202eabc,اب,ar\n'.encode()
    )
    assert [row[:2] for row in rows(PairTable(str(file)))] == [
        ("a\x00b", "x"),
        (long, "two\nlines"),
        ("\u202eabc", "اب"),
    ]


def test_what_is_not_utf_8_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "p.tsv"
    file.write_bytes(b"english\ttext\tlang\na\tx\tfr\nb\t\xff\tfr\nc\tz\tfr\n")
    with pytest.raises(DataError, match=r"p.tsv, row 2: column 'text' is not UTF-8"):
        rows(PairTable(str(file)))
    faults: list[DataError] = []
    assert [row[0] for row in rows(PairTable(str(file)), faults.append)] == ["a", "c"]
    assert [fault.row for fault in faults] == [2]


def test_refusals(path: Path) -> None:
    with pytest.raises(DataError, match="has no columns 'english', 'text', 'lang'"):
        rows(PairTable(str(path)))
    with pytest.raises(DataError, match=r"no data file 'nothing\.parquet'"):
        rows(PairTable("nothing.parquet"))
    for options in (
        {"files": []},
        {"files": "a", "source": "x", "source_value": "y"},
        {"files": "a", "lang_value": " "},
    ):
        with pytest.raises(ConfigError):
            PairTable(**options)  # type: ignore[arg-type]
