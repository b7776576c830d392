"""Ten kinds of broken plugin: each is named by `tocsin plugins --check`, and a core config trains beside all ten."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG, write_config, write_files
from tests.plugins.distributions import Install
from tocsin.cli.main import main
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.registry import PluginWarning

HEAD = "from tocsin.plugins import hookimpl\n"
COMPONENT = """
from tocsin.plugins import Cleaner, hookimpl

class {name}(Cleaner):
    '''Leaves a text as it is.'''
    def clean(self, text: str) -> str:
        return text

@hookimpl
def tocsin_cleaners():
    return [{name}]
"""

TEN = {
    "import-error": ("import a_library_that_is_absent", "No module named 'a_library_that_is_absent'"),
    "syntax-error": ("def tocsin_heads(:\n", "SyntaxError"),
    "wrong-argument": (HEAD + "@hookimpl\ndef tocsin_heads(colour): return []", "colour"),
    "unknown-hook": (HEAD + "@hookimpl\ndef tocsin_haeds(): return []", "Did you mean 'tocsin_heads'?"),
    "raising-hook": (
        HEAD + "@hookimpl\ndef tocsin_heads(): raise OSError('disk gone')",
        "OSError: disk gone",
    ),
    "wrong-type": (HEAD + "@hookimpl\ndef tocsin_heads(): return {'a': 1}", "a list of classes is wanted"),
    "name-clash": (COMPONENT.format(name="TweetCleaner"), "TweetCleaner, a name already offered by tocsin"),
    "hook-api-2": ("raise RuntimeError('imported')", "it is made for other hooks; this Tocsin has tocsin.v1"),
    "sleeper": ("import time\ntime.sleep(1)\n" + COMPONENT.format(name="AwakeAtLast"), "slow"),
    "exits": ("import sys\nsys.exit(7)", "it called sys.exit(7)"),
}


@pytest.fixture
def ten(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    from jsonargparse import _common

    monkeypatch.setattr(_common, "parsing_settings", dict(_common.parsing_settings))
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TOCSIN_RUN_FOLDER"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    for kind, (source, _) in TEN.items():
        module = f"ten_{kind.replace('-', '_')}"
        sys.modules.pop(module, None)  # so that it is imported, and sleeps, anew
        group = "tocsin.v2" if kind == "hook-api-2" else GROUP
        install(kind, entry_points={group: {kind: module}}, modules={module: source})


def test_check_names_each_with_its_cause(ten: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--check", "--json"]) == 1
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["plugins"]}
    assert set(found) == set(TEN)
    for kind, (_, cause) in TEN.items():
        if kind == "sleeper":
            assert found[kind]["state"] == "slow"
            assert found[kind]["import_seconds"] > 1
            assert found[kind]["components"] == {"cleaner": ["AwakeAtLast"]}
        else:
            assert found[kind]["state"] == "broken"
            assert cause in found[kind]["cause"]
            assert (found[kind]["distribution"], found[kind]["version"]) == (kind, "1.0")


def test_the_list_and_help_import_none_of_them(ten: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    capsys.readouterr()
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert all(f"{kind} 1.0" in out for kind in TEN)
    assert not [name for name in sys.modules if name.startswith("ten_")]


def test_a_core_config_trains_beside_all_ten(ten: None, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    path = write_config(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("always", PluginWarning)
        assert main(["fit", "--config", str(path)]) == 0, capsys.readouterr().err
    assert re.search(r"warning: The plugin sleeper \(sleeper 1.0\) took 1\.\d s", capsys.readouterr().err)
    run = tmp_path / "runs" / "tiny" / "latest-fit"
    assert (run / "bundle" / "tocsin.json").is_file()
    assert json.loads((run / "provenance.json").read_text())["plugins"] == {"sleeper": "1.0"}
    assert main(["test", "--config", str(run / "config.yaml")]) == 0


def test_a_mistake_in_the_config_names_what_is_off(ten: None, tmp_path: Path, capsys) -> None:
    path = write_config(tmp_path, CONFIG.replace("head: LinearHead", "head: StrangerHead"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        assert main(["fit", "--config", str(path)]) == 2
    told = capsys.readouterr().err
    assert "model.init_args.head: No head is called 'StrangerHead'." in told
    assert all(f"\n  {kind} ({kind} 1.0): " in told for kind in TEN if kind != "sleeper")
