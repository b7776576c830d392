"""Readers by a short text, and as plain data."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.errors import ConfigError
from tocsin.text.csv_files import CsvReader
from tocsin.text.json_lines import JsonLinesReader
from tocsin.text.reader_names import make_reader, reader_record
from tocsin.text.readers import ArrowReader, ParquetReader, Reader


@pytest.mark.parametrize(
    ("spec", "kind", "options"),
    [
        ("CsvReader", CsvReader, {}),
        ("csv", CsvReader, {}),
        ("CSV", CsvReader, {}),
        ("tsv", CsvReader, {"delimiter": "\t"}),
        ("tsv:quotes=false", CsvReader, {"delimiter": "\t", "quotes": False}),
        ("csv:delimiter=;", CsvReader, {"delimiter": ";"}),
        ("csv:delimiter=,,encoding=cp1252", CsvReader, {"delimiter": ",", "encoding": "cp1252"}),
        ("csv:delimiter=\\t", CsvReader, {"delimiter": "\t"}),
        ("csv:delimiter=|, quotes=no", CsvReader, {"delimiter": "|", "quotes": False}),
        ("csv:escape=\\", CsvReader, {"escape": "\\"}),
        (
            "csv:column_names=[id, text],quotes=true",
            CsvReader,
            {"column_names": ["id", "text"], "quotes": True},
        ),
        ("json:encoding=utf-16", JsonLinesReader, {"encoding": "utf-16"}),
        ("parquet", ParquetReader, {}),
        ("ArrowReader", ArrowReader, {}),
        ({"class_path": "CsvReader", "init_args": {"delimiter": ";"}}, CsvReader, {"delimiter": ";"}),
        ({"class_path": "tocsin.text.readers.CsvReader"}, CsvReader, {}),
    ],
)
def test_made_and_recorded(spec: Any, kind: type[Reader], options: dict[str, Any]) -> None:
    reader = make_reader(spec)
    assert type(reader) is kind
    assert {name: getattr(reader, name) for name in options} == options
    again = make_reader(reader_record(reader))
    assert type(again) is kind
    assert again.arguments == reader.arguments


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("CsvRaeder", "Did you mean 'CsvReader'"),
        ("csv:encodign=x", "Did you mean 'encoding'"),
        ("csv:", "wanted was NAME"),
        ("csv:quotes", "no option=value"),
        ("os.system:x=1", "no reader"),
        ("parquet:quotes=1", "Options: none"),
        ("", "wanted was NAME"),
        ({"init_args": {}}, "wanted was NAME"),
        ({"class_path": "CsvReader", "init_args": [1]}, "wanted was NAME"),
        ({"class_path": "CsvReader", "other": 1}, "wanted was NAME"),
        ("csv:delimiter=[1]", "delimiter is"),
        ("csv:quotes=maybe", "quotes is"),
        ("csv:escape=1.5", "escape is"),
        ("csv:encoding=[x]", "encoding is"),
        ("csv:column_names=text", "column_names is"),
    ],
)
def test_what_names_none(spec: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_reader(spec)


def test_readers_of_plugins() -> None:
    class Other(Reader):
        def columns(self, path: Any) -> list[str]:
            return []

        def batches(self, path: Any, columns: Any, on_bad_row: Any = None) -> Any:
            return iter(())

    assert type(make_reader("Other", {"Other": Other})) is Other
