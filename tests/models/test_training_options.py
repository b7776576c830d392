"""Layer-wise learning rates, averaged weights, recomputed activations: what each does to one step, and on resuming."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from tests.builders import message_file, quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tocsin.errors import CheckpointError, ConfigError
from tocsin.models.averaging import AveragedWeights, effective_decay
from tocsin.models.optimizers import AdamW, decay_by_layer, layer_factors, parameter_groups
from tocsin.models.schedules import Constant, LinearWithWarmup
from tocsin.training.checkpoints import AtomicCheckpointIO


def data_of(folder: Path, **options: Any) -> Any:
    return tiny_data(folder / "m.parquet", **options)


def fit(folder: Path, model: Any, **options: Any) -> Any:
    settings = {"max_epochs": 2, "limit_val_batches": 0, **options}
    resume = {"ckpt_path": settings.pop("ckpt_path", None), "weights_only": True}
    trainer = quiet_trainer(folder, plugins=[AtomicCheckpointIO()], **settings)
    trainer.fit(model, datamodule=data_of(folder), **resume)
    return trainer


class SaveAfter(Callback):
    """Saves a checkpoint after an optimiser step (from 1)."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


# Layer-wise learning rates -------------------------------------------------------------------------------------------


def test_factors_fall_from_the_top_layer_to_the_embeddings() -> None:
    assert layer_factors(2, 0.5) == [0.125, 0.25, 0.5]
    assert layer_factors(12, 1.0) == [1.0] * 13


def test_groups_keep_their_decay_and_get_one_factor_each() -> None:
    model = nn.ModuleDict({"low": nn.Linear(2, 2), "high": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    groups = parameter_groups(model, 0.1)
    by_depth = [[], list(model["low"].parameters()), list(model["high"].parameters())]
    split, factors = decay_by_layer(groups, by_depth, 0.5)
    found = {
        id(parameter): (factor, group["weight_decay"])
        for group, factor in zip(split, factors, strict=True)
        for parameter in group["params"]
    }
    for name, factor in (("head", 1.0), ("high", 0.5), ("low", 0.25)):
        assert found[id(model[name].weight)] == (factor, 0.1)
        assert found[id(model[name].bias)] == (factor, 0.0)
    assert factors == sorted(factors, reverse=True)
    assert sum(len(group["params"]) for group in split) == 6


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "distilbert"])
def test_every_parameter_of_an_encoder_has_one_depth(tmp_path: Path, kind: str) -> None:
    tiny_encoder(tmp_path / "encoder", kind, layers=3)
    model = tiny_classifier(tmp_path / "encoder")
    model.build()
    by_depth = model.encoder.parameters_by_depth()
    names = {id(parameter): name for name, parameter in model.encoder.named_parameters()}
    assert len(by_depth) == 4
    assert sorted(id(p) for depth in by_depth for p in depth) == sorted(names)
    assert all("embeddings" in names[id(p)] for p in by_depth[0])
    for depth in (1, 2, 3):
        assert by_depth[depth]
        assert all(f"layer.{depth - 1}." in names[id(p)] for p in by_depth[depth])


@pytest.mark.parametrize("rows_in_use", [True, False])
def test_a_fit_gives_each_layer_its_rate_in_every_step(tmp_path: Path, rows_in_use: bool) -> None:
    rates: list[dict[str, float]] = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            names = {id(p): name for name, p in pl_module.named_parameters()}
            rates.append(
                {
                    names[id(p)]: group["lr"]
                    for group in trainer.optimizers[0].param_groups
                    for p in group["params"]
                }
            )

    model = tiny_classifier(
        tmp_path / "encoder",
        optimizer=AdamW(lr=1e-2),
        schedule=LinearWithWarmup(0.0),
        layer_decay=0.5,
        rows_in_use=rows_in_use,
    )
    trainer = fit(tmp_path, model, callbacks=[Rates()], max_epochs=1)
    for step, found in enumerate(rates):
        base = 1e-2 * model.schedule.factor(step, trainer.global_step)
        for name, rate in found.items():
            factor = (
                1.0
                if name.startswith("head")
                else 0.125
                if "embeddings" in name
                else 0.25
                if "layer.0." in name
                else 0.5
            )
            assert rate == pytest.approx(factor * base), (step, name)
    assert len(rates) == 9
    assert len(rates[0]) == sum(p.requires_grad for p in model.parameters())


