"""A compiled encoder: the fit is that without it, names stay, and one graph serves passes of every shape."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import message_file, quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tocsin.errors import ConfigError
from tocsin.models import compilation
from tocsin.training.checkpoints import AtomicCheckpointIO

# What torch's own compiler says of itself is not ours to mend.
# https://github.com/pytorch/pytorch/blob/main/torch/utils/mkldnn.py
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::FutureWarning:torch.*")


def fitted(folder: Path, *, compiled: bool, **options: Any) -> Any:
    model = tiny_classifier(folder / "encoder", dropout=0.0, encoder={"torch_compile": compiled}, **options)
    torch.manual_seed(0)
    model.build()
    torch.manual_seed(0)
    trainer = quiet_trainer(folder, max_epochs=1, limit_val_batches=1.0, num_sanity_val_steps=0)
    trainer.fit(model, datamodule=tiny_data(folder / "m.parquet"))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    message_file(tmp_path / "m.parquet")
    tiny_encoder(tmp_path / "encoder", layers=1)
    torch._dynamo.reset()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_fit_is_the_fit_without(
    folder: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows in use; its checkpoint and bundle are read by models that are not compiled."""
    from torch._dynamo.utils import counters

    from tocsin import load
    from tocsin.bundles.save import save_bundle
    from tocsin.text.cleaners import NoCleaner

    monkeypatch.setattr(compilation, "_BACKEND", backend)
    plain = fitted(folder, compiled=False)
    counters.clear()
    model = fitted(folder, compiled=True)
    # For training and for validation, each for several messages and for one.
    assert 2 <= counters["stats"]["unique_graphs"] <= 4
    assert not counters["graph_break"]
    state, wanted = model.state_dict(), plain.state_dict()
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        # The key's bias has no influence, so its gradient is rounding alone, which AdamW makes steps of.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(state[name], value, atol=1e-4, rtol=1e-3, msg=name)
    shown = model.scores["validation"].logits_NL
    np.testing.assert_allclose(shown, plain.scores["validation"].logits_NL, atol=1e-3)
    model.trainer.save_checkpoint(folder / "a.ckpt")
    again = tiny_classifier(folder / "encoder", dropout=0.0)
    quiet_trainer(folder, plugins=[AtomicCheckpointIO()]).validate(
        again,
        datamodule=tiny_data(folder / "m.parquet"),
        ckpt_path=folder / "a.ckpt",
        weights_only=True,
        verbose=False,
    )
    np.testing.assert_allclose(again.scores["validation"].logits_NL, shown, atol=1e-5)
    save_bundle(folder / "bundle", model, cleaner=NoCleaner(), max_length=32, card="", version="0")
    texts = ["water near the bridge", "fire"]
    bundle = load(folder / "bundle")
    assert not bundle.predictor.encoder.torch_compile
    again.eval()
    for text, logits_L in zip(texts, bundle.predict(texts).logits, strict=True):
        ids = torch.tensor([again.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            np.testing.assert_allclose(again(ids, torch.ones_like(ids))[0], logits_L, atol=1e-5)


@pytest.mark.slow
def test_without_a_compiler_the_option_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    model = tiny_classifier(folder / "encoder", encoder={"torch_compile": True})
    model.build()
    ids = torch.tensor([[0, 9, 8, 2], [0, 7, 8, 2]])
    with pytest.raises(ConfigError, match=r"could not be compiled .*C\+\+ compiler.*torch_compile to false"):
        model(ids, torch.ones_like(ids))


def test_what_cannot_be_combined_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"torch_compile beside gradient_checkpointing.*Choose one"):
        tiny_classifier(tmp_path / "e", encoder={"torch_compile": True, "gradient_checkpointing": True})


def test_several_processes_are_refused(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder", encoder={"torch_compile": True})
    message_file(tmp_path / "m.parquet")
    trainer = quiet_trainer(tmp_path, max_steps=1, max_epochs=-1)
    trainer.strategy.__class__ = type("Two", (type(trainer.strategy),), {"world_size": property(lambda _: 2)})
    with pytest.raises(ConfigError, match=r"torch_compile with 2 processes.*trainer.devices to 1"):
        trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))


def test_asking_for_it_leaves_names_and_weights_alone(tmp_path: Path) -> None:
    models = [tiny_classifier(tmp_path / "e", encoder={"torch_compile": on}) for on in (False, True)]
    for model in models:
        model.encoder.load()
    plain, compiled = (model.encoder.pretrained_state() for model in models)
    assert plain.keys() == compiled.keys()
    assert all(torch.equal(value, compiled[name]) for name, value in plain.items())
    assert models[0].encoder.digest == models[1].encoder.digest
