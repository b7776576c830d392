"""A distiller's step: how it is cut, padded or ordered changes nothing but rounding; its teacher stays outside."""

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from tests.builders import quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tests.pairs import MemoryPairs, pair_rows, tiny_distiller, tiny_teacher
from tocsin.batches.protocols import ReadsTokens, ServesPairs
from tocsin.errors import CheckpointError, ConfigError, TrainingError
from tocsin.models.distiller import Distiller
from tocsin.models.gradient_cache import PassesTwice
from tocsin.models.losses import Contrastive, CosineDistance, MeanSquaredError, SpreadOut
from tocsin.models.optimizers import AdamW
from tocsin.models.pooling import AttentionPooling, ClsPooling, MeanPooling
from tocsin.models.teacher import LoadedTeacher
from tocsin.models.vocabulary import RowsInUse

COUPLED: dict[str, Any] = {
    "losses": [MeanSquaredError(), Contrastive(), SpreadOut()],
    "loss_weights": [1.0, 0.5, 2.0],
}


def fit(folder: Path, steps: int = 4, *, data: dict[str, Any] | None = None, trainer: dict[str, Any] | None = None,
        **options: Any) -> Any:  # fmt: skip
    torch.manual_seed(3)
    # SGD-like comparability: Adam divides by the gradient's size, so rounding near zero gradients would be magnified.
    options = {"optimizer": AdamW(lr=1e-3, eps=1e-3), "validate_first": False, **options}
    model = tiny_distiller(folder, **options)
    torch.manual_seed(3)
    model.build()
    settings = {"max_steps": steps, "max_epochs": -1, "limit_val_batches": 0, **(trainer or {})}
    quiet_trainer(folder, **settings).fit(model, datamodule=MemoryPairs(**(data or {})))
    return model


def weights(model: Any) -> dict[str, torch.Tensor]:
    state = {name: value.detach() for name, value in model.encoder.pretrained_state().items()}
    if model.projection is not None:
        state |= {f"projection.{name}": value for name, value in model.projection.state_dict().items()}
    return state