def test_a_decay_of_one_changes_no_bit(tmp_path: Path) -> None:
    states = []
    for decay in (None, 1.0):
        model = tiny_classifier(tmp_path / "encoder", dropout=0.0, layer_decay=decay)
        torch.manual_seed(0)
        model.build()
        fit(tmp_path, model)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_fit_with_layer_rates_resumes_bit_equal(tmp_path: Path) -> None:
    assert_resumes_bit_equal(tmp_path, layer_decay=0.7)


def test_an_encoder_without_layers_says_so(tmp_path: Path) -> None:
    from tocsin.models.encoders import Encoder

    model = tiny_classifier(tmp_path / "encoder")
    with pytest.raises(ConfigError, match=r"does not tell its layers apart.*layer_decay to null"):
        Encoder.parameters_by_depth(model.encoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"layer_decay": 2.6}, r"layer_decay is 2.6.*0.385"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_classifier(tmp_path / "encoder", **options)


# Averaged weights ----------------------------------------------------------------------------------------------------


def test_the_average_equals_the_sum_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = AveragedWeights([("w", weight)], 0.5)
    wanted = 1.0
    for number, value in enumerate((3.0, 5.0, -2.0, 8.0, 8.0, 1.0)):
        with torch.no_grad():
            weight.fill_(value)
        average.update()
        share = min(0.5, (1 + number) / (10 + number))
        wanted = share * wanted + (1 - share) * value
        torch.testing.assert_close(average.weights()["w"], torch.tensor([wanted]))
    assert effective_decay(0.5, 0) == 0.1
    assert effective_decay(0.5, 1000) == 0.5


def test_the_average_steps_in_and_out_without_a_trace() -> None:
    weight = nn.Parameter(torch.randn(4).bfloat16())
    average = AveragedWeights([("w", weight)], 0.9)
    with torch.no_grad():
        weight.add_(1)
    trained = weight.detach().clone()
    average.update()
    for _ in range(2):
        average.put_in_place()
    assert torch.equal(weight, average.weights()["w"])
    assert not torch.equal(weight, trained)
    assert torch.equal(average.state()["trained"]["w"], trained)
    for _ in range(2):
        average.take_back()
    assert torch.equal(weight, trained)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_average_goes_on_bit_equal(dtype: torch.dtype) -> None:
    values = torch.randn(9, 5).to(dtype)

    def run(weight: nn.Parameter, average: AveragedWeights, steps: range) -> None:
        for step in steps:
            with torch.no_grad():
                weight.copy_(values[step])
            average.update()

    weight = nn.Parameter(torch.zeros(5, dtype=dtype))
    whole = AveragedWeights([("w", weight)], 0.9)
    run(weight, whole, range(4))
    state, shipped = copy.deepcopy(whole.state()), whole.weights()["w"].clone()
    trained = weight.detach().clone()
    run(weight, whole, range(4, 9))
    other = nn.Parameter(shipped.clone())  # a checkpoint's state holds the average
    again = AveragedWeights([("w", other)], 0.9)
    again.restore(state)
    assert torch.equal(other, trained)
    run(other, again, range(4, 9))
    assert torch.equal(again._average["w"], whole._average["w"])


