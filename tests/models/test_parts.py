"""Poolings, heads, losses, schedules, cut vocabularies, probes and frozen features, each against a reference."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import quiet_trainer, tiny_classifier, tiny_data, tiny_encoder, tiny_tokenizer
from tocsin.errors import ConfigError
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.heads import LinearHead
from tocsin.models.losses import BinaryCrossEntropy
from tocsin.models.native_head import LAYOUTS, NativeHead
from tocsin.models.optimizers import AdamW, parameter_groups
from tocsin.models.pooling import ClsPooling, MeanPooling
from tocsin.models.probe import fit_probe
from tocsin.models.schedules import Constant, CosineWithWarmup, LinearWithWarmup
from tocsin.models.vocabulary import cut_pieces, kept_pieces


def test_mean_pooling_is_the_mean_of_real_tokens() -> None:
    hidden = torch.arange(12.0).view(1, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0]])
    torch.testing.assert_close(MeanPooling()(hidden, mask), hidden[:, :2].mean(1))
    assert MeanPooling()(hidden, torch.zeros(1, 4, dtype=torch.long)).abs().max() == 0


def test_cls_pooling_is_the_first_state() -> None:
    hidden = torch.randn(2, 3, 4)
    assert torch.equal(ClsPooling()(hidden, torch.ones(2, 3)), hidden[:, 0])


@pytest.mark.parametrize("weight", [None, 3.0])
def test_loss_is_torchs_over_known_labels(weight: float | None) -> None:
    logits, targets = torch.randn(5, 4), torch.randint(0, 2, (5, 4)).float()
    known = torch.randint(0, 2, (5, 4)).float()
    loss = BinaryCrossEntropy(weight)
    loss.prepare(np.where(known.numpy() > 0, targets.numpy(), np.nan))
    logits[known == 0] = float("inf")  # what stands under a null must not reach the sum
    total, count = loss(logits, targets, known)
    factor = None if weight is None else torch.full((4,), weight)
    every = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=factor, reduction="none"
    )
    torch.testing.assert_close(total, every[known == 1].sum())
    assert count == known.sum()


def test_automatic_pos_weight_is_negatives_over_positives_within_bounds() -> None:
    targets = np.array([[1, 0, np.nan], [0, 0, 1], [0, 0, 1], [0, 0, np.nan]], dtype=np.float32)
    loss = BinaryCrossEntropy("auto", max_pos_weight=50.0)
    loss.prepare(targets)
    torch.testing.assert_close(loss.pos_weight_L, torch.tensor([3.0, 1.0, 1 / 50.0]))


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_pos_weight_must_be_positive(bad: float) -> None:
    with pytest.raises(ConfigError, match="pos_weight"):
        BinaryCrossEntropy(bad)


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


# Native heads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
@pytest.mark.parametrize("pooler", [False, True])
def test_native_head_is_transformers_own(tmp_path: Path, kind: str, pooler: bool) -> None:
    """Same weights, same logits as `AutoModelForSequenceClassification`, and BERT keeps its trained pooler."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = tiny_encoder(tmp_path / "encoder", kind, pooler=pooler)
    encoder = TransformerEncoder(str(folder))
    encoder.load()
    head = NativeHead()
    head.build(encoder.config, 5, encoder.pooler)
    assert (encoder.pooler is not None) == (kind != "distilbert" and pooler)
    if kind == "bert" and encoder.pooler is not None:
        assert torch.equal(head.dense.weight, encoder.pooler["dense.weight"])
    config = AutoConfig.from_pretrained(folder, num_labels=5)
    peer = AutoModelForSequenceClassification.from_config(config)
    layout = LAYOUTS[kind]
    state = {
        layout.encoder_prefix + k: v for k, v in encoder.pretrained_state().items()
    } | head.native_state()
    result = peer.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all("position_ids" in key or "token_type_ids" in key for key in result.missing_keys)
    assert config.architectures is None or layout.architecture == type(peer).__name__
    ids, mask = torch.tensor([[0, 9, 8, 2], [0, 7, 2, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    for module in (encoder, head, peer):
        module.eval()
    torch.testing.assert_close(
        head(encoder(ids, mask), mask, None), peer(input_ids=ids, attention_mask=mask).logits
    )


def test_native_head_refuses_other_architectures() -> None:
    from transformers import GPT2Config

    with pytest.raises(ConfigError, match="gpt2"):
        NativeHead().build(GPT2Config(), 2)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_probe_start_leaves_the_probes_logits(tmp_path: Path, kind: str) -> None:
    encoder = TransformerEncoder(str(tiny_encoder(tmp_path / "encoder", kind)))
    encoder.load()
    head = NativeHead()
    head.build(encoder.config, 3, None)
    head.open_for_probe()
    features = torch.randn(20, 16)
    weight, bias = torch.randn(3, 16), torch.randn(3)
    head.set_output(weight, bias)
    head.eval()
    activation = torch.tanh(features * head.identity_scale) if kind == "bert" else features.relu()
    torch.testing.assert_close(head.classify(features), activation @ weight.T + bias)


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


@pytest.mark.parametrize("head", ["linear", "native"])
def test_frozen_encoder_runs_once_and_gives_the_same_fit(tmp_path: Path, head: str) -> None:
    tiny_encoder(tmp_path / "encoder")
    calls = 0

    def fit(cached: bool) -> Any:
        nonlocal calls
        torch.manual_seed(0)
        model = tiny_classifier(tmp_path / "encoder", head, dropout=0.0, encoder={"freeze": "all"})
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


@pytest.mark.parametrize("labels", [1, 500])
@pytest.mark.parametrize("head", [LinearHead, NativeHead])
def test_heads_take_one_row_many_labels_and_all_nulls(labels: int, head: type[Any]) -> None:
    from transformers import BertConfig

    made = head()
    made.build(BertConfig(hidden_size=16, num_attention_heads=2), labels)
    hidden, mask = torch.randn(1, 3, 16, requires_grad=True), torch.ones(1, 3)
    logits = made(hidden, mask, hidden.mean(1))
    assert logits.shape == (1, labels)
    total, weight = BinaryCrossEntropy()(logits, torch.zeros(1, labels), torch.zeros(1, labels))
    total.backward()
    assert weight == 0
    assert total == 0
    assert torch.isfinite(hidden.grad).all()
