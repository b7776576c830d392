"""`tocsin plugins`."""

from __future__ import annotations

import json
import sys

import pytest

from tests.plugins.distributions import Install
from tocsin.cli.main import main
from tocsin.plugins.discovery import COMMANDS, DATASETS, GROUP

GOOD = """
from tocsin.plugins import Cleaner, hookimpl

class CliScrub(Cleaner):
    '''Scrubs.'''
    def clean(self, text: str) -> str:
        return text

@hookimpl
def tocsin_cleaners():
    return [CliScrub]

@hookimpl
def tocsin_run_ended(error):
    pass
"""


def test_the_list_comes_from_metadata_alone(install: Install, monkeypatch, capsys) -> None:
    install(
        "good",
        version="1.2",
        entry_points={GROUP: {"g": "unseen_good"}, COMMANDS: {"go": "unseen_good:main"}},
    )
    install("future", entry_points={"tocsin.v2": {"f": "unseen_future"}})
    install("taker", entry_points={COMMANDS: {"fit": "unseen_taker:fit", "go": "unseen_taker:go"}})
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()] == [
        ["on", "g", "good", "1.2", "components", "hooks", "tocsin.v1"],
        ["broken", "f", "future", "1.0", "components", "hooks", "tocsin.v2"],
        ["it", "is", "made", "for", "other", "hooks;", "this", "Tocsin", "has", "tocsin.v1"],
        ["on", "go", "good", "1.2", "verb", "hooks", "tocsin.v1"],
        ["broken", "fit", "taker", "1.0", "verb", "hooks", "tocsin.v1"],
        ["Tocsin", "itself", "has", "a", "verb", "of", "that", "name"],
        ["broken", "go", "taker", "1.0", "verb", "hooks", "tocsin.v1"],
        ["good", "has", "a", "verb", "of", "that", "name"],
    ]
    assert not {"unseen_good", "unseen_future", "unseen_taker"} & set(sys.modules)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    assert main(["plugins", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hook_api"] == "tocsin.v1"
    states = {(one["distribution"], one["name"]): one["state"] for one in found["plugins"]}
    assert states["good", "g"] == states["good", "go"] == states["taker", "fit"] == "off"


def test_check_shows_hooks_components_and_times(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    entry_points = {GROUP: {"g": "cli_good"}, COMMANDS: {"scrub": "cli_good:tocsin_cleaners"}}
    install("good", entry_points=entry_points, modules={"cli_good": GOOD})
    assert main(["plugins", "--check"]) == 0
    out = capsys.readouterr().out
    assert "ok  g      good 1.0  components  hooks tocsin.v1\n    cleaner: CliScrub\n" in out
    assert "    observes: tocsin_run_ended\n    imported in 0." in out
    assert "ok  scrub  good 1.0  verb " in out
    assert main(["plugins", "--check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["plugins"][0]
    assert found["hooks"] == ["tocsin_cleaners", "tocsin_run_ended"]
    assert found["components"] == {"cleaner": ["CliScrub"]}
    assert found["offer_seconds"] >= 0


def test_check_names_what_fails_and_where(install: Install, tmp_path, monkeypatch, capsys) -> None:
    install(
        "broken",
        entry_points={GROUP: {"b": "cli_broken"}, COMMANDS: {"crack": "cli_broken_verb:main"}},
        modules={
            "cli_broken": "\n\nimport nope_nope",
            "cli_broken_verb": "import sys\nsys.exit('no licence')",
        },
    )
    for value in ("", "strict"):
        monkeypatch.setenv("TOCSIN_PLUGINS", value)
        assert main(["plugins", "--check"]) == 1
        out = capsys.readouterr().out
        assert "broken  b      broken 1.0  components" in out
        assert "ModuleNotFoundError: No module named 'nope_nope'" in out
        assert f"at {tmp_path / 'site' / 'cli_broken.py'}, line 3" in out
        assert "The verb 'crack' of broken 1.0 cannot be loaded: it called sys.exit('no licence')" in out
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    assert main(["plugins", "--check"]) == 0
    assert "switched off by TOCSIN_PLUGINS" in capsys.readouterr().out


def test_a_verb_that_is_switched_off_says_so(install: Install, monkeypatch, capsys) -> None:
    install("boiler", entry_points={COMMANDS: {"boil": "never_imported:main"}, DATASETS: {"eggs": "never:x"}})
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    assert main(["boil"]) == 2
    assert "boiler 1.0 offers one, which TOCSIN_PLUGINS switches off" in capsys.readouterr().err
    assert main(["fetch", "eggs"]) == 2
    assert "boiler 1.0 offers one, which TOCSIN_PLUGINS switches off" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "boil" not in capsys.readouterr().out
    monkeypatch.setenv("TOCSIN_PLUGINS", "boiler")
    assert main(["--help"]) == 0
    assert "boil" in capsys.readouterr().out


def test_no_plugins(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    assert "No plugins are installed" in capsys.readouterr().out
