"""Faults that only a fit meets: other labels than a checkpoint's, and a loss that is not finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import messages, quiet_trainer, tiny_classifier, tiny_data
from tests.faults.conftest import Call
from tocsin.errors import TrainingError
from tocsin.models.losses import BinaryCrossEntropy
from tocsin.training.checkpoints import AtomicCheckpointIO


@pytest.fixture
def break_loss(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the loss of these training passes (counted from 0) NaN."""

    def spoil(bad: Callable[[int], bool]) -> None:
        whole = BinaryCrossEntropy.forward
        passes = 0

        def forward(self: Any, logits_BL: Any, *given: Any) -> Any:
            nonlocal passes
            total, weight = whole(self, logits_BL, *given)
            if torch.is_grad_enabled():
                passes += 1
                if bad(passes - 1):
                    return total * float("nan"), weight
            return total, weight

        monkeypatch.setattr(BinaryCrossEntropy, "forward", forward)

    return spoil


def all_finite(tensors: dict[str, Any]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())


def test_labels_in_another_order_than_the_checkpoints(call: Call, tmp_path: Path) -> None:
    said = call("--trainer.limit_train_batches", "1")
    assert said.code == 0, said.err
    config = str(tmp_path / "runs" / "tiny" / "latest-fit" / "config.yaml")
    message = call("--labels.names", "[food, water, fire]", verb="test", config=config).message
    assert "the same labels in another order" in message
    assert "['water', 'food', 'fire']" in message
    assert "['food', 'water', 'fire']" in message
    checkpoint = str(tmp_path / "runs" / "tiny" / "latest-fit" / "checkpoints" / "last.ckpt")
    message = call("--ckpt_path", checkpoint, "--labels.names", "[water, food]").message
    assert "they have 'fire'" in message


def test_a_loss_that_is_not_finite_stops_the_fit(
    call: Call, tmp_path: Path, break_loss: Callable[..., None]
) -> None:
    # 72 messages in steps of 24, each in one pass: the fifth step is the second of the second epoch.
    break_loss(lambda number: number == 4)
    said = call("--trainer.max_epochs", "2", "--data.tokens_per_pass", "4096")
    message = said.message
    assert "The loss of optimiser step 4 is nan" in message
    assert "the weights are those before it. The last checkpoint is good: " in message
    known = {row["id"] for row in messages()}
    shown = message.split("Messages of the step: ")[1].split(" and ")[0].split(", ")
    assert len(shown) == 20
    assert set(shown) <= known
    state = AtomicCheckpointIO().load_checkpoint(
        tmp_path / "runs" / "tiny" / "latest-fit" / "checkpoints" / "last.ckpt"
    )
    assert state["global_step"] == 3
    assert all_finite(state["state_dict"])


def fit(folder: Path, **options: Any) -> Any:
    data = tiny_data(folder / "m.parquet", batch_size=24, tokens_per_pass=4096)
    model = tiny_classifier(folder / "encoder", non_finite="skip", **options)
    quiet_trainer(folder, limit_val_batches=0).fit(model, datamodule=data)
    return model


def test_steps_whose_loss_is_not_finite_can_be_skipped(
    tmp_path: Path, break_loss: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    break_loss(lambda number: number in (1, 4))
    model = fit(tmp_path, max_skipped=1)
    assert all_finite(model.state_dict())
    assert model.trainer.global_step == 4  # of six
    out = capsys.readouterr().out
    assert out.count("Skipped an optimiser step whose loss is nan. Its messages: m") == 2


def test_too_many_skips_in_a_row_stop_the_fit(tmp_path: Path, break_loss: Callable[..., None]) -> None:
    break_loss(lambda number: number >= 2)
    with pytest.raises(TrainingError, match="The loss of optimiser step 2 is nan"):
        fit(tmp_path, max_skipped=2)
