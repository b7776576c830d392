from __future__ import annotations

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.plugins import MixedPrecision, TorchCheckpointIO
from lightning.pytorch.strategies import FSDPStrategy, SingleDeviceStrategy

from tests.training.tiny import TinyClassifier, TinyData
from tocsin.errors import ConfigError
from tocsin.training import trainer as module
from tocsin.training.checkpoints import AtomicCheckpointIO


def test_precision_auto_is_resolved(trainer, monkeypatch) -> None:
    monkeypatch.setattr(module, "resolve_precision", lambda accelerator, devices: "32-true")
    assert trainer().precision == "32-true"
    assert trainer(precision="64-true").precision == "64-true"
    assert trainer(precision=None).precision == "32-true"


def test_precision_plugin_is_not_overruled(trainer) -> None:
    built = trainer(plugins=MixedPrecision("bf16-mixed", "cpu"))
    assert built.precision == "bf16-mixed"


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("gradient_clip_val", 1.0, "`gradient_clip` of the model"),
        ("gradient_clip_val", 0.0, "`gradient_clip` of the model"),
        ("gradient_clip_algorithm", "norm", "`gradient_clip` of the model"),
        ("accumulate_grad_batches", 4, "`batch_size` of the data"),
        ("use_distributed_sampler", True, "data's own sampler"),
    ],
)
def test_what_manual_optimisation_forbids_is_refused(trainer, setting, value, advice) -> None:
    with pytest.raises(ConfigError, match=f"trainer.{setting} is {value!r}.*{advice}"):
        trainer(**{setting: value})


def test_checkpoints_are_ours_unless_somebody_elses(trainer) -> None:
    assert isinstance(trainer().strategy.checkpoint_io, AtomicCheckpointIO)
    assert isinstance(trainer(plugins=[TorchCheckpointIO()]).strategy.checkpoint_io, TorchCheckpointIO)
    own = SingleDeviceStrategy(device="cpu", checkpoint_io=TorchCheckpointIO())
    assert isinstance(trainer(strategy=own, devices="auto").strategy.checkpoint_io, TorchCheckpointIO)


def test_sharding_strategies_write_their_own_checkpoints() -> None:
    for strategy in ("fsdp", "deepspeed_stage_2", FSDPStrategy()):
        assert not module._wants_our_checkpoints(strategy, [])
    for strategy in ("auto", "ddp"):
        assert module._wants_our_checkpoints(strategy, [])


def test_sampler_and_sanity_check_are_off(trainer) -> None:
    built = trainer()
    assert built.num_sanity_val_steps == 0
    assert not built._accelerator_connector.use_distributed_sampler
    assert trainer(num_sanity_val_steps=2).num_sanity_val_steps == 2


def test_parser_sees_lightnings_arguments_and_our_defaults() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(module.Trainer, "trainer")
    config = parser.parse_args(["--trainer.max_epochs=3"])
    assert config.trainer.max_epochs == 3
    assert config.trainer.precision == "auto"
    assert config.trainer.num_sanity_val_steps == 0
    assert config.trainer.log_every_n_steps is None
    assert parser.parse_args(["--trainer.precision=bf16-mixed"]).trainer.precision == "bf16-mixed"
    dumped = parser.dump(config)
    assert parser.parse_string(dumped) == config
    assert "Must stay 1: set `batch_size`" in parser.format_help()
    for name in ("callbacks", "logger", "val_check_interval", "deterministic", "profiler", "max_time"):
        assert name in config.trainer
    built = parser.instantiate(
        parser.parse_args(["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.max_steps=1"])
    )
    assert built.trainer.max_steps == 1


def test_early_stopping_works_with_our_metric(trainer) -> None:
    stop = EarlyStopping(monitor="validation/macro_roc_auc", mode="max", patience=1)
    built = trainer(max_epochs=6, callbacks=[stop], enable_checkpointing=False)
    built.fit(TinyClassifier(metrics=[0.6, 0.7, 0.65, 0.8, 0.9, 0.9]), datamodule=TinyData())
    assert built.current_epoch == 3
    assert stop.best_score.item() == pytest.approx(0.7)
