"""MosesPairs: plain, gzipped and zipped files; lines that do not match, are torn or bad are named."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tocsin.plugins import ConfigError, DataError
from tocsin.plugins.testing import check_pair_reader
from tocsin_crisis import tocsin_pair_readers
from tocsin_crisis.moses import MosesPairs

ENGLISH = "Send water\nThe road is closed\u2028now\nHelp\n"
FRENCH = "Envoyez de l'eau\nLa route\x85 est fermée\r\nAidez-nous"


def write(folder: Path, kind: str, english: bytes, french: bytes) -> dict[str, Any]:
    if kind == "zip":
        with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("C.en-fr.en", english)
            archive.writestr("C.en-fr.fr", french)
            archive.writestr("../README", b"not ours")
        return {"english": "C.en-fr.en", "text": "C.en-fr.fr", "archive": str(folder / "c.zip")}
    names = []
    for name, content in (("c.en", english), ("c.fr", french)):
        path = folder / f"{name}{'.gz' if kind == 'gz' else ''}"
        path.write_bytes(gzip.compress(content) if kind == "gz" else content)
        names.append(str(path))
    return {"english": names[0], "text": names[1]}


def rows(reader: MosesPairs, bad: Any = None) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for batch in reader.batches(bad) for row in batch.to_pylist()]


@pytest.mark.parametrize("kind", ["plain", "gz", "zip"])
def test_the_same_pairs_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    given = write(tmp_path, kind, b"\xef\xbb\xbf" + ENGLISH.encode(), FRENCH.encode())
    assert rows(MosesPairs(lang="fr", source="opus", **given)) == [
        ("Send water", "Envoyez de l'eau", "fra", "opus"),
        ("The road is closed\u2028now", "La route\x85 est fermée", "fra", "opus"),
        ("Help", "Aidez-nous", "fra", "opus"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {Path(v).name for v in given.values() if "/" in v}
    )


@pytest.mark.parametrize("kind", ["plain", "gz", "zip"])
def test_it_conforms(tmp_path: Path, kind: str) -> None:
    check_pair_reader(
        MosesPairs, lang="pt_br", **write(tmp_path, kind, ENGLISH.encode() * 9, (FRENCH + "\n").encode() * 9)
    )
    assert MosesPairs in tocsin_pair_readers()


@pytest.mark.parametrize("kind", ["plain", "gz", "zip"])
@pytest.mark.parametrize("longer", ["en", "fr"])
def test_other_numbers_of_lines_are_named(tmp_path: Path, kind: str, longer: str) -> None:
    more = b"x\n" * 12_345
    english = ENGLISH.encode() + (more if longer == "en" else b"")
    french = FRENCH.encode() + b"\n" + (more if longer == "fr" else b"")
    with pytest.raises(DataError) as caught:
        rows(MosesPairs(lang="fr", **write(tmp_path, kind, english, french)))
    told = str(caught.value)
    assert "12,348" in told
    assert " 3 lines" in told or "has 3:" in told
    assert "row 4" in told
    assert told.count(".en") + told.count(".fr") >= 2


def test_bad_lines_are_named_and_left_out(tmp_path: Path) -> None:
    given = write(tmp_path, "plain", b"a\nb\nc\nd\xff\ne\x00f\n", b"1\n\n3\n4\n5\n")
    reader = MosesPairs(lang="fr", **given)
    with pytest.raises(DataError, match=r"c\.fr, row 2: the line is empty"):
        rows(reader)
    faults: list[DataError] = []
    assert [row[:2] for row in rows(reader, faults.append)] == [("a", "1"), ("c", "3"), ("e\x00f", "5")]
    assert [(Path(str(fault.file)).name, fault.row) for fault in faults] == [("c.fr", 2), ("c.en", 4)]


def test_very_long_lines_are_read_up_to_a_limit(tmp_path: Path) -> None:
    given = write(tmp_path, "plain", b"a" * 1_000_000 + b"\n", b"b\n")
    assert len(rows(MosesPairs(lang="fr", **given))[0][0]) == 1_000_000
    given = write(tmp_path, "plain", b"a" * ((1 << 24) + 2), b"b\n")
    with pytest.raises(DataError, match=r"row 1: a line of more than 16 MB"):
        rows(MosesPairs(lang="fr", **given))


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_torn_archives_are_named(tmp_path: Path, kind: str) -> None:
    lines = b"".join(b"%d %d\n" % (n, n * n) for n in range(5000))
    given = write(tmp_path, kind, lines, lines)
    path = Path(given.get("archive", given["english"]))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match="torn") as caught:
        rows(MosesPairs(lang="fr", **given))
    assert path.name in str(caught.value)


def test_refusals(tmp_path: Path) -> None:
    given = write(tmp_path, "zip", b"a\n", b"b\n")
    with pytest.raises(DataError, match=r"holds no file 'C\.en'\. Its files: C\.en-fr\.en"):
        rows(MosesPairs(lang="fr", **{**given, "english": "C.en"}))
    with pytest.raises(DataError, match="no data file"):
        rows(MosesPairs("a.en", "a.fr", lang="fr"))
    with pytest.raises(ConfigError, match="lang is empty"):
        MosesPairs("a", "b", lang=" ")
    with pytest.raises(DataError, match="empty"):
        rows(MosesPairs(lang="fr", **write(tmp_path, "zip", b"", b"")))


@pytest.mark.parametrize(
    ("options", "lang"),
    [({}, "por"), ({"variants": "keep"}, "por_br"), ({"codes": "as-is"}, "pt_BR")],
)
def test_language_names(options: dict[str, Any], lang: str) -> None:
    assert MosesPairs("a", "b", lang="pt_BR", **options).lang == lang
