from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.distributions import Install, installer


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a verb does to its whole process: jsonargparse's settings, seeds in the environment."""
    from jsonargparse import _common

    monkeypatch.setattr(_common, "parsing_settings", dict(_common.parsing_settings))
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TOCSIN_RUN_FOLDER"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Install pretended distributions for a module's tests; the working copy's own plugins do not count."""
    from tocsin.plugins import discovery

    ours = tmp_path_factory.mktemp("site") / "site"
    everything = discovery.distributions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "distributions", lambda: everything(path=[str(ours)]))
        yield installer(ours, patch)
