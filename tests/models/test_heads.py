"""Heads against transformers' own classifiers, matrix products and finite differences.

Axes: B messages, T tokens, D width, H hidden, L labels.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.builders import tiny_encoder
from tocsin.errors import ConfigError
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.heads import FeatureHead, LinearHead, MlpHead
from tocsin.models.losses import BinaryCrossEntropy
from tocsin.models.native_head import LAYOUTS, NativeHead
from tocsin.plugins.testing import check_head

WITH_POOLER = ("bert", "roberta", "xlm-roberta")


def _config(kind: str = "bert", **options: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, **options)


def _stirred(head: FeatureHead, config: Any, labels: int) -> FeatureHead:
    head.build(config, labels)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return head.eval()


HEADS: dict[str, tuple[type[FeatureHead], dict[str, Any], dict[str, Any]]] = {
    "linear": (LinearHead, {}, {}),
    "mlp": (MlpHead, {}, {}),
    "mlp narrow": (MlpHead, {"hidden": 5, "activation": "tanh"}, {}),
    "mlp wide": (MlpHead, {"hidden": 40, "activation": "relu"}, {}),
    "bert": (NativeHead, {}, {"kind": "bert"}),
    "roberta": (NativeHead, {}, {"kind": "roberta"}),
    "deberta-v2": (NativeHead, {}, {"kind": "deberta-v2"}),
    "modernbert": (NativeHead, {}, {"kind": "modernbert", "norm_bias": True, "classifier_bias": True}),
    "modernbert mean": (NativeHead, {}, {"kind": "modernbert", "classifier_pooling": "mean"}),
}
every_head = pytest.mark.parametrize("name", sorted(HEADS))


def _head(name: str, labels: int) -> FeatureHead:
    kind, options, config = HEADS[name]
    return _stirred(kind(**options), _config(**config), labels)


# Every head -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LinearHead, {}),
        (MlpHead, {}),
        (MlpHead, {"hidden": 5, "activation": "relu"}),
        (MlpHead, {"hidden": 40, "activation": "tanh"}),
        (NativeHead, {}),
    ],
)
def test_it_conforms(kind: type[FeatureHead], options: dict[str, Any]) -> None:
    check_head(kind, **options)


@every_head
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    head = _head(name, 3).double()
    # Away from ReLU's kink at 0, which no finite difference may cross.
    hidden_BTD = torch.randn(2, 3, 16, dtype=torch.float64) + 0.05
    mask_BT = torch.tensor([[1, 1, 1], [1, 1, 0]])

    def scored(states_BTD: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(head.named_parameters()), weights, strict=True))
        return torch.func.functional_call(head, named, (states_BTD, mask_BT, states_BTD.mean(1)))

    leaves = [hidden_BTD, *(p.detach().clone() for p in head.parameters())]
    assert torch.autograd.gradcheck(scored, [leaf.requires_grad_() for leaf in leaves], fast_mode=True)


@every_head
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_row_500_labels_and_all_null(name: str, dtype: torch.dtype) -> None:
    head = _head(name, 500)
    hidden = torch.randn(1, 3, 16)
    mask = torch.ones(1, 3, dtype=torch.long)
    exact = head(hidden, mask, hidden.mean(1))
    leaf = hidden.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = head(leaf, mask, leaf.mean(1))
    assert logits.shape == (1, 500)
    torch.testing.assert_close(
        logits.float(), exact, rtol=0.05, atol=0.1 if dtype == torch.bfloat16 else 1e-5
    )
    total, weight = BinaryCrossEntropy()(logits, torch.zeros(1, 500), torch.zeros(1, 500))
    total.backward()
    assert weight == 0
    assert total == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())
    assert not leaf.grad.any()


# MlpHead --------------------------------------------------------------------------------------------------------------


def test_mlp_is_two_products_with_an_activation_between() -> None:
    head = _stirred(MlpHead(hidden=7, activation="tanh"), _config(), 3)
    vectors = torch.randn(4, 16)
    state = head.state_dict()
    wanted = torch.tanh(vectors @ state["dense.weight"].T + state["dense.bias"])
    assert head.penultimate(vectors).shape == (4, 7)
    torch.testing.assert_close(
        head.classify(vectors), wanted @ state["linear.weight"].T + state["linear.bias"]
    )
    torch.manual_seed(1)
    head.train()
    assert not torch.equal(head.classify(vectors), head.classify(vectors))  # dropout
    made = MlpHead()
    made.build(_config(), 2)
    assert made.output().in_features == 16


@pytest.mark.parametrize("hidden", [16, 40])
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_a_probe_loses_little_where_the_layer_is_wide_enough(hidden: int, activation: Any) -> None:
    """What comes out of the opened layer still holds the vectors: a linear map brings them back."""
    heads = [MlpHead(hidden, activation) for _ in range(2)]
    vectors = torch.randn(300, 16)
    for seed, head in enumerate(heads):
        torch.manual_seed(seed)
        head.build(_config(), 3)
        torch.manual_seed(seed)
        head.open_for_probe()
    assert torch.equal(heads[0].dense.weight, heads[1].dense.weight)  # every rank begins alike
    seen = heads[0].penultimate(vectors).detach()
    seen = torch.cat([seen, torch.ones(300, 1)], dim=1).double()
    back = seen @ torch.linalg.lstsq(seen, vectors.double(), driver="gelsd").solution
    assert float((back - vectors).abs().mean()) < 0.1  # of 0.8, their mean size


@pytest.mark.parametrize(
    "options", [{"hidden": 0}, {"activation": "swish"}, {"dropout": 1.0}, {"probe_scale": 0.0}]
)
def test_settings_out_of_range_are_named(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"MlpHead: {name} is .*; wanted "):
        MlpHead(**options)


def test_a_vector_head_without_a_vector_says_what_is_missing() -> None:
    head = MlpHead()
    with pytest.raises(ConfigError, match="call build"):
        head.classify(torch.randn(1, 16))
    head.build(_config(), 2)
    with pytest.raises(ConfigError, match="MlpHead reads a pooled vector"):
        head(torch.randn(1, 2, 16), torch.ones(1, 2), None)


# Native heads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*sorted(LAYOUTS), "modernbert-mean"])
@pytest.mark.parametrize("pooler", [False, True])
def test_native_head_is_transformers_own(tmp_path: Path, kind: str, pooler: bool) -> None:
    """Same weights, same logits as `AutoModelForSequenceClassification`, and BERT keeps its trained pooler."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = tiny_encoder(tmp_path / "encoder", kind, pooler=pooler)
    encoder = TransformerEncoder(str(folder))
    encoder.load()
    head = NativeHead()
    head.build(encoder.config, 5, encoder.pooler)
    assert (encoder.pooler is not None) == (kind in WITH_POOLER and pooler)
    if kind == "bert" and encoder.pooler is not None:
        assert torch.equal(head.dense.weight, encoder.pooler["dense.weight"])
    if head.norm is not None:
        with torch.no_grad():  # all ones would hide that they were not carried over
            head.norm.weight.copy_(torch.rand(16))
    config = AutoConfig.from_pretrained(folder, num_labels=5)
    peer = AutoModelForSequenceClassification.from_config(config)
    layout = LAYOUTS[encoder.config.model_type]
    state = {
        layout.encoder_prefix + k: v for k, v in encoder.pretrained_state().items()
    } | head.native_state()
    result = peer.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all("position_ids" in key or "token_type_ids" in key for key in result.missing_keys)
    assert type(peer).__name__ == layout.architecture
    ids, mask = torch.tensor([[0, 9, 8, 2], [0, 7, 2, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    for module in (encoder, head, peer):
        module.eval()
    torch.testing.assert_close(
        head(encoder(ids, mask), mask, None), peer(input_ids=ids, attention_mask=mask).logits
    )
    again = NativeHead()
    again.build(encoder.config, 5)
    again.load_native_state(peer.state_dict())
    assert all(torch.equal(one, again.state_dict()[key]) for key, one in head.state_dict().items())


def test_native_dropout_is_where_transformers_has_it() -> None:
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0}
    for kind, options, before, after in (
        ("bert", rates, 0.0, 0.3),
        ("roberta", rates | {"classifier_dropout": 0.4}, 0.4, 0.4),
        ("deberta-v2", rates | {"pooler_dropout": 0.2}, 0.2, 0.3),
        ("deberta-v2", rates | {"cls_dropout": 0.1}, 0.0, 0.1),
        ("modernbert", {"classifier_dropout": 0.25}, 0.0, 0.25),
    ):
        head = NativeHead()
        head.build(_config(kind, **options), 2)
        assert (head.dropout_before.p, head.dropout.p) == (before, after), kind
        chosen = NativeHead(dropout=0.5)
        chosen.build(_config(kind, **options), 2)
        assert chosen.dropout.p == 0.5
        assert chosen.dropout_before.p == (0.5 if LAYOUTS[kind].dropout_before else 0.0)


def test_modernberts_choice_of_pooling_is_followed() -> None:
    hidden = torch.randn(2, 3, 16)
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    for pooling in ("cls", "mean"):
        head = NativeHead()
        head.build(_config("modernbert", classifier_pooling=pooling), 2)
        assert head.reads == pooling
        features = head.features(hidden.masked_fill(mask.unsqueeze(-1) == 0, float("nan")), mask, None)
        if pooling == "mean":
            torch.testing.assert_close(features[0], hidden[0, :2].mean(0))
            assert not features[1].any()
        else:
            assert torch.equal(features[0], hidden[0, 0])


def test_native_head_refuses_other_architectures() -> None:
    from transformers import GPT2Config

    with pytest.raises(ConfigError, match="gpt2"):
        NativeHead().build(GPT2Config(), 2)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "deberta-v2", "modernbert"])
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
    small = features * head.identity_scale
    activation = {
        "bert": torch.tanh(small),
        "distilbert": features.relu(),
        "deberta-v2": torch.nn.functional.gelu(small),
        "modernbert": torch.nn.functional.layer_norm(torch.nn.functional.gelu(small), (16,)),
    }[kind]
    torch.testing.assert_close(head.classify(features), activation @ weight.T + bias)