def test_the_averaged_weights_are_validated_saved_and_left_in_the_module(tmp_path: Path) -> None:
    followed: dict[str, Any] = {}

    class Follow(Callback):
        """Averages by hand the weights after each step, and compares whenever the module is validated."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            followed["average"] = {n: p.detach().clone() for n, p in pl_module.named_parameters()}
            followed["steps"] = 0

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            share = effective_decay(0.9, followed["steps"])
            followed["steps"] += 1
            for name, parameter in pl_module.named_parameters():
                old = followed["average"][name]
                followed["average"][name] = share * old + (1 - share) * parameter.detach()
            followed["trained"] = {n: p.detach().clone() for n, p in pl_module.named_parameters()}

        def on_validation_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.sanity_checking:
                return
            for name, parameter in pl_module.named_parameters():
                torch.testing.assert_close(parameter, followed["average"][name], atol=1e-6, rtol=1e-5)
            followed["validated"] = followed.get("validated", 0) + 1

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            for name, parameter in pl_module.named_parameters():
                assert torch.equal(parameter, followed["trained"][name])

    model = tiny_classifier(tmp_path / "encoder", ema_decay=0.9, schedule=Constant())
    trainer = fit(tmp_path, model, callbacks=[Follow()], limit_val_batches=1.0)
    assert followed["validated"] > 1
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")
    moved = 0.0
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, followed["average"][name], atol=1e-6, rtol=1e-5)
        assert torch.equal(saved["state_dict"][name], parameter)
        assert torch.equal(saved["tocsin"]["average"]["trained"][name], followed["trained"][name])
        moved = max(moved, float((parameter.detach() - followed["trained"][name]).abs().max()))
    assert moved > 1e-3
    # the scores of the last validation are those of the weights that are left
    shown = model.scores["validation"].logits_NL
    quiet_trainer(tmp_path).validate(model, datamodule=data_of(tmp_path), verbose=False)
    np.testing.assert_array_equal(model.scores["validation"].logits_NL, shown)
    again = tiny_classifier(tmp_path / "encoder")
    quiet_trainer(tmp_path).validate(
        again,
        datamodule=data_of(tmp_path),
        ckpt_path=tmp_path / "a.ckpt",
        weights_only=True,
        verbose=False,
    )
    np.testing.assert_array_equal(again.scores["validation"].logits_NL, shown)


def assert_resumes_bit_equal(folder: Path, encoder: dict[str, Any] | None = None, **options: Any) -> None:
    """Save after step 12 of 18 (in the second epoch, after a validation); go on in a new model."""

    def model() -> Any:
        made = tiny_classifier(folder / "encoder", dropout=0.0, encoder=encoder, **options)
        torch.manual_seed(0)
        made.build()
        return made

    whole, resumed = model(), model()
    path = folder / "mid.ckpt"
    first = fit(folder, whole, callbacks=[SaveAfter(12, path)], limit_val_batches=1.0)
    second = fit(folder, resumed, ckpt_path=path, limit_val_batches=1.0)
    first.save_checkpoint(folder / "first.ckpt")
    second.save_checkpoint(folder / "second.ckpt")
    assert first.global_step == second.global_step == 18
    mine, other = (AtomicCheckpointIO().load_checkpoint(folder / f"{n}.ckpt") for n in ("first", "second"))
    assert_equal(mine["state_dict"], other["state_dict"])
    assert_equal(mine["optimizer_states"], other["optimizer_states"])
    assert_equal(mine["lr_schedulers"], other["lr_schedulers"])
    assert_equal(mine["tocsin"], other["tocsin"])
    half = AtomicCheckpointIO().load_checkpoint(path)["state_dict"]
    assert any(not torch.equal(half[name], value) for name, value in mine["state_dict"].items())


def assert_equal(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@pytest.mark.parametrize("rows_in_use", [True, False])
def test_an_averaging_fit_resumes_bit_equal(tmp_path: Path, rows_in_use: bool) -> None:
    assert_resumes_bit_equal(tmp_path, ema_decay=0.95, rows_in_use=rows_in_use)


def test_the_average_of_another_fit_is_not_dropped_silently(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder", ema_decay=0.9)
    fit(tmp_path, model, callbacks=[SaveAfter(3, tmp_path / "a.ckpt")])
    with pytest.raises(CheckpointError, match=r"averaged its weights.*ema_decay as it was"):
        fit(tmp_path, tiny_classifier(tmp_path / "encoder"), ckpt_path=tmp_path / "a.ckpt")


def test_a_fit_without_an_average_can_go_on_with_one(tmp_path: Path) -> None:
    fit(tmp_path, tiny_classifier(tmp_path / "encoder"), callbacks=[SaveAfter(3, tmp_path / "a.ckpt")])
    model = tiny_classifier(tmp_path / "encoder", ema_decay=0.9)
    trainer = fit(tmp_path, model, ckpt_path=tmp_path / "a.ckpt")
    assert trainer.global_step == 18
    assert model._average.updates == 15


def test_a_second_fit_of_one_module_begins_from_the_averaged_weights(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder", ema_decay=0.9)
    fit(tmp_path, model, max_epochs=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    class First(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 0:
                assert all(torch.equal(p, before[name]) for name, p in pl_module.named_parameters())

    trainer = fit(tmp_path, model, max_epochs=1, callbacks=[First()])
    assert trainer.global_step == 9
    assert model._average.updates == 9


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_averaging_and_layer_rates_under_reduced_precision(tmp_path: Path, precision: str) -> None:
    model = tiny_classifier(tmp_path / "encoder", ema_decay=0.9, layer_decay=0.8)
    trainer = fit(tmp_path, model, precision=precision, limit_val_batches=1.0)
    assert trainer.global_step == 18
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert np.isfinite(model.scores["validation"].logits_NL).all()


def test_a_bundle_holds_the_averaged_weights_of_the_best_checkpoint(tmp_path: Path) -> None:
    from tocsin import load
    from tocsin.bundles.callback import BundleWriter
    from tocsin.training.checkpoints import BestCheckpoint

    message_file(tmp_path / "m.parquet")
    model = tiny_classifier(tmp_path / "encoder", ema_decay=0.9)
    fit(
        tmp_path,
        model,
        limit_val_batches=1.0,
        enable_checkpointing=True,
        callbacks=[BestCheckpoint(dirpath=str(tmp_path / "c")), BundleWriter(str(tmp_path / "bundle"))],
    )
    best = AtomicCheckpointIO().load_checkpoint(tmp_path / "c" / "best.ckpt")["state_dict"]
    for name, value in load(tmp_path / "bundle").predictor.head.state_dict().items():
        assert torch.equal(value, best[f"head.{name}"])


# Recomputed activations ----------------------------------------------------------------------------------------------


def gradients(model: Any, *, seed: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients of one pass with dropout, from one seed."""
    generator = torch.Generator().manual_seed(1)
    ids_BT = torch.randint(4, 50, (3, 12), generator=generator)
    targets_BL = torch.randint(0, 2, (3, 3), generator=generator).float()
    model.train()
    torch.manual_seed(seed)
    loss = model.loss(model(ids_BT, torch.ones_like(ids_BT)), targets_BL, torch.ones(3, 3))[0]
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "distilbert"])
@pytest.mark.parametrize("freeze", ["none", "embeddings"])
def test_recomputing_activations_changes_neither_loss_nor_gradients(
    tmp_path: Path, kind: str, freeze: str
) -> None:
    tiny_encoder(tmp_path / "encoder", kind)
    found, calls = [], []
    for on in (False, True):
        options = {"gradient_checkpointing": on, "freeze": freeze}
        model = tiny_classifier(tmp_path / "encoder", dropout=0.1, encoder=options)
        torch.manual_seed(0)
        model.build()
        layer = model.encoder.parameters_by_depth()[-1][0]
        module = next(
            m for m in model.encoder.modules() if any(p is layer for p in m.parameters(recurse=False))
        )
        count = [0]
        module.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        found.append(gradients(model))
        calls.append(count[0])
    assert calls == [1, 2]  # the layer did run again
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1].keys() == found[1][1].keys()
    for name, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], value, atol=1e-7, rtol=1e-6)


def test_a_fit_that_recomputes_equals_one_that_does_not(tmp_path: Path) -> None:
    states = []
    for on in (False, True):
        model = tiny_classifier(tmp_path / "encoder", encoder={"gradient_checkpointing": on})
        torch.manual_seed(0)
        model.build()
        torch.manual_seed(1)
        fit(tmp_path, model)
        states.append(model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-6, rtol=1e-5)


def test_an_encoder_that_cannot_recompute_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertModel

    monkeypatch.setattr(BertModel, "supports_gradient_checkpointing", False)
    model = tiny_classifier(tmp_path / "encoder", encoder={"gradient_checkpointing": True})
    with pytest.raises(ConfigError, match="offers no gradient checkpointing"):
        model.build()
