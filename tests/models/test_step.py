"""One optimiser step: how a step is cut, padded or ordered changes nothing but rounding; a seed fixes every bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import LABELS, message_file, quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tocsin.batches.passes import collate
from tocsin.errors import CheckpointError, ConfigError, LabelError, TrainingError
from tocsin.models.losses import BinaryCrossEntropy, Loss
from tocsin.models.optimizers import AdamW
from tocsin.models.schedules import Constant
from tocsin.models.vocabulary import RowsInUse


def _weights(model: Any) -> dict[str, torch.Tensor]:
    state = {f"encoder.{k}": v for k, v in model.encoder.pretrained_state().items()}
    return state | {f"head.{k}": v.detach() for k, v in model.head.state_dict().items()}


def _fit(
    folder: Path, steps: int = 5, *, seed: int = 3, data: dict[str, Any] | None = None, **options: Any
) -> Any:
    # SGD-like comparability: Adam divides by the gradient's size, so rounding near zero gradients would be magnified.
    torch.manual_seed(seed)
    options.setdefault("optimizer", AdamW(lr=1e-3, eps=1e-3))
    options.setdefault("dropout", 0.0)
    if not (folder / "encoder").exists():
        tiny_encoder(folder / "encoder")
    model = tiny_classifier(folder / "encoder", **options)
    torch.manual_seed(seed)
    model.build()
    quiet_trainer(folder, max_steps=steps, max_epochs=-1, limit_val_batches=0).fit(
        model, datamodule=tiny_data(folder / "m.parquet", **(data or {}))
    )
    return model


def _assert_close(first: Any, second: Any, tolerance: float = 2e-5) -> None:
    mine, other = _weights(first), _weights(second)
    assert mine.keys() == other.keys()
    for name in mine:
        torch.testing.assert_close(
            mine[name], other[name], atol=tolerance, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("tokens_per_pass", [1, 40, 100_000])
def test_tokens_per_pass_changes_nothing_but_rounding(tmp_path: Path, tokens_per_pass: int) -> None:
    _assert_close(_fit(tmp_path), _fit(tmp_path, data={"tokens_per_pass": tokens_per_pass}))


def test_rows_in_use_equals_training_the_whole_table(tmp_path: Path) -> None:
    rows, whole = _fit(tmp_path, steps=8), _fit(tmp_path, steps=8, rows_in_use=False)
    assert isinstance(rows.encoder.model.get_input_embeddings(), RowsInUse)
    assert not isinstance(whole.encoder.model.get_input_embeddings(), RowsInUse)
    _assert_close(rows, whole, 1e-6)
    source = tiny_classifier(tmp_path / "encoder")
    source.build()
    before = source.encoder.pretrained_state()["embeddings.word_embeddings.weight"]
    after = rows.encoder.pretrained_state()["embeddings.word_embeddings.weight"]
    unused = torch.ones(len(before), dtype=torch.bool)
    unused[rows.encoder.model.get_input_embeddings().piece_ids] = False
    assert unused.any()
    assert torch.equal(before[unused], after[unused])


def test_pieces_met_only_in_evaluation_come_from_the_full_table() -> None:
    table = torch.randn(10, 4)
    embedding = RowsInUse(table, [0, 3, 5], padding_idx=None)
    with torch.no_grad():
        embedding.weight += 1.0
    embedding.eval()
    ids = torch.tensor([[3, 7, 0]])
    torch.testing.assert_close(embedding(ids)[0], torch.stack([table[3] + 1, table[7], table[0] + 1]))
    full = embedding.full_table()
    assert torch.equal(full[7], table[7])
    torch.testing.assert_close(full[5], table[5] + 1)


def test_padding_row_gets_no_gradient_like_an_embedding_with_padding_idx() -> None:
    table = torch.randn(6, 4)
    embedding = RowsInUse(table, [1, 2], padding_idx=1)
    embedding(torch.tensor([[1, 2, 1]])).sum().backward()
    assert torch.equal(embedding.weight.grad[0], torch.zeros(4))
    assert torch.equal(embedding.weight.grad[1], torch.ones(4))


def test_two_runs_with_one_seed_are_bit_equal_and_another_seed_differs(tmp_path: Path) -> None:
    first, second = (_weights(_fit(tmp_path, dropout=0.1)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = _weights(_fit(tmp_path, dropout=0.1, seed=4))
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_gradient_does_not_depend_on_padding_or_row_order(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", dropout=0.0)
    model.build()
    generator = np.random.default_rng(0)
    tokens = [
        np.concatenate([[0], generator.integers(4, 50, n), [2]]).astype(np.int32) for n in (3, 9, 1, 17)
    ]
    targets = generator.integers(0, 2, (4, 3)).astype(np.float32)
    targets[1, 2] = np.nan

    def gradient(order: list[int], extra_padding: int) -> dict[str, torch.Tensor]:
        model.zero_grad()
        part = collate([tokens[i] for i in order], targets[order], np.array(order), pad_id=1)
        ids = torch.nn.functional.pad(part.input_ids_BT, (0, extra_padding), value=1)
        mask = torch.nn.functional.pad(part.mask_BT, (0, extra_padding), value=0)
        model.loss(model(ids, mask), part.targets_BL, part.known_BL)[0].backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    base = gradient([0, 1, 2, 3], 0)
    for order, extra in (([3, 1, 0, 2], 0), ([0, 1, 2, 3], 20), ([2, 0, 3, 1], 7)):
        for name, value in gradient(order, extra).items():
            torch.testing.assert_close(value, base[name], atol=1e-5, rtol=1e-4)


def test_metrics_do_not_depend_on_passes(tmp_path: Path) -> None:
    model = _fit(tmp_path)
    figures = []
    for tokens in (1, 64, 100_000):
        data = tiny_data(tmp_path / "m.parquet", tokens_per_pass=tokens)
        result = quiet_trainer(tmp_path).test(model, datamodule=data, verbose=False)[0]
        table = model.scores["test"]
        figures.append((result, table))
    for result, table in figures[1:]:
        np.testing.assert_allclose(table.logits_NL, figures[0][1].logits_NL, atol=1e-5)
        assert list(table.ids) == list(figures[0][1].ids)
        for name, value in result.items():
            assert value == pytest.approx(figures[0][0][name], abs=1e-6, nan_ok=True)


def test_null_labels_weigh_nothing(tmp_path: Path) -> None:
    """A label that is never known leaves the others' training as it is without it."""
    from tests.builders import messages

    rows = [row | {"fire": None} for row in messages()]
    message_file(tmp_path / "null.parquet", rows)
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", dropout=0.0)
    data = tiny_data(tmp_path / "null.parquet", on_rare="ignore")  # no positive of it is known
    torch.manual_seed(0)
    model.build()
    before = model.head.linear.weight.detach().clone()
    quiet_trainer(tmp_path, max_steps=3, max_epochs=-1, limit_val_batches=0).fit(model, datamodule=data)
    moved = (model.head.linear.weight.detach() - before).abs().max(1).values
    fire = LABELS.index("fire")
    # Weight decay alone moves it: lr * decay * weight, three times at most.
    assert moved[fire] <= 3 * 1e-2 * 0.01 * before[fire].abs().max() + 1e-7
    assert moved[0] > 1e-3


