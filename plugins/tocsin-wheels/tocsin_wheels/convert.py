"""Writes the packed multilingual-e5-small as an ordinary transformers folder: a BertModel without a pooler.

    config.json              the model type "bert", pad_token_id 1
    model.safetensors        float32
    tokenizer.json           the Unigram tokenizer of XLM-RoBERTa
    tokenizer_config.json    PreTrainedTokenizerFast, 512 tokens at most

The heavy libraries (tokenizers, safetensors) are imported by the functions that need them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tocsin.plugins import DataError
from tocsin_wheels.e5 import PackedModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

__all__ = ["build_normalizer", "build_tokenizer", "model_config", "model_weights", "write_folder"]

SPECIAL_PIECES = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
MASK_PIECE = "<mask>"
METASPACE = "▁"

# A character that no text holds and that NFKC leaves alone: it stands in for one that NFKC would change.
STAND_IN = "\U0010fffd"
FULLWIDTH_TILDE = "～"


def write_folder(packed: PackedModel, folder: Path) -> None:
    """Write the model and its tokenizer as transformers reads them.

    Args:
        packed: What `read_packed` returned.
        folder: An existing, empty folder.

    Raises:
        DataError: The character map of the file cannot be expressed by the tokenizer's normaliser.
    """
    from safetensors.numpy import save_file

    config = model_config(packed)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(model_weights(packed), folder / "model.safetensors", metadata={"format": "pt"})
    build_tokenizer(packed).save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": MASK_PIECE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def model_config(packed: PackedModel) -> dict[str, Any]:
    """The config.json of a BertModel with the file's sizes."""
    sizes = packed.sizes
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": int(sizes["hidden"]),
        "num_hidden_layers": int(sizes["layers"]),
        "num_attention_heads": int(sizes["heads"]),
        "intermediate_size": int(sizes["ffn"]),
        "vocab_size": int(sizes["vocab"]),
        "max_position_embeddings": int(sizes["max_pos"]),
        "type_vocab_size": int(sizes["type_vocab"]),
        # The header keeps it as float32 (9.99999996e-13): three digits restore the decimal that was meant.
        "layer_norm_eps": float(f"{sizes['layer_norm_eps']:.3g}"),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": packed.special_ids["pad"],
        "bos_token_id": packed.special_ids["bos"],
        "eos_token_id": packed.special_ids["eos"],
        "dtype": "float32",
    }


def model_weights(packed: PackedModel) -> dict[str, NDArray[np.float32]]:
    """The file's tensors under the names of a BertModel without a pooler."""
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    parts = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense",
        "fo": "output.dense",
        "oln": "output.LayerNorm",
    }
    for layer in range(int(packed.sizes["layers"])):
        for short, long in parts.items():
            names[f"l{layer}.{short}.w"] = f"encoder.layer.{layer}.{long}.weight"
            names[f"l{layer}.{short}.b"] = f"encoder.layer.{layer}.{long}.bias"
    return {names[name]: np.ascontiguousarray(values) for name, values in packed.tensors.items()}


def build_normalizer(packed: PackedModel) -> Normalizer:
    """A normaliser that treats every single character as the file's map does.

    The map is the one of XLM-RoBERTa, cut to single characters: NFKC, but for control characters (deleted),
    for invisible and separating ones (a space) and for the full-width tilde (kept). Written as those rules
    instead of 4,837 replacements it is fast, and it also composes a letter and its combining accent, as the
    original model's own map does and the cut map cannot.

    Raises:
        DataError: A character of the map would come out otherwise.
    """
    from tokenizers import Regex, normalizers

    deleted = _character_class([char for char, out in packed.characters.items() if out == ""])
    spaces = _character_class([char for char, out in packed.characters.items() if out == " " and char != " "])
    steps: list[Any] = []
    if deleted:
        steps.append(normalizers.Replace(Regex(deleted), ""))
    if spaces:
        steps.append(normalizers.Replace(Regex(spaces), " "))
    keeps_tilde = FULLWIDTH_TILDE not in packed.characters
    if keeps_tilde:
        steps.append(normalizers.Replace(FULLWIDTH_TILDE, STAND_IN))
    steps.append(normalizers.NFKC())
    if keeps_tilde:
        steps.append(normalizers.Replace(STAND_IN, FULLWIDTH_TILDE))
    characters_only = normalizers.Sequence(steps)
    for char, wanted in packed.characters.items():
        given = characters_only.normalize_str(char)
        if given != wanted:
            raise DataError(
                f"the character map turns U+{ord(char):04X} into {wanted!r}, the normaliser into {given!r}: "
                "this is not the XLM-RoBERTa map that the converter knows"
            )
    return normalizers.Sequence(
        [*steps, normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=False, right=True)]
    )


def build_tokenizer(packed: PackedModel) -> Tokenizer:
    """The Unigram tokenizer of XLM-RoBERTa: `<s> pieces </s>`, words marked by a leading "▁"."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    ids = packed.special_ids
    vocabulary = list(zip(packed.pieces, packed.scores.astype(float).tolist(), strict=True))
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=ids["unk"], byte_fallback=False))
    tokenizer.normalizer = build_normalizer(packed)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=METASPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=METASPACE, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", ids["bos"]), ("</s>", ids["eos"])],
    )
    specials = [AddedToken(piece, special=True, normalized=False) for piece in SPECIAL_PIECES.values()]
    # The blank before a mask belongs to it, as in the original tokenizer.
    specials.append(AddedToken(MASK_PIECE, special=True, normalized=False, lstrip=True))
    tokenizer.add_special_tokens(specials)
    return tokenizer


def _character_class(characters: list[str]) -> str:
    """A regular expression that matches any one of the characters, or "" for none."""
    return "[" + "".join(f"\\x{{{ord(char):X}}}" for char in characters) + "]" if characters else ""
