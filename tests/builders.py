"""Tiny models, tokenizers and message files for tests: a few kilobytes, made in milliseconds, nothing fetched."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_WORDS = """
flood water road bridge house help need food storm fire people school night river market rain doctor medicine child
casa agua ayuda fuego noche lluvia escuela camino puente eau aide nuit pluie maison route dlo manje kay lapli lekol
rising broken closed safe lost found sick cold hot near far after before today tomorrow please thanks send many few
truck wout
"""
WORDS = _WORDS.split()
LABELS = ("water", "food", "fire")


def tiny_tokenizer(folder: Path, kind: str = "unigram") -> Any:
    """A fast tokenizer with XLM-R's special ids (`<mask>` last), saved in `folder`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [("▁" + word, -5.0 - 0.01 * i) for i, word in enumerate(WORDS)]
    letters = [
        (letter, -12.0 - 0.01 * i) for i, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz0123456789.,!?")
    ]
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram([*specials, *pieces, *letters], unk_id=3))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        vocabulary = {piece: i for i, (piece, _) in enumerate([*specials, *((w, 0) for w in WORDS)])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=64,
    )
    fast.save_pretrained(folder)
    return fast


def tiny_encoder(
    folder: Path, kind: str = "bert", *, layers: int = 2, pooler: bool = False, seed: int = 0
) -> Path:
    """A folder that `AutoModel.from_pretrained` loads, of width 16.

    `kind` is bert, roberta, xlm-roberta, distilbert, deberta-v2 or modernbert; "modernbert-mean" has a configuration by
    which transformers' classifier takes the mean of all tokens.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(folder)
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    if kind == "distilbert":
        config = AutoConfig.for_model(
            kind, dim=16, hidden_dim=32, n_layers=layers, n_heads=2, max_position_embeddings=72, **common
        )
    elif kind.startswith("modernbert"):
        config = AutoConfig.for_model(
            "modernbert",
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=72,
            cls_token_id=0,
            sep_token_id=2,
            classifier_pooling="mean" if kind.endswith("-mean") else "cls",
            classifier_dropout=0.1,
            **common,
        )
    elif kind == "deberta-v2":
        config = AutoConfig.for_model(
            kind,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=72,
            # As the published v3 encoders have it.
            relative_attention=True,
            position_biased_input=False,
            pos_att_type="p2c|c2p",
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_buckets=8,
            type_vocab_size=0,
            pooler_dropout=0.2,
            **common,
        )
    else:
        config = AutoConfig.for_model(
            kind,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=72,
            type_vocab_size=1,
            **common,
        )
    torch.manual_seed(seed)
    options = {"add_pooling_layer": pooler} if kind in ("bert", "roberta", "xlm-roberta") else {}
    model = AutoModel.from_config(config, **options)
    model.save_pretrained(folder)
    return folder


def messages(count: int = 120, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose labels depend on words in the text; some labels are null, lengths differ widely."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        text = " ".join(generator.choice(WORDS) for _ in range(generator.choice([2, 4, 8, 20])))
        labels = {
            "water": int(any(w in text for w in ("water", "agua", "eau", "dlo", "flood"))),
            "food": int(any(w in text for w in ("food", "manje", "market"))),
            "fire": None if number % 11 == 0 else int(any(w in text for w in ("fire", "fuego"))),
        }
        split = "train" if number % 5 < 3 else "validation" if number % 5 == 3 else "test"
        rows.append(
            {
                "id": f"m{number}",
                "split": split,
                "lang": ("eng", "spa", "hat")[number % 3],
                "text": f"{text} {number}",
                **labels,
            }
        )
    return rows


def message_file(path: Path, rows: list[dict[str, Any]] | None = None, **options: Any) -> Path:
    """`messages()` as Parquet, CSV or JSONL, by the ending of `path`."""
    rows = messages(**options) if rows is None else rows
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    return path


def tiny_data(path: Path, **options: Any) -> Any:
    """A LabelledMessages over `message_file(path)`."""
    from tocsin.batches.messages import LabelledMessages
    from tocsin.labels.schemes import Columns
    from tocsin.text.splitters import GivenSplit

    settings: dict[str, Any] = {
        "labels": Columns(list(LABELS)),
        "lang": "lang",
        "splitter": GivenSplit(),
        "max_length": 32,
        "batch_size": 8,
        "tokens_per_pass": 64,
        "seed": 7,
        "cache": str(path.parent / "cache"),
    }
    settings.update(options)
    return LabelledMessages(train=str(path if path.exists() else message_file(path)), **settings)


def tiny_classifier(
    folder: Path,
    head: Any = "linear",
    *,
    dropout: float = 0.1,
    encoder: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A MultilabelClassifier over `tiny_encoder(folder)`; `head` is linear, native or a head that reads vectors."""
    from tocsin.labels.schemes import Columns
    from tocsin.models.classifier import MultilabelClassifier
    from tocsin.models.encoders import TransformerEncoder
    from tocsin.models.heads import LinearHead
    from tocsin.models.native_head import NativeHead
    from tocsin.models.optimizers import AdamW
    from tocsin.models.pooling import MeanPooling

    if not (folder / "config.json").exists():
        tiny_encoder(folder)
    known: dict[str, type[Any]] = {"linear": LinearHead, "native": NativeHead}
    settings: dict[str, Any] = {
        "labels": Columns(list(LABELS)),
        "encoder": TransformerEncoder(str(folder), **(encoder or {})),
        "head": known[head](dropout) if isinstance(head, str) else head,
        "pooling": None if head == "native" else MeanPooling(),
        "optimizer": AdamW(lr=1e-2),
    }
    settings.update(options)
    model = MultilabelClassifier(**settings)
    if dropout == 0.0:
        model.encoder.load()
        silence_dropout(model)
    return model


def silence_dropout(model: Any) -> None:
    """Set every dropout rate to zero, the attention's own too."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0


def quiet_trainer(folder: Path, **options: Any) -> Any:
    """A plain Lightning Trainer on the CPU that writes nothing but what a test asks for."""
    import lightning.pytorch as L

    settings: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "max_epochs": 2,
    }
    settings.update(options)
    return L.Trainer(**settings)


def note_checksums(bundle: Path, edit: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """Write a bundle's checksums anew, as whoever changes it on purpose can; `edit` changes its tocsin.json first."""
    from tocsin.bundle_files import MANIFEST, write_bundle_file

    plain = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    if edit is not None:
        edited = edit(plain)
        plain = plain if edited is None else edited
    for key in ("files", "digest"):
        plain.pop(key, None)
    write_bundle_file(bundle, plain)