def assert_close(one: Any, other: Any, tolerance: float = 2e-5) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(
            mine[name], theirs[name], atol=tolerance, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def assert_moved(model: Any, folder: Path) -> None:
    before = tiny_distiller(folder).encoder.pretrained_state()
    after = model.encoder.pretrained_state()
    assert any((before[name] - after[name]).abs().max() > 1e-3 for name in before)


def test_the_loss_of_a_step_by_hand(tmp_path: Path) -> None:
    """With the vectors of the two networks run apart from the step, in both scalings."""
    for scaling in ("sum", "mean"):
        model = fit(
            tmp_path,
            steps=1,
            losses=[MeanSquaredError(scaling), CosineDistance()],  # type: ignore[arg-type]
            loss_weights=[3.0, 1.0],
            data={"batch_size": 10},
            optimizer=AdamW(lr=1e-12),
        )
        data = MemoryPairs(batch_size=10)
        order = np.random.default_rng(0).permutation(len(data.splits["train"])).tolist()[:10]
        teacher = model.teacher.load()
        squares = cosines = 0.0
        for row in order:
            pair = data.splits["train"][row]
            wanted = torch.from_numpy(teacher.vectors([pair["english"]], 100))[0]
            for text in (pair["english"], pair["text"]):
                ids = model.tokenizer(text, return_tensors="pt")
                model.eval()
                found = model(ids["input_ids"], ids["attention_mask"])[0].detach()
                squares += float(((found - wanted) ** 2).sum()) / (16 if scaling == "mean" else 1)
                cosines += 1 - float(torch.cosine_similarity(found, wanted, dim=0))
        logged = model.trainer.callback_metrics
        assert float(logged["train/loss/MeanSquaredError"]) == pytest.approx(squares / 10, rel=1e-3)
        assert float(logged["train/loss/CosineDistance"]) == pytest.approx(cosines / 20, rel=1e-3)
        assert float(logged["train/loss"]) == pytest.approx(3 * squares / 10 + cosines / 20, rel=1e-3)


@pytest.mark.parametrize(
    "data",
    [{"tokens_per_pass": 1}, {"tokens_per_pass": 10_000}, {"order": 5}, {"extra_padding": 9}],
    ids=["a sentence a pass", "one pass", "shuffled", "padded"],
)
@pytest.mark.parametrize("losses", [{}, COUPLED], ids=["rows alone", "rows coupled"])
def test_how_a_step_is_cut_changes_nothing_but_rounding(
    tmp_path: Path, data: dict[str, Any], losses: dict[str, Any]
) -> None:
    """With coupled rows and one pass this is the plain backward: cached gradients equal one big pass."""
    base, other = fit(tmp_path, **losses), fit(tmp_path, **losses, data=data)
    assert_moved(base, tmp_path)
    assert_close(base, other)


def test_cached_gradients_see_the_dropout_that_the_loss_saw(tmp_path: Path) -> None:
    """In one pass, sent through the cache all the same, the step is that of the plain backward, dropout and all."""
    settings: dict[str, Any] = {**COUPLED, "dropout": 0.1, "data": {"tokens_per_pass": 10_000}}
    plain = fit(tmp_path, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Distiller, "_is_cut", lambda self, step: True)
        cached = fit(tmp_path, **settings)
        patch.setattr(PassesTwice, "_restore", lambda self, state: None)
        astray = fit(tmp_path, **settings)
    assert_moved(cached, tmp_path)
    assert_close(plain, cached, 1e-6)
    with pytest.raises(AssertionError):
        assert_close(plain, astray, 1e-6)


def test_cached_gradients_reach_the_weights_under_autocast(tmp_path: Path) -> None:
    """autocast keeps the weights that it rounded; those of a run without a graph would cut the next one off."""
    mixed: dict[str, Any] = {"trainer": {"precision": "bf16-mixed"}, **COUPLED}
    whole, cut = fit(tmp_path, data={"tokens_per_pass": 10_000}, **mixed), fit(tmp_path, **mixed)
    assert_moved(cut, tmp_path)
    assert_close(whole, cut, 2e-3)


def test_rows_in_use_equals_training_the_whole_table(tmp_path: Path) -> None:
    rows, whole = fit(tmp_path), fit(tmp_path, rows_in_use=False)
    assert isinstance(rows.encoder.model.get_input_embeddings(), RowsInUse)
    assert not isinstance(whole.encoder.model.get_input_embeddings(), RowsInUse)
    assert_close(rows, whole, 1e-6)


def test_the_teacher_is_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the state, the optimiser and training mode; and out of memory once its vectors are computed."""
    alive: list[weakref.ref[Any]] = []
    modes: list[bool] = []
    plain = LoadedTeacher.vectors

    def watched(self: Any, *arguments: Any) -> Any:
        alive.append(weakref.ref(self.encoder))
        modes.append(any(module.training for module in self.encoder.modules()))
        return plain(self, *arguments)

    monkeypatch.setattr(LoadedTeacher, "vectors", watched)
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path / "cache"))
    model = tiny_distiller(tmp_path, dropout=0.1)
    trainer = quiet_trainer(tmp_path, max_steps=2, max_epochs=-1)
    trainer.fit(model, datamodule=MemoryPairs())
    gc.collect()
    assert alive
    assert not any(modes)
    assert all(reference() is None for reference in alive)
    assert model.teacher.encoder.model is None
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert not [name for name in saved["state_dict"] if "teacher" in name]
    trained = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.parameters()}
    assert all(name.startswith("encoder.") for name, _ in model.named_parameters())


def test_the_student_is_projected_where_widths_differ(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    from tests.builders import tiny_tokenizer

    folder = tmp_path / "wide"
    folder.mkdir()
    tokenizer = tiny_tokenizer(folder)
    BertModel(
        BertConfig(vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=32, pad_token_id=1, max_position_embeddings=72),
        add_pooling_layer=False,
    ).save_pretrained(folder)  # fmt: skip
    model = fit(tmp_path, teacher=tiny_teacher(folder), trainer={"limit_val_batches": 1.0})
    assert model.projection is not None
    assert model.projection.weight.shape == (24, 16)
    start = model.projection.weight.detach().clone()
    again = fit(tmp_path, steps=8, teacher=tiny_teacher(folder))
    assert not torch.equal(start, again.projection.weight)
    with pytest.raises(ConfigError, match=r"width 16, the teacher's 24.*project"):
        fit(tmp_path, teacher=tiny_teacher(folder), project=False)


def test_matching_and_error_are_those_of_the_vectors(tmp_path: Path) -> None:
    """Against plain loops over the pairs, one at a time."""
    model = fit(tmp_path, steps=6, trainer={"max_epochs": 1, "limit_val_batches": 1.0}, validate_first=True)
    assert [found.step for found in model.history] == [0, 6]
    data, teacher = MemoryPairs(), model.teacher.load()
    model.eval()

    def vector(text: str) -> np.ndarray:
        ids = model.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            return model(ids["input_ids"], ids["attention_mask"])[0].numpy()

    for lang in ("hat", "spa"):
        rows = [row for row in data.splits["validation"] if row["lang"] == lang]
        errors = [
            float(((vector(row["text"]) - teacher.vectors([row["english"]], 99)[0]) ** 2).sum())
            for row in rows
        ]
        assert model.history[-1].mse[lang] == pytest.approx(np.mean(errors), rel=1e-3)
        once = list({row["english"]: row for row in reversed(rows)}.values())[::-1]
        texts, english = ([vector(row[side]) for row in once] for side in ("text", "english"))
        good = 0
        for one, other in ((texts, english), (english, texts)):
            for place, source in enumerate(one):
                cosines = [float(source @ t / np.linalg.norm(source) / np.linalg.norm(t)) for t in other]
                good += int(np.argmax(cosines) == place)
        assert model.history[-1].matching[lang] == pytest.approx(good / 2 / len(once))
        assert model.history[-1].sentences[lang] == len(once)
    logged = model.trainer.callback_metrics
    for name in ("matching", "mse"):
        both = [float(logged[f"validation/{name}/{lang}"]) for lang in ("hat", "spa")]
        assert float(logged[f"validation/{name}"]) == pytest.approx(np.mean(both))


def test_a_student_that_is_its_teacher_has_no_error(tmp_path: Path) -> None:
    """What is left is float16's rounding of the teacher's vectors: relative 2^-11 a component."""
    tiny_encoder(tmp_path / "student")
    model = tiny_distiller(tmp_path, teacher=tiny_teacher(tmp_path / "student"))
    rows = [{**row, "text": row["english"]} for row in pair_rows()]
    quiet_trainer(tmp_path).validate(model, datamodule=MemoryPairs(rows), verbose=False)
    assert set(model.history[-1].matching.values()) == {1.0}
    lengths = float(
        np.square(model.teacher.load().vectors([row["english"] for row in rows], 99)).sum(1).max()
    )
    assert 0 < max(model.history[-1].mse.values()) < 2**-22 * lengths


def test_it_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    """At the end of an epoch and in the middle of one, with averaging, and keeps the history."""
    for at in (6, 9):
        options: dict[str, Any] = {**COUPLED, "ema_decay": 0.9}
        whole = {"max_epochs": 3, "limit_val_batches": 1.0, "max_steps": -1}
        first = fit(tmp_path, trainer=whole, **options)
        fit(tmp_path, trainer={**whole, "callbacks": [_StopAndSave(tmp_path / "a.ckpt", at)]}, **options)
        again = tiny_distiller(tmp_path, optimizer=AdamW(lr=1e-3, eps=1e-3), validate_first=False, **options)
        quiet_trainer(tmp_path, max_epochs=3).fit(
            again, datamodule=MemoryPairs(), ckpt_path=tmp_path / "a.ckpt", weights_only=True
        )
        assert again.global_step == first.global_step == 18
        one, other = weights(first), weights(again)
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert again.history[-1] == first.history[-1]
        # Saved at the end of an epoch, before its validation, which is then nobody's.
        assert again.history == (first.history if at == 9 else first.history[1:])


class _StopAndSave(Callback):
    """Saves after an optimiser step and ends the fit as an interrupt would."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True
            trainer.limit_val_batches = 0


def test_a_loss_that_is_not_finite_stops_the_fit_and_names_the_pairs(tmp_path: Path) -> None:
    class _Broken(MeanSquaredError):
        def forward(self, *rows: Any) -> Any:
            total, weight = super().forward(*rows)
            return total * math.nan, weight

    with pytest.raises(TrainingError, match=r"loss of optimiser step 0 is nan.*training pair \d"):
        fit(tmp_path, losses=[_Broken()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": []}, "losses is empty"),
        (
            {"losses": [CosineDistance()], "loss_weights": [1.0, 2.0]},
            "2 numbers for 1 losses .CosineDistance.",
        ),
        ({"loss_weights": [0.0]}, "MeanSquaredError has the weight 0.0; wanted a number above 0"),
        ({"loss_weights": [math.inf]}, "MeanSquaredError has the weight inf"),
        (
            {"pooling": AttentionPooling()},
            "AttentionPooling is a pooling that sentence-transformers does not know",
        ),
        ({"teacher_max_length": 1}, "teacher_max_length is 1; wanted at least 3"),
        (
            {"teacher_max_length": 100},
            "teacher_max_length is 100 tokens, but the teacher has positions for 72",
        ),
        ({"gradient_clip": 0.0}, "gradient_clip is 0.0"),
        ({"layer_decay": 2.0}, "layer_decay is 2.0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, **options)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    model = tiny_distiller(tmp_path)
    with pytest.raises(ConfigError, match="serves pairs of sentences"):
        quiet_trainer(tmp_path).fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    with pytest.raises(ConfigError, match="max_length is 100 tokens, but the student has positions for 72"):
        fit(tmp_path, data={"max_length": 100})
    model = fit(tmp_path, steps=1)
    model.trainer.save_checkpoint(tmp_path / "a.ckpt")
    for other in (
        tiny_distiller(tmp_path, pooling=ClsPooling()),
        tiny_classifier(tmp_path / "student", pooling=MeanPooling()),
    ):
        data = tiny_data(tmp_path / "m.parquet") if hasattr(other, "labels") else MemoryPairs()
        with pytest.raises(CheckpointError, match=r"pooling|not written by"):
            quiet_trainer(tmp_path).fit(
                other, datamodule=data, ckpt_path=tmp_path / "a.ckpt", weights_only=True
            )


def test_the_contract_is_the_one_that_was_agreed(tmp_path: Path) -> None:
    assert isinstance(MemoryPairs(), ServesPairs)
    assert isinstance(tiny_distiller(tmp_path), ReadsTokens)


@pytest.mark.parametrize("encoder", [{"keep_layers": [0]}, {"keep_pieces": 60}, {"freeze": "embeddings"}])
def test_students_may_be_cut(tmp_path: Path, encoder: dict[str, Any]) -> None:
    model = fit(tmp_path, steps=2, encoder=encoder, trainer={"limit_val_batches": 1.0, "max_epochs": 1})
    assert all(torch.isfinite(p).all() for p in model.parameters())
