"""`tocsin fit` of a Distiller from a YAML file without labels, to a bundle that a second YAML file classifies with."""

from __future__ import annotations

import csv
import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tocsin
from tests.builders import WORDS, message_file, tiny_encoder
from tests.cli.configs import CONFIG, write_config
from tocsin.cli.fit import _next_after_distilling
from tocsin.cli.main import main

DISTIL = """\
seed_everything: 7
data:
  class_path: ParallelSentences
  init_args:
    sources:
      toy: {class_path: PairTable, init_args: {files: pairs.parquet}}
    held_out: 10
    max_length: 16
    batch_size: 24
    tokens_per_pass: 100
    cache: cache
model:
  class_path: Distiller
  init_args:
    encoder: {class_path: TransformerEncoder, init_args: {name: student, prompt: "query: "}}
    teacher: {class_path: TransformerEncoder, init_args: {name: teacher}}
    losses:
      - MeanSquaredError
      - {class_path: Contrastive, init_args: {temperature: 0.1}}
    loss_weights: [1.0, 0.5]
    optimizer: {class_path: AdamW, init_args: {lr: 5.0e-3, weight_decay: 0.1}}
    schedule: {class_path: CosineWithWarmup, init_args: {warmup: 0.0}}
trainer: {max_epochs: 3, precision: 32-true, accelerator: cpu, devices: 1, log_every_n_steps: 1}
"""


def pair_file(path: Path, count: int = 100) -> None:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        words = [*generator.choice(WORDS, 4).tolist(), str(number)]
        lang = ("spa", "hat")[number % 2]
        rows.append({"lang": lang, "english": " ".join(words), "text": " ".join(words[::-1])})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which one distillation has run."""
    folder = tmp_path_factory.mktemp("distil")
    pair_file(folder / "data" / "pairs.parquet")
    tiny_encoder(folder / "student", layers=1)
    tiny_encoder(folder / "teacher", layers=1, seed=9)
    write_config(folder, DISTIL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TOCSIN_PLUGINS", "off")
        assert main(["fit", "--config", "experiments/tiny/config.yaml"]) == 0
    return folder


@pytest.fixture
def work(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(experiment)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    return experiment


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_distillation_leaves_a_complete_run_folder(work: Path) -> None:
    run = work / "runs" / "tiny" / "latest-fit"
    for name in (
        "config.yaml",
        "provenance.json",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    ):
        assert (run / name).is_file(), name
    assert list(run.glob("events.out.tfevents*"))
    bundle = tocsin.load(run / "bundle")
    assert bundle.encode(["help flood"]).shape == (1, 16)
    card = (run / "bundle" / "README.md").read_text()
    assert "matching before" in card
    assert "pairs.parquet" in card
    seen = {name for row in metrics(run) for name, value in row.items() if value}
    assert {
        "train/loss",
        "train/loss/MeanSquaredError",
        "train/loss/Contrastive",
        "validation/matching",
        "validation/matching/spa",
        "validation/mse/hat",
    } <= seen
    assert next(int(float(row["step"])) for row in metrics(run) if row.get("validation/matching")) == 0


def test_the_held_out_pairs_are_a_table_to_match(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The student before, its teacher and the student after, by the line that the fit prints; as its metrics say."""
    folder = "runs/tiny/latest-fit"
    found = pq.read_table(work / folder / "pairs" / "validation.parquet")
    assert found.column_names == ["english", "text", "lang", "source"]
    pairs = {(row["english"], row["text"], row["lang"]) for row in found.to_pylist()}
    every = pq.read_table(work / "data" / "pairs.parquet").to_pylist()
    assert pairs <= {(row["english"], row["text"], row["lang"]) for row in every}
    assert Counter(lang for *_, lang in pairs) == {"spa": 5, "hat": 5}  # a tenth of each
    assert set(found["source"].to_pylist()) == {"toy"}
    line = _next_after_distilling(folder, f"{folder}/bundle", True)[1]
    verb, *arguments = shlex.split(line)
    assert verb == "tocsin"
    assert main([*arguments, "--json", "--draws", "5"]) == 0
    before, teacher, after = json.loads(capsys.readouterr().out)["models"]
    assert [before["name"], teacher["name"], after["name"]] == ["before", "teacher", "after"]
    rows = [row for row in metrics(work / folder) if row.get("validation/matching")]
    best = max(rows[1:], key=lambda row: float(row["validation/matching"]))
    for model, row in ((before, rows[0]), (after, best)):
        for lang, measured in model["languages"].items():
            assert measured["mean"]["point"] == pytest.approx(float(row[f"validation/matching/{lang}"]))
    assert teacher["languages"].keys() == {"spa", "hat"}


