"""`read_corpus`: the messages of a fit's YAML, for tools that bring their own model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import message_file
from tests.cli.configs import CONFIG, write_config
from tocsin.errors import ConfigError
from tocsin.plugins import read_corpus


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from jsonargparse import _common

    monkeypatch.setattr(_common, "parsing_settings", dict(_common.parsing_settings))
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    monkeypatch.chdir(tmp_path)
    message_file(tmp_path / "data" / "messages.parquet")
    return write_config(tmp_path)


def test_only_labels_and_data_are_read(config: Path) -> None:
    config.write_text(CONFIG.replace("LinearHead", "NobodysHead"))
    corpus = read_corpus(config)
    assert corpus.label_names == ("water", "food", "fire")
    assert corpus.counts() == {"train": 72, "validation": 24, "test": 24}


def test_overrides_count(config: Path) -> None:
    assert read_corpus(config, ["--data.init_args.max_messages.train", "10"]).counts()["train"] == 10


def test_mistakes_are_config_errors(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no option 'txt'. Did you mean 'text'\?"):
        read_corpus(config, ["--data.txt", "x"])
    with pytest.raises(ConfigError, match="There is no configuration file"):
        read_corpus(tmp_path / "nothing.yaml")
    config.write_text("labels: x\nlabels: y\n")
    with pytest.raises(ConfigError, match="'labels' stands twice, first in line 1"):
        read_corpus(config)
