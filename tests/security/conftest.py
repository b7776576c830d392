"""Every test starts with the parser's settings as a new process has them, and leaves them so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.configs import write_config, write_files
from tests.plugins.distributions import Install, installer
from tests.security.canary import Canary
from tocsin.cli.main import main


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what other tests let a `class_path` name, and modules that a test has added."""
    from jsonargparse import _common, _loaders_dumpers

    fresh = {
        "import_path_verdicts": {},
        "import_paths_enforced": False,
        "instantiate_subclass_spec_in_any": None,
    }
    monkeypatch.setattr(_common, "parsing_settings", _common.parsing_settings | fresh)
    monkeypatch.setattr(_loaders_dumpers, "yaml_default_loader", None)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TOCSIN_RUN_FOLDER"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "evil" in name:
            del sys.modules[name]


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Canary:
    return Canary(tmp_path / "foreign", monkeypatch)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a pretended distribution, the only plugin there is."""
    from tocsin.plugins import discovery

    ours = tmp_path / "site"
    everything = discovery.distributions
    monkeypatch.setattr(discovery, "distributions", lambda: everything(path=[str(ours)]))
    monkeypatch.setenv("TOCSIN_PLUGINS", "")
    return installer(ours, monkeypatch)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which one fit has run."""
    folder = tmp_path_factory.mktemp("work")
    write_files(folder)
    write_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TOCSIN_PLUGINS", "off")
        assert main(["fit", "--config", "experiments/tiny/config.yaml"]) == 0
    return folder
