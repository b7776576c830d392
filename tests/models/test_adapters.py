"""LoRA: what is trained and saved, and that merging changes no prediction."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import message_file, messages, quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tests.models.test_training_options import assert_resumes_bit_equal
from tocsin.errors import ConfigError
from tocsin.models.adapters import Lora, merged_state
from tocsin.training.checkpoints import AtomicCheckpointIO

peft = pytest.importorskip("peft")

# peft still asks transformers by the old name when it wraps a model itself.
# https://github.com/huggingface/peft/blob/main/src/peft/peft_model.py
PEFT_ASKS = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

TEXTS = [str(row["text"]) for row in messages(30)]


def trained(folder: Path, head: str = "linear", *, lora: Lora | None = None, **options: Any) -> Any:
    """A classifier after one epoch, and its bundle in `folder`/bundle."""
    from tocsin.bundles.callback import BundleWriter

    message_file(folder / "m.parquet")
    encoder = {"lora": lora, **options.pop("encoder", {})}
    model = tiny_classifier(folder / "encoder", head, encoder=encoder, **options)
    quiet_trainer(folder, max_epochs=1, callbacks=[BundleWriter(str(folder / "bundle"))]).fit(
        model, datamodule=tiny_data(folder / "m.parquet")
    )
    return model


def logits_of(model: Any, texts: list[str]) -> np.ndarray:
    """What the classifier itself gives, one text at a time."""
    model.eval()
    rows = []
    for text in texts:
        ids = torch.tensor([model.tokenizer(text, truncation=True, max_length=32)["input_ids"]])
        with torch.no_grad():
            rows.append(model(ids, torch.ones_like(ids))[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "distilbert"])
@pytest.mark.parametrize("head", ["linear", "native"])
@pytest.mark.parametrize("lora", [Lora(rank=4), None], ids=["lora", "full"])
def test_predictions_are_equal_before_and_after_the_bundle_is_merged(
    tmp_path: Path, kind: str, head: str, lora: Lora | None
) -> None:
    from tocsin import load

    tiny_encoder(tmp_path / "encoder", kind)
    model = trained(tmp_path, head, lora=lora)
    # Adapters that did nothing would make the comparison pass for nothing.
    source = tiny_classifier(tmp_path / "encoder", head)
    source.build()
    before, after = source.encoder.pretrained_state(), model.encoder.pretrained_state()
    assert before.keys() == after.keys()
    assert max(float((after[name] - value).abs().max()) for name, value in before.items()) > 1e-3
    bundle = load(tmp_path / "bundle")
    assert not any("lora" in name for name, _ in bundle.predictor.encoder.named_parameters())
    given = [bundle.clean(text) for text in TEXTS]
    np.testing.assert_allclose(bundle.predict(TEXTS).logits, logits_of(model, given), atol=1e-5)


# Lightning's own writer made it.
@pytest.mark.filterwarnings("ignore::tocsin.training.checkpoint_files.CheckpointWarning")
def test_adapters_and_head_alone_are_trained_and_saved(tmp_path: Path) -> None:
    model = trained(tmp_path, lora=Lora(rank=4, targets=["query", "value"]))
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in names if not name.startswith("head.")} == {
        f"encoder.model.encoder.layer.{layer}.attention.self.{part}.lora_{side}.default.weight"
        for layer in (0, 1)
        for part in ("query", "value")
        for side in "AB"
    }
    model.trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert saved.keys() == names
    again = tiny_classifier(tmp_path / "encoder", encoder={"lora": Lora(rank=4, targets=["query", "value"])})
    quiet_trainer(tmp_path, plugins=[AtomicCheckpointIO()]).test(
        again,
        datamodule=tiny_data(tmp_path / "m.parquet"),
        ckpt_path=tmp_path / "a.ckpt",
        weights_only=True,
        verbose=False,
    )
    np.testing.assert_array_equal(logits_of(again, TEXTS), logits_of(model, TEXTS))


def test_fresh_adapters_change_nothing(tmp_path: Path) -> None:
    plain = tiny_classifier(tmp_path / "encoder", dropout=0.0)
    adapted = tiny_classifier(tmp_path / "encoder", dropout=0.0, encoder={"lora": Lora()})
    for model in (plain, adapted):
        torch.manual_seed(0)
        model.encoder.load()
        torch.manual_seed(0)
        model.build()
    np.testing.assert_allclose(logits_of(adapted, TEXTS), logits_of(plain, TEXTS), atol=1e-6)
    for name, value in adapted.encoder.pretrained_state().items():
        assert torch.equal(value, plain.encoder.pretrained_state()[name])


@PEFT_ASKS
def test_merging_equals_pefts_own(tmp_path: Path) -> None:
    from transformers import AutoModel

    settings = Lora(rank=3, alpha=7.0)
    model = tiny_classifier(tmp_path / "encoder", encoder={"lora": settings})
    model.build()
    with torch.no_grad():
        for name, parameter in model.encoder.named_parameters():
            if ".lora_" in name:
                parameter.normal_()
    mine = merged_state(model.encoder.model)
    plain = AutoModel.from_pretrained(tmp_path / "encoder", add_pooling_layer=False)
    configuration = peft.LoraConfig(
        r=3, lora_alpha=7, target_modules=["query", "key", "value", "dense"], bias="none"
    )
    wrapped = peft.get_peft_model(plain, configuration)
    state = {f"base_model.model.{n}": v for n, v in model.encoder.model.state_dict().items() if ".lora_" in n}
    assert not wrapped.load_state_dict(state, strict=False).unexpected_keys
    other = wrapped.merge_and_unload().state_dict()
    assert mine.keys() == other.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, other[name], atol=1e-6, rtol=1e-6)


@PEFT_ASKS
@pytest.mark.parametrize("targets", [None, ["attention.self.query"]])
def test_adapters_kept_in_the_bundle_load_with_peft(tmp_path: Path, targets: list[str] | None) -> None:
    from transformers import AutoModel

    model = trained(tmp_path, lora=Lora(rank=2, dropout=0.1, targets=targets, keep=True))
    plain = AutoModel.from_pretrained(tmp_path / "encoder", add_pooling_layer=False)
    wrapped = peft.PeftModel.from_pretrained(plain, tmp_path / "bundle" / "adapters")
    ids = torch.tensor([[0, 9, 11, 2]])
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state,
            model.encoder(ids, torch.ones_like(ids)),
            atol=1e-6,
            rtol=1e-5,
        )


def test_no_adapters_lie_in_the_bundle_unless_asked_for(tmp_path: Path) -> None:
    trained(tmp_path, lora=Lora())
    assert not (tmp_path / "bundle" / "adapters").exists()


def test_a_fit_with_adapters_average_and_layer_rates_resumes_bit_equal(tmp_path: Path) -> None:
    assert_resumes_bit_equal(tmp_path, {"lora": Lora(rank=2)}, ema_decay=0.9, layer_decay=0.9)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_adapters_learn_under_reduced_precision_and_recomputed_activations(
    tmp_path: Path, precision: str
) -> None:
    model = tiny_classifier(
        tmp_path / "encoder", encoder={"lora": Lora(rank=2), "gradient_checkpointing": True}
    )
    quiet_trainer(tmp_path, precision=precision, max_epochs=1).fit(
        model, datamodule=tiny_data(tmp_path / "m.parquet")
    )
    second = [p for name, p in model.named_parameters() if ".lora_B" in name]
    assert second
    assert all(float(p.detach().abs().max()) > 0 for p in second)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lora(rank=0), "lora.rank is 0"),
        (lambda: Lora(alpha=0.0), "lora.alpha is 0.0"),
        (lambda: Lora(dropout=1.0), "lora.dropout is 1.0"),
        (lambda: Lora(targets=[]), "lora.targets is empty"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_target_that_is_no_linear_layer_is_refused_with_those_there_are(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder", encoder={"lora": Lora(targets=["q_lin"])})
    with pytest.raises(ConfigError, match=r"'q_lin'.*there are: dense, key, query, value"):
        model.build()


def test_freezing_beside_adapters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="freeze is embeddings beside lora"):
        tiny_classifier(tmp_path / "encoder", encoder={"lora": Lora(), "freeze": "embeddings"})


def test_without_peft_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    model = tiny_classifier(tmp_path / "encoder", encoder={"lora": Lora()})
    with pytest.raises(ConfigError, match=r"tocsin\[lora\]"):
        model.build()


def test_a_config_names_adapters_as_plain_values(tmp_path: Path) -> None:
    from tests.cli.configs import CONFIG, write_config
    from tocsin.cli.parser import Config
    from tocsin.plugins.manager import load_plugins

    text = CONFIG.replace("{name: encoder}", "{name: encoder, lora: {rank: 4, targets: [query]}}")
    call = Config(
        "fit", ["--config", str(write_config(tmp_path, text))], load_plugins({"TOCSIN_PLUGINS": "off"})
    )
    given = call.config.model.init_args.encoder.init_args.lora
    assert (given.rank, given.alpha, given.targets, given.keep) == (4, 16.0, ["query"], False)