def test_schedule_is_sized_from_the_real_steps_and_reaches_zero(tmp_path: Path) -> None:
    from lightning.pytorch import Callback

    class Rates(Callback):
        def __init__(self) -> None:
            self.rates: list[float] = []

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    rates = Rates()
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", optimizer=AdamW(lr=1e-3))
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[rates], limit_val_batches=0)
    trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    wanted = [1e-3 * model.schedule.factor(step, len(rates.rates)) for step in range(len(rates.rates))]
    assert len(rates.rates) == 18  # 72 messages in steps of 8, twice
    np.testing.assert_allclose(rates.rates, wanted, rtol=1e-6)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


def test_clipping_bounds_the_whole_gradient(tmp_path: Path) -> None:
    before, after = [], []
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", gradient_clip=1e-3, schedule=Constant())
    clip = model.on_before_optimizer_step

    def norm() -> float:
        return float(
            torch.linalg.vector_norm(
                torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
            )
        )

    def measured(optimizer: Any) -> None:
        before.append(norm())
        clip(optimizer)
        after.append(norm())

    model.on_before_optimizer_step = measured
    quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(
        model, datamodule=tiny_data(tmp_path / "m.parquet")
    )
    assert len(after) == 9
    assert min(before) > 1e-2
    assert max(after) <= 1e-3 * 1.001


