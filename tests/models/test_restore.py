"""non_finite: restore goes back to the last good state and halves the learning rate; bad weights are never saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tocsin.errors import ConfigError, TrainingError
from tocsin.models.losses import BinaryCrossEntropy
from tocsin.models.optimizers import AdamW
from tocsin.models.schedules import Constant


class Spoilt(BinaryCrossEntropy):
    """NaN in the training passes of these numbers."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__()
        self.bad, self.passes = bad, 0

    def forward(self, logits_BL: Any, *given: Any) -> Any:
        total, weight = super().forward(logits_BL, *given)
        if torch.is_grad_enabled():
            self.passes += 1
            if self.passes - 1 in self.bad:
                return total * float("nan"), weight
        return total, weight


def fit(folder: Path, bad: set[int], **options: Any) -> tuple[Any, Any]:
    tiny_encoder(folder / "encoder")
    settings: dict[str, Any] = {
        "non_finite": "restore",
        "schedule": Constant(),
        "restore_steps": 2,
        **options,
    }
    torch.manual_seed(3)
    model = tiny_classifier(folder / "encoder", loss=Spoilt(bad), dropout=0.0, **settings)
    trainer = quiet_trainer(folder, max_epochs=1, limit_val_batches=0)
    # 9 steps of one pass each
    trainer.fit(model, datamodule=tiny_data(folder / "m.parquet", tokens_per_pass=100_000))
    return model, trainer


def test_weights_optimiser_and_average_go_back_and_the_rate_is_halved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tocsin.models.non_finite import LastGood

    states = []
    put_back = LastGood.put_back

    def seen(self: LastGood) -> None:
        put_back(self)
        optimizer = self._optimizer.state
        states.append(
            (
                self.step,
                all(torch.equal(p, kept) for p, kept in zip(self._parameters, self._weights, strict=True)),
                {float(state["step"]) for state in optimizer.values()},
                self._average.updates,
            )
        )

    monkeypatch.setattr(LastGood, "put_back", seen)
    model, trainer = fit(tmp_path, {5}, ema_decay=0.9)
    assert states == [(4, True, {4.0}, 4)]
    assert trainer.global_step == 8
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-2)
    assert float(trainer.callback_metrics["train/restores"]) == 1
    assert [(event["kind"], event["step"], event["to"], event["rate"]) for event in model.events] == [
        ("restored", 5, 4, 0.5)
    ]
    out = capsys.readouterr().out
    assert (
        "those after step 4 again, the learning rate is 0.5 times the schedule's (1 of at most 3 times)"
        in out
    )


def test_a_gradient_that_is_not_finite_goes_back_too(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", non_finite="restore", schedule=Constant())
    clip, calls = model.on_before_optimizer_step, []

    def poisoned(optimizer: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            model.head.linear.weight.grad[0, 0] = float("inf")
        clip(optimizer)

    model.on_before_optimizer_step = poisoned
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    assert [(event["what"], event["to"]) for event in model.events] == [("gradient", 0)]
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-2)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_it_goes_back_so_often_and_then_stops_with_true_words(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as stop:
        fit(tmp_path, {3, 4, 5, 6}, max_restores=2)
    message = str(stop.value)
    assert "The loss of optimiser step 3 is nan; the weights are those before it." in message
    assert "No checkpoint was saved before it." in message
    assert "went back 2 times" in message
    assert "checkpoint is good" not in message


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    model, trainer = fit(tmp_path, set())
    with torch.no_grad():
        model.head.linear.bias[0] = float("nan")
    with pytest.raises(TrainingError, match="weights are not finite"):
        trainer.save_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "bad.ckpt").exists()


def test_the_rate_comes_back_with_the_checkpoint(tmp_path: Path) -> None:
    model, trainer = fit(tmp_path, {1})
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = tiny_classifier(
        tmp_path / "encoder", non_finite="restore", schedule=Constant(), loss=Spoilt(set())
    )
    resumed = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    resumed.fit(
        again,
        datamodule=tiny_data(tmp_path / "m.parquet", tokens_per_pass=100_000),
        ckpt_path=tmp_path / "a.ckpt",
        weights_only=True,
    )
    assert resumed.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-2)
    assert again.events == model.events


def test_a_rate_that_explodes_the_weights_ends_without_a_bundle_of_them(tmp_path: Path) -> None:
    # the first step makes the weights so large that the second has no finite loss
    with pytest.raises(TrainingError):
        fit(tmp_path, set(), optimizer=AdamW(lr=1e38), max_restores=1, gradient_clip=None)


@pytest.mark.parametrize("setting", ["restore_steps", "max_restores"])
def test_numbers_out_of_range_are_refused(tmp_path: Path, setting: str) -> None:
    tiny_encoder(tmp_path / "encoder")
    with pytest.raises(ConfigError, match=f"{setting} is 0; wanted at least 1"):
        tiny_classifier(tmp_path / "encoder", **{setting: 0})


def test_a_bundle_takes_finite_weights_alone(tmp_path: Path) -> None:
    from tocsin.bundles.callback import take_best

    model, trainer = fit(tmp_path, set())
    assert take_best(trainer, model) is None
    with torch.no_grad():
        model.head.linear.bias[0] = float("inf")
    with pytest.raises(TrainingError, match="no bundle was written"):
        take_best(trainer, model)
