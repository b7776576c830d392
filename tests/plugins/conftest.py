from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.distributions import Install, installer


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a pretended distribution; the working copy's own plugins do not count."""
    from tocsin.plugins import discovery

    ours = tmp_path / "site"
    everything = discovery.distributions
    monkeypatch.setattr(discovery, "distributions", lambda: everything(path=[str(ours)]))
    return installer(ours, monkeypatch)
