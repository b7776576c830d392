"""sentence-transformers folders as encoders and teachers, without sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.builders import tiny_encoder
from tocsin.errors import ConfigError
from tocsin.models.pooling import ClsPooling, MaxPooling, MeanPooling
from tocsin.models.sentence_encoder import SentenceEncoder
from tocsin.models.teacher import Teacher

TEXTS = ["help flood water", "CASA", "the road is closed " * 9]


def sentence_folder(
    folder: Path,
    *,
    mode: str = "mean_tokens",
    after: tuple[str, ...] = (),
    inner: str = "",
    prompt: str | None = "help ",
    length: int | None = 9,
    pooling: dict[str, Any] | None = None,
    lower: bool = False,
) -> Path:
    """A folder as sentence-transformers writes it."""
    tiny_encoder(folder / inner)
    listed = [(inner, "Transformer"), ("1_Pooling", "Pooling")]
    listed += [(f"{place}_{kind}", kind) for place, kind in enumerate(after, 2)]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(listed)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    switches = {"word_embedding_dimension": 16, "pooling_mode_lasttoken": False, f"pooling_mode_{mode}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or switches))
    if prompt is not None:
        settings = {"prompts": {"query": prompt, "other": "no "}, "default_prompt_name": "query"}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    if length is not None:
        limits = {"max_seq_length": length, "do_lower_case": lower}
        (folder / inner / "sentence_bert_config.json").write_text(json.dumps(limits))
    for path, kind in listed:
        if kind == "Dense":
            (folder / path).mkdir()
            torch.manual_seed(0)
            save_file(
                {"linear.weight": torch.randn(5, 16), "linear.bias": torch.randn(5)},
                folder / path / "model.safetensors",
            )
            config = {"in_features": 16, "out_features": 5, "bias": True,
                      "activation_function": "torch.nn.modules.activation.Tanh"}  # fmt: skip
            (folder / path / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "cls_token", "after": ("Normalize",)},
        {"mode": "max_tokens", "prompt": None, "length": None},
        {"after": ("Dense", "Normalize"), "inner": "0_Transformer"},
        {"pooling": {"embedding_dimension": 16, "pooling_mode": ["mean"], "include_prompt": True}},
        {"pooling": {"embedding_dimension": 16}, "lower": True},
    ],
    ids=[
        "mean",
        "first token, length 1",
        "maximum, nothing said",
        "dense",
        "the newer form",
        "lower case, no mode",
    ],
)
def test_a_teachers_vectors_are_sentence_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = sentence_folder(tmp_path / "folder", **options)
    loaded = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    teacher = Teacher(SentenceEncoder(str(folder)))
    found = teacher.load().vectors(TEXTS, 1000)
    np.testing.assert_allclose(found, loaded.encode(TEXTS, show_progress_bar=False), atol=1e-5)
    assert (
        teacher.width == found.shape[1] == (5 if "after" in options and "Dense" in options["after"] else 16)
    )


def test_what_the_folder_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SentenceEncoder(str(sentence_folder(tmp_path / "a", after=("Dense",))))
    assert (encoder.prompt, encoder.max_length, encoder.width, encoder.vector_width) == ("help ", 9, 16, 5)
    assert isinstance(encoder.own_pooling(), MeanPooling)
    assert SentenceEncoder(str(tmp_path / "a"), prompt="").prompt == ""
    assert Teacher(encoder).max_length == 9
    assert Teacher(encoder, None, 20).max_length == 20
    assert (
        Teacher(encoder, ClsPooling()).width == 16
    )  # another pooling than the folder's: its dense layer is left out
    bare = SentenceEncoder(str(sentence_folder(tmp_path / "b", mode="max_tokens", prompt=None, length=None)))
    assert (bare.prompt, bare.max_length) == ("", 64)  # its tokenizer's
    assert isinstance(bare.own_pooling(), MaxPooling)
    assert Teacher(bare).max_length == 64
    bare.tokenizer.model_max_length = 10**30
    assert Teacher(bare).max_length == bare.max_length == 72  # its positions
    monkeypatch.setattr(SentenceEncoder, "max_tokens", None)
    assert bare.max_length is None
    assert Teacher(bare).max_length == 128


def test_lower_case_is_the_tokenizers_and_so_a_bundles(tmp_path: Path) -> None:
    lower = SentenceEncoder(str(sentence_folder(tmp_path / "a", lower=True)))
    plain = SentenceEncoder(str(sentence_folder(tmp_path / "b")))
    assert lower.tokenizer("CASA")["input_ids"] == plain.tokenizer("casa")["input_ids"]
    assert plain.tokenizer("CASA")["input_ids"] != plain.tokenizer("casa")["input_ids"]
    lower.tokenizer.save_pretrained(tmp_path / "saved")
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved("CASA")["input_ids"] == plain.tokenizer("casa")["input_ids"]


def test_another_pooling_leaves_out_what_follows_the_folders(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "a", after=("Dense",))
    encoder = SentenceEncoder(str(folder))
    vector = Teacher(encoder, ClsPooling()).load().vectors(TEXTS[:1], 100)
    encoder.load()
    encoder.eval()
    ids = encoder.tokenizer("help " + TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        first = encoder(ids["input_ids"], ids["attention_mask"])[:, 0]
    np.testing.assert_allclose(vector, first.numpy(), atol=1e-5)


def spoil(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"after": ("LSTM",)}, None, "module 2 of .* is LSTM; supported there: Dense or Normalize"),
        ({"mode": "lasttoken"}, None, "pools by lasttoken; supported is one of mean, cls, max"),
        ({"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}}, None, "pools by mean, max"),
        ({"pooling": {"pooling_mode_mean_tokens": True, "include_prompt": False}}, None, "leaves the prompt"),
        ({}, ("modules.json", "[]"), "has no modules.json that lists modules"),
        ({}, ("modules.json", "{"), "modules.json of .* cannot be read"),
        ({}, ("modules.json", '"text"'), "modules.json of .* holds a str; a list is wanted"),
        ({}, ("1_Pooling/config.json", "[]"), "1_Pooling/config.json of .* holds a list; a dict is wanted"),
        (
            {},
            ("modules.json", '[{"type": "a.Transformer", "path": ""}, {"type": "os.Pooling", "path": "../../etc"}]'),
            "outside of itself",
        ),
        (
            {"after": ("Dense",)},
            ("2_Dense/config.json", '{"in_features": 16, "out_features": 5, "activation_function": "os.system"}'),
            "has the activation 'system'",
        ),
        (
            {"after": ("Dense",)},
            ("2_Dense/config.json", '{"in_features": 9, "out_features": 5, "activation_function": "a.Tanh"}'),
            "is no linear layer as its config.json says",
        ),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, options: dict[str, Any], change: tuple[str, str] | None, message: str
) -> None:
    folder = sentence_folder(tmp_path / "a", **options)
    if change:
        spoil(folder, *change)
    with pytest.raises(ConfigError, match=message):
        Teacher(SentenceEncoder(str(folder))).load()


def test_pickled_weights_of_a_dense_layer_are_not_read(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "a", after=("Dense",))
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickled weights are not read"):
        Teacher(SentenceEncoder(str(folder))).load()


def test_a_name_that_is_no_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has no modules\.json"):
        SentenceEncoder("nobody/nothing").load()
