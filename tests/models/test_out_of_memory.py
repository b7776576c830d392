"""Memory that runs out in a step or an evaluation: the same messages again, in passes of half the tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import message_file, quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tests.pairs import pair_rows, tiny_distiller
from tocsin.errors import TrainingError
from tocsin.models.memory import is_out_of_memory


def narrow(model: Any, largest: int, when: Callable[[], bool] = lambda: True) -> None:
    """Let the encoder ask the host's allocator for too much where a pass has more tokens than that."""
    model.build()
    forward = model.encoder.forward

    def limited(input_ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        hidden_BTD = forward(input_ids_BT, mask_BT)
        if int(mask_BT.sum()) > largest and when():
            torch.empty(1 << 60, dtype=torch.uint8)
        return hidden_BTD

    model.encoder.forward = limited


def fitted(folder: Path, tokens: int, prepare: Callable[[Any], None] = lambda model: None) -> tuple[Any, Any]:
    torch.manual_seed(3)
    model = tiny_classifier(folder / "encoder")
    model.build()
    prepare(model)
    trainer = quiet_trainer(folder, max_epochs=1)
    torch.manual_seed(3)
    trainer.fit(model, datamodule=tiny_data(folder / "m.parquet", tokens_per_pass=tokens))
    return model, trainer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_encoder(tmp_path / "encoder")
    return tmp_path


def test_the_allocators_own_words_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_a_fit_goes_on_with_half_the_tokens_and_equals_one_that_had_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, _ = fitted(folder, 40)
    model, trainer = fitted(folder, 80, lambda model: narrow(model, 40))
    assert "with 40 tokens a pass instead of 80" in capsys.readouterr().out
    assert trainer.global_step == 9
    for name, value in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert [(event["kind"], event["tokens_per_pass"]) for event in model.events] == [("out of memory", 40)]
    assert float(trainer.callback_metrics["train/tokens_per_pass"]) == 40


def test_memory_that_runs_out_in_the_middle_of_a_step_skips_nothing(folder: Path) -> None:
    wanted, _ = fitted(folder, 40)
    calls = iter(range(1000))
    model, _ = fitted(folder, 40, lambda model: narrow(model, 0, lambda: next(calls) == 1))
    # half of 40 is another cut: what it trains on is the same, so that only rounding and dropout differ
    assert model.events[0]["tokens_per_pass"] == 20
    assert model.last_step.messages == wanted.last_step.messages


def test_a_second_time_ends_the_fit_with_advice(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"a pass holds 40 tokens only .*tokens_per_pass to 20 or less"):
        fitted(folder, 80, lambda model: narrow(model, 20))


def test_an_evaluation_goes_on_and_scores_each_message_once(folder: Path) -> None:
    scores = []
    for limit in (1 << 30, 40):
        torch.manual_seed(3)
        model = tiny_classifier(folder / "encoder", dropout=0.0)
        narrow(model, limit)
        quiet_trainer(folder).validate(
            model, datamodule=tiny_data(folder / "m.parquet", tokens_per_pass=80), verbose=False
        )
        scores.append(model.scores["validation"])
    assert scores[0].ids.tolist() == scores[1].ids.tolist()
    torch.testing.assert_close(*(torch.from_numpy(table.logits_NL) for table in scores))


def test_the_budget_comes_back_with_the_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, trainer = fitted(folder, 80, lambda model: narrow(model, 40))
    trainer.save_checkpoint(folder / "a.ckpt")
    capsys.readouterr()
    again = tiny_classifier(folder / "encoder")
    narrow(again, 40)
    quiet_trainer(folder, max_epochs=2).fit(
        again,
        datamodule=tiny_data(folder / "m.parquet", tokens_per_pass=80),
        ckpt_path=folder / "a.ckpt",
        weights_only=True,
    )
    assert "Memory ran out" not in capsys.readouterr().out
    assert again.events == model.events


@pytest.mark.parametrize("coupled", [False, True])
def test_a_distiller_does_the_same(tmp_path: Path, coupled: bool) -> None:
    from tocsin.batches.parallel import ParallelSentences
    from tocsin.models.losses import Contrastive, MeanSquaredError
    from tocsin.text.pair_table import PairTable

    path, states = message_file(tmp_path / "pairs.parquet", pair_rows()), []
    for tokens, limit in ((48, 1 << 30), (96, 48)):
        torch.manual_seed(3)
        model = tiny_distiller(
            tmp_path, dropout=0.1, losses=[Contrastive() if coupled else MeanSquaredError()]
        )
        narrow(model, limit)
        data = ParallelSentences(
            {"toy": PairTable(str(path))},
            held_out=5,
            max_length=16,
            batch_size=16,
            tokens_per_pass=tokens,
            cache=str(tmp_path / "cache"),
            seed=1,
        )
        torch.manual_seed(3)
        quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(model, datamodule=data)
        states.append(model.state_dict())
    assert model.events[0]["tokens_per_pass"] == 48
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name
