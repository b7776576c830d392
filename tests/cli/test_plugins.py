"""`tocsin plugins`."""

from __future__ import annotations

import sys

import pytest

from tests.plugins.distributions import Install
from tocsin.cli.main import main
from tocsin.plugins.discovery import COMMANDS, GROUP

GOOD = """
from tocsin.plugins import Cleaner, hookimpl

class CliScrub(Cleaner):
    '''Scrubs.'''
    def clean(self, text: str) -> str:
        return text

@hookimpl
def tocsin_cleaners():
    return [CliScrub]
"""


def test_the_list_comes_from_metadata_alone(install: Install, monkeypatch, capsys) -> None:
    install(
        "good",
        version="1.2",
        entry_points={GROUP: {"g": "unseen_good"}, COMMANDS: {"go": "unseen_good:main"}},
    )
    install("future", entry_points={"tocsin.v2": {"f": "unseen_future"}})
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()] == [
        ["g", "good", "1.2", "tocsin.v1", "on"],
        ["f", "future", "1.0", "tocsin.v2", "off", "(this", "Tocsin", "has", "tocsin.v1)"],
        ["go", "good", "1.2", "tocsin.v1", "verb"],
    ]
    assert not {"unseen_good", "unseen_future"} & set(sys.modules)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    assert main(["plugins"]) == 0
    assert "off (TOCSIN_PLUGINS)" in capsys.readouterr().out


def test_check_loads_each_and_shows_what_fails(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("good", entry_points={GROUP: {"g": "cli_good"}}, modules={"cli_good": GOOD})
    assert main(["plugins", "--check"]) == 0
    out = capsys.readouterr().out
    assert "ok      g (good 1.0)" in out
    assert "cleaner: CliScrub" in out
    install("broken", entry_points={GROUP: {"b": "cli_broken"}}, modules={"cli_broken": "import nope_nope"})
    assert main(["plugins", "--check"]) == 1
    assert "off     b (broken 1.0): ModuleNotFoundError" in capsys.readouterr().out


def test_no_plugins(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    assert "No plugins are installed" in capsys.readouterr().out
