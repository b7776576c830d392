"""`read_corpus`: the messages of a fit's YAML, for tools that bring their own model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("line", ["seed_everything: 7", "seed_everything: 42", ""])
def test_the_messages_drawn_are_those_of_the_fit(config: Path, tmp_path: Path, line: str) -> None:
    """A baseline stands on the same rows only if `max_messages` draws by the seed of the fit."""
    from tests.builders import tiny_encoder
    from tocsin.cli.main import main
    from tocsin.scores.table import ScoresTable

    tiny_encoder(tmp_path / "encoder")
    plain = yaml.safe_load(config.read_text())
    plain.pop("seed_everything", None)
    plain["data"]["init_args"]["max_messages"] = {"test": 9, "train": 20}
    plain["model"]["init_args"]["encoder"] = {
        "class_path": "TransformerEncoder",
        "init_args": {"name": str(tmp_path / "encoder")},
    }
    plain["trainer"] = {"max_steps": 1, "accelerator": "cpu"}
    config.write_text(yaml.safe_dump(plain) + line + "\n")
    assert main(["fit", "--config", str(config), "--name", "a"]) == 0
    assert main(["test", "--config", "runs/a/latest-fit/config.yaml"]) == 0
    tested = ScoresTable.read("runs/a/latest-test/scores/test.parquet")
    for source in (config, Path("runs/a/latest-fit/config.yaml")):
        corpus = read_corpus(source)
        assert corpus.table["id"].take(corpus.rows("test")).to_pylist() == list(tested.ids)