class _NotFinite(BinaryCrossEntropy):
    """Gives NaN in chosen calls."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__()
        self.bad, self.calls = bad, 0

    def forward(self, *arguments: Any) -> Any:
        total, weight = super().forward(*arguments)
        self.calls += 1
        return (total * float("nan") if self.calls in self.bad else total), weight


def test_a_loss_that_is_not_finite_stops_the_fit_and_names_the_messages(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", loss=_NotFinite({2}))
    with pytest.raises(TrainingError, match=r"step 1 is nan.*Messages of the step: m\d+"):
        quiet_trainer(tmp_path, limit_val_batches=0).fit(
            model, datamodule=tiny_data(tmp_path / "m.parquet", tokens_per_pass=100_000)
        )
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_skipping_leaves_the_weights_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", loss=_NotFinite({2, 3}), non_finite="skip")
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet", tokens_per_pass=100_000))
    assert trainer.global_step == 7  # 9 steps, 2 of them skipped
    assert "Skipped an optimiser step" in capsys.readouterr().out


def test_a_loss_that_couples_rows_is_refused(tmp_path: Path) -> None:
    class Coupled(BinaryCrossEntropy):
        couples_rows = True

    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", loss=Coupled())
    with pytest.raises(ConfigError, match="Coupled depends on all rows"):
        quiet_trainer(tmp_path).fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))


def test_checkpoint_with_labels_in_another_order_is_refused_with_both_lists(tmp_path: Path) -> None:
    from tocsin.labels.schemes import Columns

    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder")
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    turned = Columns(list(LABELS[::-1]))
    other = tiny_classifier(tmp_path / "encoder", labels=turned)
    with pytest.raises(LabelError, match=r"water.*fire"):
        quiet_trainer(tmp_path).test(
            other,
            datamodule=tiny_data(tmp_path / "m.parquet", labels=turned),
            ckpt_path=tmp_path / "a.ckpt",
            weights_only=True,
        )


@pytest.mark.parametrize("freeze", ["none", "embeddings", "all", 1])
def test_checkpoint_restores_every_weight_and_holds_none_that_its_source_holds(
    tmp_path: Path, freeze: Any
) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", encoder={"freeze": freeze})
    data = tiny_data(tmp_path / "m.parquet")
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    frozen = {f"encoder.{n}" for n, p in model.encoder.named_parameters() if not p.requires_grad}
    assert bool(frozen) == (freeze != "none")
    assert not frozen & state.keys()
    again = tiny_classifier(tmp_path / "encoder", encoder={"freeze": freeze})
    quiet_trainer(tmp_path).test(
        again,
        datamodule=tiny_data(tmp_path / "m.parquet"),
        ckpt_path=tmp_path / "a.ckpt",
        weights_only=True,
        verbose=False,
    )
    for name, value in _weights(model).items():
        assert torch.equal(value, _weights(again)[name]), name


def test_couples_rows_is_declared_by_the_role() -> None:
    assert Loss.couples_rows is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": None}, "reads a pooled vector"),
        ({"gradient_clip": 0.0}, "gradient_clip is 0.0"),
        ({"probe_l2": 0.0}, "probe_l2"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_classifier(tmp_path / "encoder", **options)


def test_native_head_refuses_a_pooling(tmp_path: Path) -> None:
    from tocsin.models.pooling import MeanPooling

    with pytest.raises(ConfigError, match="pooling to null"):
        tiny_classifier(tmp_path / "encoder", "native", pooling=MeanPooling())


def test_length_beyond_the_encoders_positions_is_refused(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="positions for 72"):
        quiet_trainer(tmp_path).fit(model, datamodule=tiny_data(tmp_path / "m.parquet", max_length=100))


def test_an_infinite_gradient_under_a_finite_loss_never_reaches_the_weights(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", non_finite="skip")
    clip, calls = model.on_before_optimizer_step, []

    def poisoned(optimizer: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            model.head.linear.weight.grad[0, 0] = float("inf")
        clip(optimizer)

    model.on_before_optimizer_step = poisoned
    quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(
        model, datamodule=tiny_data(tmp_path / "m.parquet")
    )
    assert len(calls) == 9
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_test_before_the_fit_takes_nothing_from_it(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", loss=BinaryCrossEntropy("auto"))
    quiet_trainer(tmp_path).test(model, datamodule=tiny_data(tmp_path / "m.parquet"), verbose=False)
    quiet_trainer(tmp_path, max_epochs=1).fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    assert isinstance(model.encoder.model.get_input_embeddings(), RowsInUse)
    assert model.loss.pos_weight_L is not None


def test_automatic_weights_come_back_with_the_checkpoint(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder", loss=BinaryCrossEntropy("auto"))
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = tiny_classifier(tmp_path / "encoder", loss=BinaryCrossEntropy("auto"))
    quiet_trainer(tmp_path).test(
        again, datamodule=tiny_data(tmp_path / "m.parquet"), ckpt_path=tmp_path / "a.ckpt", weights_only=True
    )
    assert torch.equal(again.loss.pos_weight_L, model.loss.pos_weight_L)


def test_a_checkpoint_of_another_encoder_is_refused(tmp_path: Path) -> None:
    for seed in (0, 1):
        tiny_encoder(tmp_path / str(seed), seed=seed)
    model = tiny_classifier(tmp_path / "0", encoder={"freeze": "all"})
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = tiny_classifier(tmp_path / "1", encoder={"freeze": "all"})
    with pytest.raises(CheckpointError, match="source gives other weights"):
        quiet_trainer(tmp_path).test(
            other,
            datamodule=tiny_data(tmp_path / "m.parquet"),
            ckpt_path=tmp_path / "a.ckpt",
            weights_only=True,
        )


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"limit_val_batches": 1, "max_epochs": 1}])
def test_a_part_of_the_validation_split_can_be_looked_at(tmp_path: Path, options: dict[str, Any]) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder")
    quiet_trainer(tmp_path, **options).fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))


def test_a_schedule_wants_to_know_how_long_the_fit_is(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="how long the fit is"):
        quiet_trainer(tmp_path, max_epochs=-1).fit(
            tiny_classifier(tmp_path / "encoder"), datamodule=tiny_data(tmp_path / "m.parquet")
        )


def test_a_length_without_room_for_the_message_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adds 2 special tokens"):
        quiet_trainer(tmp_path).fit(
            tiny_classifier(tmp_path / "encoder"), datamodule=tiny_data(tmp_path / "m.parquet", max_length=2)
        )
