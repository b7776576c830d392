"""A record says what was run, and not by whom or where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tocsin.errors import DataError
from tocsin.training.provenance import describe_files, ended, started


def test_a_record_names_no_folder_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, other = tmp_path / "work", tmp_path / "secret place"
    for folder in (work, other):
        folder.mkdir()
        (folder / "messages.csv").write_text("id,text\n")
    monkeypatch.chdir(work)
    given = [
        "fit",
        "--config",
        f"{work}/e/config.yaml",
        f"--data.train={other}/messages.csv",
        "--name",
        "a b",
    ]
    monkeypatch.setattr(sys, "argv", [str(other / "bin" / "tocsin"), *given])
    record = ended(started("a", "fit"), DataError("has no row", file=other / "messages.csv", row=3))
    assert record["command"] == "tocsin fit --config e/config.yaml --data.train=messages.csv --name 'a b'"
    assert record["status"] == "failed"
    assert "secret" not in str(record)
    assert str(tmp_path) not in str(record)
    files = describe_files([work / "messages.csv", other / "messages.csv"])
    assert [file["path"] for file in files] == ["messages.csv", "messages.csv"]
    assert all(len(file["sha256"]) == 64 for file in files)
