"""Fits of a few milliseconds on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Lightning's advice about speed pass: these fits are tiny on purpose."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            # https://lightning.ai/docs/pytorch/stable/advanced/warnings.html
            for advice in ("does not have many workers", "is smaller than the logging interval"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:.*{advice}"))
            # lightning 2.6 builds the LeafSpec that torch deprecates:
            # https://github.com/Lightning-AI/pytorch-lightning/issues/21326
            item.add_marker(pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"))


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Any]:
    """Build a quiet Trainer on the CPU for two epochs."""
    from tocsin.training import Trainer

    def build(**settings: Any) -> Any:
        quiet = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(tmp_path),
        }
        return Trainer(**{**quiet, **settings})

    return build
