"""Settings that cannot be honoured: refused in a sentence that says what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from tests.builders import quiet_trainer, tiny_classifier, tiny_data
from tests.cli.configs import CONFIG, write_config
from tests.faults.conftest import Call


def test_an_unknown_component(call: Call, tmp_path: Path) -> None:
    message = call("--model.head", "LinerHead").message
    assert "No head is called 'LinerHead'" in message
    assert "Did you mean 'LinearHead'?" in message
    assert "Known heads:" in message
    path = write_config(tmp_path, CONFIG.replace("TweetCleaner", "TweetsCleaner"))
    assert "Did you mean 'TweetCleaner'?" in call(config=str(path)).message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("flag", "value", "instead"),
    [
        ("gradient_clip_val", "1.0", "model.init_args.gradient_clip"),
        ("gradient_clip_algorithm", "norm", "model.init_args.gradient_clip"),
        ("accumulate_grad_batches", "4", "data.init_args.batch_size"),
    ],
)
def test_a_flag_that_manual_optimisation_forbids(
    call: Call, tmp_path: Path, flag: str, value: str, instead: str
) -> None:
    message = call(f"--trainer.{flag}", value).message
    assert f"trainer.{flag}" in message
    assert "manual optimisation forbids" in message
    assert instead in message
    assert not (tmp_path / "runs").exists()


def test_lightnings_own_trainer_refuses_them_too(tmp_path: Path) -> None:
    data, model = tiny_data(tmp_path / "m.parquet"), tiny_classifier(tmp_path / "encoder")
    trainer = quiet_trainer(tmp_path, gradient_clip_val=1.0)
    with pytest.raises(MisconfigurationException, match="manual optimization"):
        trainer.fit(model, datamodule=data)


def test_a_length_beyond_the_encoders_positions(call: Call) -> None:
    message = call("--data.max_length", "200").message
    assert "max_length is 200 tokens, but the encoder has positions for 72" in message


def test_an_encoder_that_is_not_there(call: Call) -> None:
    message = call("--model.encoder.name", "nowhere/at-all").message
    assert "nothing could be read from 'nowhere/at-all'" in message
    assert "Wanted a folder with config.json" in message


def test_an_unwritable_run_folder(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inway").write_text("a file")
    message = call("--runs", str(tmp_path / "inway")).message
    assert "cannot be written" in message
    assert "choose another folder for runs" in message

    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = call("--runs", str(tmp_path / "shut")).message
    assert "Permission denied" in message
    assert str(tmp_path / "shut") in message


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("batch_size: 24", "batch_size: 0", "batch_size is 0; wanted at least 1"),
        ("batch_size: 24", "batch_size: many", "data.init_args.batch_size is 'many'"),
        ("splitter: GivenSplit", "splitter: GivenSplit\n    test: t.csv", "Leave out one or the other"),
        ("pooling: MeanPooling", "pooling: null", "LinearHead reads a pooled vector"),
        ("head: LinearHead", "head: NativeHead", "NativeHead reads token states itself"),
        ("warmup: 0.0", "warmup: 2.0", "warmup is 2.0"),
    ],
)
def test_a_value_that_no_component_takes(call: Call, tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in CONFIG
    assert wanted in call(config=str(write_config(tmp_path, CONFIG.replace(old, new)))).message