def test_its_config_parses_and_dumps_to_itself(work: Path) -> None:
    from tocsin.cli.parser import Config
    from tocsin.plugins.manager import load_plugins

    path = work / "runs" / "tiny" / "latest-fit" / "config.yaml"
    again = Config("fit", ["--config", str(path)], load_plugins()).text()
    assert again == path.read_text()
    assert "loss_weights:" in again
    assert "labels: null" in again


def test_validate_scores_the_best_checkpoint(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = work / "runs" / "tiny" / "latest-fit"
    assert main(["validate", "--config", "runs/tiny/latest-fit/config.yaml"]) == 0
    said = capsys.readouterr().out
    assert "held-out pairs" in said
    trained = [row for row in metrics(run) if row.get("validation/matching") and int(row["step"]) > 0]
    best = max(float(row["validation/matching"]) for row in trained)
    (found,) = [
        float(row["validation/matching"])
        for row in metrics(work / "runs" / "tiny" / "latest-validate")
        if row.get("validation/matching")
    ]
    assert found == pytest.approx(best)


def test_then_a_classifier_starts_from_the_bundle(work: Path) -> None:
    message_file(work / "data" / "messages.parquet")
    bundle = (work / "runs" / "tiny" / "latest-fit").resolve() / "bundle"
    encoder = f"{{class_path: SentenceEncoder, init_args: {{name: {bundle}}}}}"
    text = CONFIG.replace("{class_path: TransformerEncoder, init_args: {name: encoder}}", encoder)
    path = work / "classify.yaml"
    path.write_text(text)
    assert main(["fit", "--config", str(path), "--name", "classify"]) == 0
    made = tocsin.load(work / "runs" / "classify" / "latest-fit" / "bundle")
    assert made.manifest.prompt == "query: "
    assert made.predict(["help"]).probabilities.shape == (1, 3)


@pytest.mark.slow
def test_a_fit_that_was_stopped_goes_on_bit_for_bit(work: Path, tmp_path: Path) -> None:
    """From the last checkpoint of a fit of fewer epochs, with dropout off as in the classifier's own test."""
    import torch

    def weights(name: str) -> Any:
        return torch.load(
            work / "runs" / name / "latest-fit" / "checkpoints" / "last.ckpt", weights_only=True
        )

    silent = ["--config", "experiments/tiny/config.yaml", "--model.encoder.name", str(tmp_path / "quiet")]
    tiny_encoder(tmp_path / "quiet", layers=1)
    config = tmp_path / "quiet" / "config.json"
    text = config.read_text()
    assert '"hidden_dropout_prob": 0.1' in text
    config.write_text(text.replace('_prob": 0.1', '_prob": 0.0'))
    constant = ["--model.schedule", "Constant"]
    assert main(["fit", *silent, *constant, "--name", "whole"]) == 0
    assert main(["fit", *silent, *constant, "--name", "part", "--trainer.max_epochs", "2"]) == 0
    last = str((work / "runs" / "part" / "latest-fit").resolve() / "checkpoints" / "last.ckpt")
    assert main(["fit", *silent, *constant, "--name", "part", "--ckpt_path", last]) == 0
    one, other = weights("whole"), weights("part")
    assert one["global_step"] == other["global_step"]
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    assert one["tocsin"]["history"] == other["tocsin"]["history"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[1.0, 0.5]", "[1.0]"), "1 numbers for 2 losses"),
        (("- MeanSquaredError", "- MeanSquareError"), "MeanSquareError"),
        (("temperature: 0.1", "temperature: -1"), "temperature is -1"),
        (("[1.0, 0.5]", "[1.0, high]"), "loss_weights"),
    ],
)
def test_a_wrong_setting_is_named(
    work: Path, change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = work / "wrong.yaml"
    path.write_text(DISTIL.replace(*change))
    assert main(["fit", "--config", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_predict_says_that_an_encoder_has_no_labels(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--bundle", "runs/tiny/latest-fit/bundle", "--text", "help"]) == 2
    assert "bundle of an encoder" in capsys.readouterr().err
