from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders import tiny_tokenizer


class Reading:
    """Stands for a Trainer whose model lends the data its tokenizer."""

    def __init__(self, tokenizer: Any, prompt: str = "") -> None:
        self.tokenizer, self.prompt = tokenizer, prompt
        self.lightning_module = self
        self.global_rank, self.world_size, self.max_epochs = 0, 1, None
        self.is_global_zero = False


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def ready(tokenizer: Any) -> Callable[..., Any]:
    """Give data a tokenizer and set it up, without a model."""

    def prepare(data: Any, prompt: str = "", other: Any = None) -> Any:
        data.trainer = Reading(other or tokenizer, prompt)
        data.prepare_data()
        data.setup("fit")
        return data

    return prepare


@pytest.fixture
def file(tmp_path: Path) -> Path:
    from tests.builders import message_file

    return message_file(tmp_path / "messages.parquet")
