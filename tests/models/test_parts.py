"""Schedules, parameter groups, cut vocabularies, probes and frozen features, each against a reference."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import quiet_trainer, tiny_classifier, tiny_data, tiny_encoder, tiny_tokenizer
from tocsin.errors import CheckpointError, ConfigError
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.frozen import network_key
from tocsin.models.heads import LinearHead, MlpHead
from tocsin.models.losses import BinaryCrossEntropy
from tocsin.models.native_head import NativeHead
from tocsin.models.optimizers import AdamW, parameter_groups
from tocsin.models.pooling import AttentionPooling, MeanPooling
from tocsin.models.probe import fit_probe
from tocsin.models.schedules import Constant, CosineWithWarmup, LinearWithWarmup
from tocsin.models.vocabulary import cut_pieces, kept_pieces


def test_schedules_rise_and_fall() -> None:
    linear, cosine = LinearWithWarmup(0.1), CosineWithWarmup(0.0)
    assert [linear.factor(step, 20) for step in (0, 1)] == [0.5, 1.0]
    assert linear.factor(2, 20) == 1.0
    assert linear.factor(11, 20) == pytest.approx(0.5)
    assert linear.factor(20, 20) == 0.0
    assert cosine.factor(0, 10) == 1.0
    assert cosine.factor(5, 10) == pytest.approx(0.5)
    assert cosine.factor(99, 10) == pytest.approx(0.0)
    assert Constant().factor(7, 10) == 1.0


def test_biases_norms_and_embeddings_are_not_decayed(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    model.build()
    groups = parameter_groups(model, 0.1, model.encoder.embedding_parameters())
    names = {id(p): n for n, p in model.named_parameters()}
    decayed = {names[id(p)] for p in groups[0]["params"]}
    spared = {names[id(p)] for p in groups[1]["params"]}
    assert groups[1]["weight_decay"] == 0.0
    assert "head.linear.weight" in decayed
    assert all(
        not n.endswith("bias") and "LayerNorm" not in n and "word_embeddings" not in n for n in decayed
    )
    assert any("word_embeddings" in n for n in spared)
    assert decayed | spared == {n for n, p in model.named_parameters() if p.requires_grad}
    assert isinstance(AdamW().build(groups, scaled_gradients=True), torch.optim.AdamW)


# Probe ---------------------------------------------------------------------------------------------------------------


def test_probe_is_scikit_learns_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(1)
    features = (
        generator.normal(size=(300, 6)).astype(np.float32) * np.array([1, 5, 0.1, 2, 1, 1], dtype=np.float32)
        + 3
    )
    targets = (features @ generator.normal(size=(6, 2)) + generator.normal(size=(300, 2)) > 4).astype(
        np.float32
    )
    known = (generator.random((300, 2)) > 0.2).astype(np.float32)
    weight, bias = fit_probe(
        torch.from_numpy(features),
        torch.from_numpy(targets * known),
        torch.from_numpy(known),
        BinaryCrossEntropy(),
        l2=4.0,
    )
    scaled = StandardScaler().fit_transform(features)
    for label in range(2):
        rows = known[:, label] == 1
        peer = LogisticRegression(C=0.25, max_iter=1000, tol=1e-8).fit(scaled[rows], targets[rows, label])
        mine = features @ weight[label].numpy() + bias[label].numpy()
        np.testing.assert_allclose(mine, peer.decision_function(scaled), atol=5e-3)


# Frozen --------------------------------------------------------------------------------------------------------------


class _Nothing:
    """Features that are never there, so that the encoder runs each time."""

    def compute(self, split: str) -> None: ...

    def of(self, part: Any, split: str) -> None: ...


@pytest.mark.parametrize("head", ["linear", "native", "mlp"])
def test_frozen_encoder_runs_once_and_gives_the_same_fit(tmp_path: Path, head: str) -> None:
    tiny_encoder(tmp_path / "encoder")
    calls = 0

    def fit(cached: bool) -> Any:
        nonlocal calls
        torch.manual_seed(0)
        made = MlpHead(8, dropout=0.0) if head == "mlp" else head
        model = tiny_classifier(tmp_path / "encoder", made, dropout=0.0, encoder={"freeze": "all"})
        model.build()
        calls = 0
        forward = model.encoder.forward

        def counted(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            return forward(*arguments)

        model.encoder.forward = counted
        if not cached:
            model._frozen_features = lambda data: _Nothing()
        quiet_trainer(tmp_path, max_epochs=3).fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
        return model

    with_cache = fit(True)
    once = calls
    without = fit(False)
    assert once < calls / 2
    for (name, mine), other in zip(
        with_cache.head.named_parameters(), without.head.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4, msg=name)
    fit(True)
    assert calls == 0  # the vectors came from the cache


def test_cached_vectors_miss_when_the_encoder_differs(tmp_path: Path) -> None:
    digests = []
    for seed in (0, 1):
        encoder = TransformerEncoder(str(tiny_encoder(tmp_path / str(seed), seed=seed)))
        encoder.load()
        digests.append(encoder.digest)
    prompted = TransformerEncoder(str(tmp_path / "0"), prompt="x: ")
    prompted.load()
    assert len({*digests, prompted.digest}) == 3


def test_cached_vectors_miss_when_what_the_head_reads_or_the_pooling_learned_differs(tmp_path: Path) -> None:
    keys = []
    for kind in ("modernbert", "modernbert-mean"):  # equal weights; only config.json differs
        encoder = TransformerEncoder(str(tiny_encoder(tmp_path / kind, kind)))
        encoder.load()
        head = NativeHead()
        head.build(encoder.config, 2)
        keys.append(network_key(encoder, None, head))
    pooling = AttentionPooling()
    pooling.build(encoder.config)
    keys.append(network_key(encoder, pooling, LinearHead()))
    with torch.no_grad():
        pooling.query_D.add_(1.0)
    keys.append(network_key(encoder, pooling, LinearHead()))
    assert len(set(keys)) == 4


def test_a_pooling_that_learns_is_trained_over_a_frozen_encoder_too(tmp_path: Path) -> None:
    """Its features differ after each step, so they are not kept; a probe starts from them all the same."""
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(
        tmp_path / "encoder",
        dropout=0.0,
        encoder={"freeze": "all"},
        pooling=AttentionPooling(),
        start_from_probe=True,
    )
    data = tiny_data(tmp_path / "m.parquet")
    trainer = quiet_trainer(tmp_path)
    trainer.fit(model, datamodule=data)
    assert model.pooling.query_D.abs().max() > 0
    trainer.save_checkpoint(tmp_path / "saved.ckpt")

    def resume(pooling: Any) -> Any:
        again = tiny_classifier(tmp_path / "encoder", dropout=0.0, encoder={"freeze": "all"}, pooling=pooling)
        quiet_trainer(tmp_path).fit(again, datamodule=data, ckpt_path=tmp_path / "saved.ckpt")
        return again

    assert torch.equal(resume(AttentionPooling()).pooling.query_D, model.pooling.query_D)
    with pytest.raises(CheckpointError, match="the pooling AttentionPooling; this model has MeanPooling"):
        resume(MeanPooling())


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_an_mlp_starts_from_a_probe(tmp_path: Path, activation: Any) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(
        tmp_path / "encoder", MlpHead(24, activation), optimizer=AdamW(lr=1e-9), start_from_probe=True
    )
    data = tiny_data(tmp_path / "m.parquet")
    quiet_trainer(tmp_path, max_epochs=1).fit(model, datamodule=data)
    prior = data.prior()
    constant = -np.mean([p * np.log(p) + (1 - p) * np.log(1 - p) for p in prior])
    rows = data.rows("train")
    targets = data.targets(rows)
    model.eval()
    losses = []
    with torch.no_grad():
        for part in data.passes(rows):
            logits = model(part.input_ids_BT, part.mask_BT)
            losses.append(torch.stack(model.loss(logits, part.targets_BL, part.known_BL)))
    total, weight = torch.stack(losses).sum(0).tolist()
    assert weight == np.count_nonzero(~np.isnan(targets))
    assert total / weight < 0.9 * constant  # without a step that moves anything


# Encoders ------------------------------------------------------------------------------------------------------------


def test_layers_and_pieces_are_cut(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "encoder", layers=3)
    whole = TransformerEncoder(str(folder))
    cut = TransformerEncoder(str(folder), keep_layers=[0, 2], keep_pieces=40)
    for encoder in (whole, cut):
        encoder.load()
        encoder.eval()
    assert cut.config.num_hidden_layers == 2
    assert cut.config.vocab_size == len(cut.tokenizer) == 40
    ids = cut.tokenizer("water flood", return_tensors="pt")["input_ids"]
    old = whole.tokenizer("water flood", return_tensors="pt")["input_ids"]
    assert cut.tokenizer.convert_ids_to_tokens(ids[0].tolist()) == whole.tokenizer.convert_ids_to_tokens(
        old[0].tolist()
    )
    embedded = cut.model.get_input_embeddings()(ids)
    torch.testing.assert_close(embedded, whole.model.get_input_embeddings()(old))
    assert cut(ids, torch.ones_like(ids)).shape == (1, ids.shape[1], 16)


def test_special_ids_stay_at_their_places_when_pieces_are_cut(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    specification = tokenizer.backend_tokenizer.to_str()
    kept = kept_pieces(specification, 30)
    assert kept[:4] == [0, 1, 2, 3]
    assert len(kept) == 30
    assert kept[-1] == tokenizer.mask_token_id
    cut = json.loads(cut_pieces(specification, kept))
    scores = [score for _, score in cut["model"]["vocab"][4:]]
    dropped = [s for i, (_, s) in enumerate(json.loads(specification)["model"]["vocab"]) if i not in kept]
    assert min(scores) >= max(dropped)
    assert {t["content"]: t["id"] for t in cut["added_tokens"]}["<mask>"] == 29


def test_cutting_needs_a_unigram_tokenizer_and_room(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only Unigram"):
        kept_pieces(tiny_tokenizer(tmp_path, "words").backend_tokenizer.to_str(), 10)
    with pytest.raises(ConfigError, match="give more"):
        kept_pieces(tiny_tokenizer(tmp_path).backend_tokenizer.to_str(), 3)


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [("none", {"embeddings", "0", "1"}), ("embeddings", {"0", "1"}), (1, {"1"}), ("all", set())],
)
def test_freeze(tmp_path: Path, freeze: Any, trained: set[str]) -> None:
    encoder = TransformerEncoder(str(tiny_encoder(tmp_path / "encoder")), freeze=freeze)
    encoder.load()
    found = {
        "embeddings" if name.startswith("model.embeddings") else name.split(".")[3]
        for name, p in encoder.named_parameters()
        if p.requires_grad
    }
    assert found == trained
    encoder.train()
    assert encoder.model.training == (freeze != "all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": 0}, "freeze is 0"),
        ({"freeze": 9}, "has 2 layers"),
        ({"keep_layers": [1, 0]}, "rising layer numbers"),
        ({"keep_layers": [5]}, "layers 0 to 1"),
    ],
)
def test_encoder_settings_that_cannot_be_meant(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TransformerEncoder(str(tiny_encoder(tmp_path / "encoder")), **options).load()


def test_a_folder_that_is_not_there_names_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing could be read"):
        TransformerEncoder(str(tmp_path / "nowhere")).load()


def test_missing_weights_are_refused_not_invented(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tiny_encoder(tmp_path / "encoder") / "model.safetensors"
    state = load_file(path)
    state.pop(next(key for key in state if "layer.1" in key))
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="lacks 1 weights"):
        TransformerEncoder(str(tmp_path / "encoder")).load()


def test_stored_dtype_does_not_leak(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_encoder(tmp_path / "encoder")
    state = {k: v.bfloat16() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    encoder = TransformerEncoder(str(folder))
    encoder.load()
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_components_remember_their_arguments() -> None:
    assert LinearHead(0.3).arguments == {"dropout": 0.3}
    assert NativeHead().arguments == {"dropout": None, "identity_scale": 0.1}
    assert MeanPooling().arguments == {}
    assert TransformerEncoder("x", freeze=2).arguments["freeze"] == 2
