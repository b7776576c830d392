"""A distillation's start at a linear probe: the regression is scikit-learn's, and the fit begins where it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from sklearn.linear_model import Ridge

import tocsin
from tests.builders import quiet_trainer
from tests.pairs import MemoryPairs, tiny_distiller
from tocsin.bundles.encoder_callback import EncoderBundleWriter
from tocsin.errors import ConfigError, TrainingError
from tocsin.models.distiller import Distiller
from tocsin.models.optimizers import AdamW
from tocsin.models.vector_probe import RidgeRegression


def ridge(
    x_ND: np.ndarray, y_NE: np.ndarray, weight_N: np.ndarray, l2: float
) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's matrix (E, D) and intercept (E,), fitted on features of standard deviation one."""
    mean_D = np.average(x_ND, axis=0, weights=weight_N)
    spread_D = np.sqrt(np.average((x_ND - mean_D) ** 2, axis=0, weights=weight_N))
    fitted = Ridge(alpha=l2).fit(x_ND / spread_D, y_NE, sample_weight=weight_N)
    return fitted.coef_ / spread_D, fitted.intercept_


@pytest.mark.parametrize("l2", [0.01, 100.0])
def test_it_is_scikit_learns_ridge_regression(l2: float) -> None:
    """Weighted, over features of unequal spread and place, whether the sentences come in parts or at once."""
    generator = np.random.default_rng(0)
    x_ND = generator.standard_normal((80, 5)) * [1, 10, 0.1, 3, 1] + [0, 100, -5, 0, 1]
    y_NE = x_ND @ generator.standard_normal((5, 3)) + generator.standard_normal((80, 3)) - 7
    weight_N = generator.integers(0, 4, 80).astype(np.float64)
    matrix_ED, bias_E = ridge(x_ND, y_NE, weight_N, l2)
    for parts in ([80], [1, 30, 9, 40]):
        probe = RidgeRegression(5, 3)
        for part in np.split(np.arange(80), np.cumsum(parts)[:-1]):
            probe.add(*(torch.from_numpy(values[part]) for values in (x_ND, y_NE, weight_N)))
        matrix, bias = probe.solve(l2)
        assert matrix.dtype == bias.dtype == torch.float32
        np.testing.assert_allclose(matrix.numpy(), matrix_ED, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(bias.numpy(), bias_E, rtol=1e-5, atol=1e-4)


def test_a_feature_that_never_varies_is_left_out() -> None:
    x_ND = torch.randn(20, 3)
    x_ND[:, 1] = 4.0
    probe = RidgeRegression(3, 1)
    probe.add(x_ND, x_ND[:, :1], torch.ones(20))
    matrix, bias = probe.solve(1e-9)
    torch.testing.assert_close(
        x_ND[:, [0, 2]] @ matrix[:, [0, 2]].T + x_ND[:, 1:2] * matrix[:, 1] + bias, x_ND[:, :1],
        atol=1e-4, rtol=0,
    )  # fmt: skip
    assert abs(float(matrix[0, 1])) < 1e-3


@pytest.mark.parametrize("value", [None, float("nan")])
def test_without_finite_vectors_there_is_no_start(value: float | None) -> None:
    probe = RidgeRegression(2, 2)
    if value is not None:
        probe.add(torch.full((3, 2), value), torch.ones(3, 2), torch.ones(3))
    with pytest.raises(TrainingError, match="no sentences with finite vectors"):
        probe.solve(1.0)


def fit(
    folder: Path, trainer: dict[str, Any] | None = None, ckpt_path: Path | None = None, **options: Any
) -> Any:
    """A distillation that all but stands still, so that what is measured after it is its start."""
    options = {"optimizer": AdamW(lr=1e-12, weight_decay=0.0), "start_from_probe": True, **options}
    torch.manual_seed(3)
    model = tiny_distiller(folder, **options)
    torch.manual_seed(3)
    quiet_trainer(folder, **{"max_epochs": 1, "num_sanity_val_steps": 0, **(trainer or {})}).fit(
        model, datamodule=MemoryPairs(), ckpt_path=ckpt_path, weights_only=True
    )
    return model.eval()


def vector(model: Any, text: str) -> np.ndarray:
    """Of the student, before the projection."""
    ids = model.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        pooled = model.pooling(model.encoder(ids["input_ids"], ids["attention_mask"]), ids["attention_mask"])
    found: np.ndarray = pooled[0].numpy()
    return found


def taught(model: Any, rows: list[dict[str, Any]]) -> np.ndarray:
    found: np.ndarray = model.teacher.load().vectors([row["english"] for row in rows], 99)
    return found


def test_the_student_starts_in_the_teachers_space(tmp_path: Path) -> None:
    """Against scikit-learn on vectors made one at a time: the projection, the errors and the matching that follow."""
    plain = fit(tmp_path, start_from_probe=False)
    model = fit(tmp_path, probe_l2=3.0)
    assert plain.projection is None
    # Untrained it is scored as it is, through an identity, as without the option.
    assert model.history[0].step == 0
    assert model.history[0].matching == plain.history[0].matching
    assert model.history[0].mse == pytest.approx(plain.history[0].mse, rel=1e-5)
    rows = MemoryPairs().splits["train"]
    x_ND = np.array([vector(model, row[side]) for side in ("english", "text") for row in rows])
    y_NE = np.tile(taught(model, rows), (2, 1))
    matrix_ED, bias_E = ridge(x_ND.astype(np.float64), y_NE, np.ones(len(x_ND)), 3.0)
    np.testing.assert_allclose(model.projection.weight.detach().numpy(), matrix_ED, rtol=2e-2, atol=2e-3)
    np.testing.assert_allclose(model.projection.bias.detach().numpy(), bias_E, rtol=2e-2, atol=2e-3)
    after = model.history[-1]
    for lang in ("hat", "spa"):
        held = [row for row in MemoryPairs().splits["validation"] if row["lang"] == lang]
        found = np.array([vector(model, row["text"]) for row in held]) @ matrix_ED.T + bias_E
        assert after.mse[lang] == pytest.approx(
            ((found - taught(model, held)) ** 2).sum(axis=1).mean(), rel=1e-2
        )
        assert after.mse[lang] < 0.7 * model.history[0].mse[lang]
        once = list({row["english"]: row for row in reversed(held)}.values())[::-1]
        sides = [
            np.array([vector(model, row[side]) for row in once]) @ matrix_ED.T + bias_E
            for side in ("text", "english")
        ]
        text, english = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
        cosine = text @ english.T
        good = [(cosine.argmax(axis=axis) == np.arange(len(once))).mean() for axis in (0, 1)]
        assert after.matching[lang] == pytest.approx(np.mean(good))


def test_the_probe_takes_as_many_sentences_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole passes, from the fit's first; with dropout off, and the training mode put back."""
    taken, modes = [], []
    add = RidgeRegression.add

    def watched(self: Any, student: Any, *rest: Any) -> None:
        taken.append(len(student))
        modes.append(any(module.training for module in models[0].modules()))
        add(self, student, *rest)

    models: list[Any] = []
    begin = Distiller.on_train_start

    def noted(self: Any) -> None:
        models.append(self)
        begin(self)
        assert all(module.training for module in self.encoder.modules())

    monkeypatch.setattr(RidgeRegression, "add", watched)
    monkeypatch.setattr(Distiller, "on_train_start", noted)
    fit(tmp_path, probe_sentences=20, dropout=0.1, trainer={"limit_val_batches": 0})
    assert 20 <= sum(taken) < 20 + taken[-1]
    assert not any(modes)


class _Save(Callback):
    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_a_fit_that_goes_on_probes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, from the middle of an epoch."""
    options: dict[str, Any] = {"optimizer": AdamW(lr=1e-2)}
    whole = fit(tmp_path, {"max_epochs": 2, "callbacks": [_Save(tmp_path / "a.ckpt", 8)]}, **options)
    monkeypatch.setattr(RidgeRegression, "solve", lambda *given: pytest.fail("probed again"))
    again = fit(tmp_path, {"max_epochs": 2}, tmp_path / "a.ckpt", **options)
    assert again.global_step == whole.global_step == 12
    one, other = whole.state_dict(), again.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.history == whole.history


def test_the_bundle_holds_the_projection(tmp_path: Path) -> None:
    writer = EncoderBundleWriter(str(tmp_path / "bundle"), name="tiny")
    model = fit(tmp_path, {"callbacks": [writer]})
    assert (tmp_path / "bundle" / "2_Dense" / "model.safetensors").is_file()
    texts = ["help the people now", "casa", "water and food"]
    with torch.no_grad():
        wanted = [model.projection(torch.from_numpy(vector(model, text))).numpy() for text in texts]
    np.testing.assert_allclose(tocsin.load(tmp_path / "bundle").encode(texts), wanted, atol=1e-5)
    apart = np.array(wanted) - np.array([vector(model, text) for text in texts])
    assert np.abs(apart).max() > 0.1  # the projection is no identity any more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": False}, "start_from_probe starts a linear layer, which project: false refuses"),
        ({"probe_l2": 0.0}, "probe_l2 is 0.0 and probe_sentences is 8192; wanted a strength above 0"),
        ({"probe_sentences": 0}, "probe_sentences is 0; wanted a strength above 0 and at least 1 sentence"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_distiller(tmp_path, start_from_probe=True, **options)
