from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a verb does to its whole process: jsonargparse's settings, seeds in the environment."""
    from jsonargparse import _common

    monkeypatch.setattr(_common, "parsing_settings", dict(_common.parsing_settings))
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TOCSIN_RUN_FOLDER"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
