"""`tocsin fetch`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.plugins.distributions import Install
from tocsin.cli.main import main
from tocsin.plugins.discovery import DATASETS

SOURCE = """
def fetch(destination):
    path = destination / "messages.csv"
    path.write_text("id,text\\n1,help\\n")
    return path
"""


@pytest.fixture
def dataset(install: Install) -> None:
    install(
        "crisis",
        summary="Crisis messages",
        entry_points={DATASETS: {"crisis-messages": "crisis_fetch:fetch"}},
        modules={"crisis_fetch": SOURCE},
    )


def test_the_list_comes_from_metadata_alone(dataset: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch"]) == 0
    assert "crisis-messages  Crisis messages [crisis 1.0]" in capsys.readouterr().out
    assert "crisis_fetch" not in sys.modules


def test_a_data_set_lands_in_data_by_default(dataset: None, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_DATA", str(tmp_path / "elsewhere"))
    assert main(["fetch", "crisis-messages"]) == 0
    assert (tmp_path / "data" / "messages.csv").is_file()
    assert not (tmp_path / "elsewhere").exists()
    assert str(Path("data", "messages.csv")) in capsys.readouterr().out
    assert main(["fetch", "crisis-messages", "--data", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "messages.csv").is_file()


def test_mistakes_exit_2(dataset: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "crisis-mesages"]) == 2
    assert "Did you mean 'crisis-messages'?" in capsys.readouterr().err
    assert main(["fetch", "crisis-messages", "--data", ""]) == 2
    assert "Is $TOCSIN_DATA unset?" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["fetch", "crisis-messages", "--data", str(tmp_path / "file" / "below")]) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_without_plugins_it_says_so(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch"]) == 0
    assert "No installed plugin offers a data set" in capsys.readouterr().out
    assert main(["fetch", "x"]) == 2


def test_a_broken_data_set_is_named(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("broken", entry_points={DATASETS: {"b": "no_such_module_at_all:fetch"}})
    assert main(["fetch", "b"]) == 2
    assert "The data set 'b' of broken 1.0 cannot be loaded" in capsys.readouterr().err
