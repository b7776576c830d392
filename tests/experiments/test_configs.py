"""Every experiment's YAML parses, survives a round trip, and fits one step on a tiny encoder and invented messages."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.builders import WORDS, message_file, tiny_encoder
from tocsin.cli.main import main
from tocsin.cli.parser import Config
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CONFIGS = sorted(EXPERIMENTS.glob("*/*.yaml"))

DISTILLED = [path for path in CONFIGS if "labels" not in yaml.safe_load(path.read_text(encoding="utf-8"))]
LABELLED = [path for path in CONFIGS if path not in DISTILLED]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


every_config = pytest.mark.parametrize("path", CONFIGS, ids=name_of)

# Hundreds of sources: some seconds for each parse. One of the two twins is fitted every time.
LONG = ("distil-ct-xlmr", "distil-ct-mbert")


def slow_if(paths: list[Path], names: tuple[str, ...]) -> list[Any]:
    """Mark the configs of these experiments as slow."""
    return [pytest.param(p, marks=[pytest.mark.slow] if p.parent.name in names else []) for p in paths]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # As many layers as the encoders that the experiments name: some keep layers by number.
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), layers=12)


def invented(config: dict[str, Any], count: int = 80) -> list[dict[str, Any]]:
    """Messages with every column that a configuration reads."""
    generator = random.Random(5)
    settings = config["data"]["init_args"]
    labels = config["labels"]["init_args"]
    grouped = settings.get("splitter", {}).get("init_args", {}).get("by", "duplicates")
    rows = []
    for number in range(count):
        if "values" in labels:
            null = labels.get("null_values", [])
            row: dict[str, Any] = {c: generator.choice([*v, *null]) for c, v in labels["values"].items()}
        else:
            row = {name: int(generator.random() < 0.4) for name in labels["names"]}
            for name, value in zip(labels["names"], labels.get("unknown_values", []), strict=False):
                row[name] = value if number % 10 == 0 else row[name]
        row |= {column: generator.choice(["news", "direct"]) for column in settings.get("slices", [])}
        if grouped not in ("duplicates", "near_duplicates"):
            row[grouped] = f"group {number // 2}"
        if settings.get("id", "id"):
            row[settings.get("id", "id")] = str(number)
        row["split"] = ("train", "train", "train", "validation", "test")[number % 5]
        if settings.get("lang"):
            row[settings["lang"]] = ("eng", "spa")[number % 2]
        row[settings.get("text", "text")] = " ".join(generator.choices(WORDS, k=6)) + f" {number}"
        rows.append(row)
    return rows


def test_there_are_experiments() -> None:
    assert len(LABELLED) >= 4
    assert DISTILLED


@pytest.mark.parametrize("path", slow_if(CONFIGS, LONG), ids=name_of)
def test_parse_dump_parse_is_the_identity(path: Path, registry: Registry, tmp_path: Path) -> None:
    first = Config("fit", ["--config", str(path)], registry)
    (tmp_path / "config.yaml").write_text(first.text(), encoding="utf-8")
    second = Config("fit", ["--config", str(tmp_path / "config.yaml")], registry)
    assert second.text() == first.text()
    known = [{k: v for k, v in call.config.as_dict().items() if k != "config"} for call in (first, second)]
    assert known[0] == known[1]


def one_step(path: Path, folder: Path, overrides: dict[str, str]) -> tuple[int, Path]:
    """Fit one step; return the exit code and the run's folder."""
    options = overrides | {
        "--model.init_args.encoder": "TransformerEncoder",
        "--data.init_args.max_length": "32",
        "--data.init_args.cache": str(folder / "cache"),
        "--trainer.max_steps": "1",
        "--trainer.limit_train_batches": "1",  # so that the epoch ends, and its validation is reached
        "--trainer.accelerator": "cpu",
        "--trainer.devices": "1",
        "--trainer.precision": "32-true",
        "--trainer.enable_progress_bar": "false",
    }
    # A class before its arguments.
    arguments = [word for pair in sorted(options.items()) for word in pair]
    return main(["fit", "--config", str(path), *arguments]), folder / "runs" / path.parent.name / "latest-fit"


@pytest.mark.filterwarnings("ignore:RandomSplit divides by row")
@pytest.mark.parametrize("path", LABELLED, ids=name_of)
def test_one_step_fits(
    path: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    messages = message_file(tmp_path / "messages.parquet", invented(config))
    overrides = {
        "--model.init_args.encoder.init_args.name": str(encoder),
        "--data.init_args.train": str(messages),
    }
    code, run = one_step(path, tmp_path, overrides)
    assert code == 0, capsys.readouterr().err[-3000:]
    for name in ("config.yaml", "provenance.json", "checkpoints/last.ckpt", "scores/validation.parquet"):
        assert (run / name).is_file(), name
    assert (run / "bundle" / "tocsin.json").is_file()


@pytest.mark.parametrize("path", slow_if(DISTILLED, LONG[1:]), ids=name_of)
def test_one_step_distils(
    path: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = random.Random(5)
    rows = [
        {
            "english": " ".join(generator.choices(WORDS, k=5)) + f" {number}",
            "text": " ".join(generator.choices(WORDS, k=5)) + f" {number}",
            "lang": ("fra", "deu")[number % 2],
        }
        for number in range(120)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    reader = {"class_path": "PairTable", "init_args": {"files": str(tmp_path / "pairs.parquet")}}
    overrides = {
        "--model.init_args.encoder.init_args.name": str(encoder),
        "--model.init_args.teacher": "TransformerEncoder",
        "--model.init_args.teacher.init_args.name": str(encoder),
        "--data.init_args.languages": "null",
        "--data.init_args.sources": json.dumps({"invented": reader}),
    }
    code, run = one_step(path, tmp_path, overrides)
    assert code == 0, capsys.readouterr().err[-3000:]
    for name in ("config.yaml", "provenance.json", "checkpoints/last.ckpt", "pairs/validation.parquet"):
        assert (run / name).is_file(), name
    assert (run / "bundle" / "modules.json").is_file()


@every_config
def test_the_readme_names_the_command(path: Path) -> None:
    readme = path.with_name("README.md")
    assert readme.is_file(), f"{path.parent.name} has no README.md: question, command, results, date"
    text = readme.read_text(encoding="utf-8")
    command = f"tocsin fit --config experiments/{path.parent.name}/{path.name}"
    assert command in text or f"make {path.parent.name}" in text
