"""Encoders that are no bundle: what a sentence-transformers folder says is done, and what cannot be done is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.builders import tiny_encoder
from tocsin.bundles.sentences import SentenceModel, open_encoder
from tocsin.errors import ConfigError
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.pooling import AttentionPooling

TEXTS = ["water near the bridge", "Agua", "food " * 90]


class _Registry:
    """Knows one encoder by name."""

    def __init__(self, folder: Path) -> None:
        class Tiny(TransformerEncoder):
            """An encoder without arguments."""

            def __init__(self) -> None:
                super().__init__(str(folder), prompt="rain ")

        self.tiny = Tiny

    def components(self, role: str) -> dict[str, type]:
        assert role == "encoder"
        return {"Tiny": self.tiny, "TransformerEncoder": TransformerEncoder}

    def unknown(self, role: str, name: str) -> str:
        return f"No {role} is called {name!r}."


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("plain") / "encoder")


def states(folder: Path, text: str, length: int = 64) -> np.ndarray:
    """Token states (T, D) by transformers alone."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(
        text, truncation=True, max_length=length, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(
            **{k: tokens[k] for k in ("input_ids", "attention_mask")}
        )
    return hidden.last_hidden_state[0].numpy()


def sentence_folder(
    plain: Path,
    folder: Path,
    *,
    pooling: dict[str, Any],
    kinds: tuple[str, ...] = ("Transformer", "Pooling"),
    limits: dict[str, Any] | None = None,
    prompts: dict[str, Any] | None = None,
) -> Path:
    folder.mkdir()
    for path in plain.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if limits is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps(limits))
    if prompts is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def test_a_plain_folder_and_a_name_are_pooled_by_the_mean(plain: Path) -> None:
    registry = _Registry(plain)
    for name, prompt in ((str(plain), ""), ("Tiny", "rain ")):
        found = open_encoder(name, registry).encode(TEXTS)
        assert found.dtype == np.float32
        for vector, text in zip(found, TEXTS, strict=True):
            np.testing.assert_allclose(vector, states(plain, prompt + text, 72).mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "reduced"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, lambda s: s.mean(axis=0)),
        ({"pooling_mode_cls_token": True}, lambda s: s[0]),
        ({"pooling_mode": "max"}, lambda s: s.max(axis=0)),
        ({"pooling_mode": ["mean"], "include_prompt": True}, lambda s: s.mean(axis=0)),
    ],
)
def test_what_the_folder_says_is_done(
    plain: Path, tmp_path: Path, pooling: dict[str, Any], reduced: Any
) -> None:
    folder = sentence_folder(
        plain,
        tmp_path / "st",
        pooling=pooling,
        kinds=("Transformer", "Pooling", "Normalize"),
        limits={"max_seq_length": 12, "do_lower_case": True},
        prompts={"prompts": {"query": "rain "}, "default_prompt_name": "query"},
    )
    found = open_encoder(str(folder), _Registry(plain)).encode(TEXTS)
    for vector, text in zip(found, TEXTS, strict=True):
        wanted = reduced(states(plain, "rain " + text.lower(), 12))
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": {}, "kinds": ("Transformer", "Pooling", "LSTM")}, "module 2 of .* is LSTM"),
        ({"pooling": {"pooling_mode": "lasttoken"}}, "pools by lasttoken"),
        ({"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}}, "mean, max"),
        (
            {
                "pooling": {"pooling_mode": "mean", "include_prompt": False},
                "prompts": {"prompts": {"q": "rain "}, "default_prompt_name": "q"},
            },
            "leaves the prompt 'rain ' out of its pooling",
        ),
        ({"pooling": {}, "limits": {"max_seq_length": 5000}}, "max_length is 5000; 1 to 72"),
    ],
)
def test_what_cannot_be_done_is_refused(
    plain: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    folder = sentence_folder(plain, tmp_path / "st", **options)
    with pytest.raises(ConfigError, match=message):
        open_encoder(str(folder), _Registry(plain))


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("content", ["{", '"text"'])
def test_a_folder_that_cannot_be_read(plain: Path, tmp_path: Path, name: str, content: str) -> None:
    folder = sentence_folder(plain, tmp_path / "st", pooling={})
    (folder / name).write_text(content)
    with pytest.raises(ConfigError, match=name):
        open_encoder(str(folder), _Registry(plain))


def test_names_that_nobody_has(plain: Path) -> None:
    with pytest.raises(ConfigError, match="No encoder is called 'Tinny'"):
        open_encoder("Tinny", _Registry(plain))
    with pytest.raises(ConfigError, match="TransformerEncoder wants arguments"):
        open_encoder("TransformerEncoder", _Registry(plain))


def test_what_follows_the_pooling_is_done(plain: Path, tmp_path: Path) -> None:
    folder = sentence_folder(
        plain, tmp_path / "st", pooling={}, kinds=("Transformer", "Pooling", "Dense", "Normalize")
    )
    (folder / "2_Dense").mkdir()
    generator = torch.Generator().manual_seed(0)
    layer = {
        "linear.weight": torch.randn(5, 16, generator=generator),
        "linear.bias": torch.randn(5, generator=generator),
    }
    save_file(layer, folder / "2_Dense" / "model.safetensors")
    config = {
        "in_features": 16,
        "out_features": 5,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    model = open_encoder(str(folder), _Registry(plain))
    weight, bias = (layer[f"linear.{name}"].numpy() for name in ("weight", "bias"))
    for vector, text in zip(model.encode(TEXTS), TEXTS, strict=True):
        wanted = np.tanh(weight @ states(plain, text, 64).mean(axis=0) + bias)  # its tokenizer's length
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)
    assert model.encode([]).shape == (0, 5)


def test_a_pooling_that_is_learnt_says_nothing_untrained(plain: Path) -> None:
    with pytest.raises(ConfigError, match="AttentionPooling has weights of its own"):
        SentenceModel(TransformerEncoder(str(plain)), AttentionPooling())
