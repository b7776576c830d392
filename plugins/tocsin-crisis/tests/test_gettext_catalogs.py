"""GettextCatalogs: strings of an installed package that is found and never imported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tocsin.plugins import ConfigError, DataError
from tocsin.plugins.testing import check_pair_reader
from tocsin_crisis.gettext_catalogs import GettextCatalogs
from tocsin_crisis.languages import iso639_3

HEADER = """\
msgid ""
msgstr "Content-Type: text/plain; charset=utf-8\\nPlural-Forms: nplurals=2; plural=(n != 1);\\n"

"""
FRENCH = (
    HEADER
    + """\
msgid "Save"
msgstr "Enregistrer"

msgctxt "verb"
msgid "Open"
msgstr "Ouvrir"

msgctxt "adjective"
msgid "Open"
msgstr "Ouvert"

#, fuzzy
msgid "Maybe"
msgstr "Peut-être pas"

#, python-format
msgid "%(count)d file"
msgid_plural "%(count)d files"
msgstr[0] "%(count)d fichier"
msgstr[1] "%(count)d fichiers"

msgid "Untranslated"
msgstr ""

msgid "100% sure"
msgstr "sûr à 100 %"

#~ msgid "Gone"
#~ msgstr "Parti"
"""
)
SAVE = [("Save", "Enregistrer"), ("Open", "Ouvrir"), ("Open", "Ouvert")]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site" / "shop_of_tests"
    for language, text in (("fr", FRENCH), ("pt_BR", HEADER + 'msgid "Save"\nmsgstr "Salvar"\n')):
        (folder / "locale" / language / "LC_MESSAGES").mkdir(parents=True)
        (folder / "locale" / language / "LC_MESSAGES" / "shop.po").write_text(text, encoding="utf-8")
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def rows(bad: Any = None, **options: Any) -> list[tuple[str, ...]]:
    reader = GettextCatalogs(**{"packages": ["shop_of_tests"], **options})
    return [tuple(row.values()) for batch in reader.batches(bad) for row in batch.to_pylist()]


def test_strings_of_a_package_that_is_not_imported(package: Path) -> None:
    found = rows()
    assert [row[:2] for row in found if row[2] == "fra"] == [
        *SAVE,
        ("%(count)d file", "%(count)d fichier"),
        ("100% sure", "sûr à 100 %"),
    ]
    assert [row for row in found if row[2] != "fra"] == [("Save", "Salvar", "por", "shop_of_tests")]
    assert "shop_of_tests" not in sys.modules
    check_pair_reader(GettextCatalogs, packages=["shop_of_tests"])


def test_options(package: Path) -> None:
    both = rows(plurals="both", languages=["fr"])
    assert ("%(count)d files", "%(count)d fichiers", "fra", "shop_of_tests") in both
    assert len(both) == 6
    assert [row[:2] for row in rows(keep_placeholders=False, languages=["fr"])] == [
        *SAVE,
        ("100% sure", "sûr à 100 %"),
    ]
    assert {row[2] for row in rows(variants="keep")} == {"fra", "por_br"}
    assert {row[2] for row in rows(codes="as-is")} == {"fr", "pt_BR"}


def test_more_plural_forms_than_the_header_promises(package: Path) -> None:
    file = package / "locale" / "fr" / "LC_MESSAGES" / "shop.po"
    forms = "".join(f'msgstr[{number}] "forme {number}"\n' for number in range(3))
    file.write_text(HEADER + f'msgid "form"\nmsgid_plural "forms"\n{forms}', encoding="utf-8")
    assert [row[:2] for row in rows(languages=["fr"], plurals="both")] == [
        ("form", "forme 0"),
        ("forms", "forme 2"),
    ]


def test_a_mo_file_serves_where_there_is_no_po(package: Path) -> None:
    import polib

    file = package / "locale" / "fr" / "LC_MESSAGES" / "shop.po"
    compiled = polib.pofile(file.read_text(encoding="utf-8")).to_binary()
    before = rows(languages=["fr"], plurals="both")
    file.with_suffix(".mo").write_bytes(compiled)
    assert rows(languages=["fr"], plurals="both") == before
    file.unlink()
    assert sorted(rows(languages=["fr"], plurals="both")) == sorted(before)
    file.with_suffix(".mo").write_bytes(compiled[:100])
    with pytest.raises(DataError, match=r"shop\.mo: torn, or not a catalog"):
        rows(languages=["fr"])


def test_faults_are_named(package: Path, tmp_path: Path) -> None:
    file = package / "locale" / "fr" / "LC_MESSAGES" / "shop.po"
    for content, row in (
        (HEADER.encode() + b'msgid "a"\nmsgstr "\xff"\n', 5),
        (b'msgid "a"\ngarbage\nmsgstr "b"\n', 2),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"shop\.po, row {row}: "):
            rows()
        faults: list[DataError] = []
        assert rows(faults.append) == [("Save", "Salvar", "por", "shop_of_tests")]
        assert len(faults) == 1
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"shop\.po: the file is empty"):
        rows()


def test_missing_packages_languages_and_catalogs(package: Path) -> None:
    with pytest.raises(DataError, match="no package 'shop_of_test' is installed here"):
        rows(packages=["shop_of_test"])
    with pytest.raises(DataError, match=r"language 'pt_PT' in shop_of_tests\. Did you mean 'pt_BR'"):
        rows(languages=["pt_PT"])
    (package.parent / "bare_of_tests").mkdir()
    (package.parent / "bare_of_tests" / "__init__.py").touch()
    with pytest.raises(DataError, match="'bare_of_tests' holds no catalog"):
        rows(packages=["bare_of_tests"])
    with pytest.raises(ConfigError, match="packages is empty"):
        GettextCatalogs([])


@pytest.mark.parametrize(
    ("name", "code", "kept"),
    [
        ("pt_BR", "por", "por_br"),
        ("zh-cn", "cmn", "cmn_cn"),
        ("sr@latin", "srp", "srp_latin"),
        ("cak", "cak", "cak"),
        ("nb", "nob", "nob"),
        ("es_419", "spa", "spa_419"),
        ("ckb", "ckb", "ckb"),
    ],
)
def test_language_codes(name: str, code: str, kept: str) -> None:
    assert (iso639_3(name), iso639_3(name, variants=True)) == (code, kept)


@pytest.mark.shared_data
def test_codes_are_those_of_the_joined_corpora() -> None:
    """Of every catalog that a corpus in one convention was made of."""
    import os

    import pyarrow.parquet as pq

    path = Path(os.environ.get("TOCSIN_DATA", "")) / "parallel_gettext.parquet"
    if not path.is_file():
        pytest.skip("TOCSIN_DATA names no folder with parallel_gettext.parquet")
    table = pq.read_table(path, columns=["lang", "lang_src"])
    pairs = set(zip(table["lang_src"].to_pylist(), table["lang"].to_pylist(), strict=True))
    assert len(pairs) > 100
    assert {name: iso639_3(name) for name, _ in pairs} == dict(pairs)
