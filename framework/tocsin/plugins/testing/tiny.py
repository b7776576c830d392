"""A bundle of a few kilobytes, made in a moment from random weights, with nothing fetched. L labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tocsin.arguments import Origin
from tocsin.bundles.load import Bundle, load_bundle
from tocsin.bundles.save import save_bundle
from tocsin.labels.schemes import Columns
from tocsin.models.classifier import MultilabelClassifier
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.heads import LinearHead
from tocsin.models.native_head import NativeHead
from tocsin.models.pooling import MeanPooling
from tocsin.text.cleaners import NoCleaner

__all__ = ["tiny_bundle", "tiny_encoder_folder"]

_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = [
    "water",
    "food",
    "fire",
    "road",
    "bridge",
    "people",
    "help",
    "rain",
    "agua",
    "fuego",
    "eau",
    "feu",
    "dlo",
    "manje",
]


class _Components:
    """Gives a bundle its few components by name, as the registry does."""

    def find(self, role: str, name: str) -> type[Any]:
        known: dict[str, type[Any]] = {
            one.__name__: one for one in (LinearHead, NativeHead, MeanPooling, NoCleaner)
        }
        return known[name]

    def origin(self, component: type[Any]) -> Origin:
        return Origin("tocsin", "0")


def tiny_encoder_folder(folder: Path, seed: int = 0) -> Path:
    """Write a BERT of width 16 with a tokenizer of words; `AutoModel.from_pretrained(folder)` loads it.

    Draws from torch's global generator, after seeding it.
    """
    vocabulary = {word: number for number, word in enumerate([*_SPECIALS, *_WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the generators of GPUs, too
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    config.save_pretrained(folder)
    # Not the model's own save_pretrained, which draws a progress bar.
    state = {
        name: value.contiguous()
        for name, value in BertModel(config, add_pooling_layer=False).state_dict().items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def tiny_bundle(folder: Path, labels: int, native: bool = False) -> Bundle:
    """Write a bundle with L labels into `folder`/bundle and load it.

    Args:
        folder: Where its encoder and the bundle go.
        labels: L.
        native: Whether its head is the architecture's own, so that transformers loads the folder, or a LinearHead.
    """
    model = MultilabelClassifier(
        labels=Columns([f"label {number}" for number in range(labels)]),
        encoder=TransformerEncoder(str(tiny_encoder_folder(folder / "encoder"))),
        head=NativeHead() if native else LinearHead(),
        pooling=None if native else MeanPooling(),
    )
    model.build()
    written = save_bundle(
        folder / "bundle",
        model,
        cleaner=NoCleaner(),
        max_length=32,
        card="# A tiny bundle of random weights\n",
        version="0",
    )
    return load_bundle(written, _Components())
