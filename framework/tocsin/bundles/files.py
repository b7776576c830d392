"""The files of a bundle that transformers and sentence-transformers read."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tocsin.models.encoders import Encoder
from tocsin.models.pooling import Pooling

__all__ = ["encoder_state", "plain_config", "save_sentence_transformers", "save_tensors", "save_tokenizer"]

# sentence-transformers' modes, and the names of their switches in its folders.
_SWITCHES = {
    "cls": "cls_token",
    "lasttoken": "lasttoken",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
}


def save_tensors(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors as they are, under their names."""
    # Contiguous copies: safetensors refuses tensors that share memory, as tied or sliced weights do.
    tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def encoder_state(encoder: Encoder) -> dict[str, Tensor]:
    """The encoder's weights in float32 under transformers' names."""
    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in encoder.pretrained_state().items()
    }


def save_tokenizer(folder: Path, encoder: Encoder, max_length: int) -> None:
    """Write the tokenizer, whose `truncation=True` then cuts where training did."""
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)


def save_sentence_transformers(
    folder: Path,
    pooling: Pooling,
    encoder: Encoder,
    inner: str,
    max_length: int,
    projection: nn.Linear | None = None,
) -> None:
    """Write what sentence-transformers loads vectors by; nothing for a pooling that it does not know.

    Args:
        folder: Of the bundle.
        pooling: Of the vectors.
        encoder: Gives width and prompt.
        inner: The encoder's folder inside the bundle; empty for the bundle itself.
        max_length: Tokens a text keeps at most.
        projection: What follows the pooling, kept as a Dense module; None for nothing.
    """
    mode = pooling.sentence_transformers_mode
    if mode is None:
        return

    def write(path: Path, content: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    modules = [(inner, "Transformer"), ("1_Pooling", "Pooling")]
    if projection is not None:
        modules.append(("2_Dense", "Dense"))
        write(
            folder / "2_Dense" / "config.json",
            {
                "in_features": projection.in_features,
                "out_features": projection.out_features,
                "bias": projection.bias is not None,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
        state = {f"linear.{name}": value.float() for name, value in projection.state_dict().items()}
        save_tensors(folder / "2_Dense" / "model.safetensors", state)
    write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ],
    )
    write(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": encoder.width,
            **{f"pooling_mode_{switch}": mode == known for known, switch in _SWITCHES.items()},
            "include_prompt": True,
        },
    )
    write(
        folder / inner / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False}
    )
    prompt = encoder.prompt
    write(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"text": prompt} if prompt else {},
            "default_prompt_name": "text" if prompt else None,
            "similarity_fn_name": "cosine",
        },
    )


def plain_config(encoder: Encoder) -> Any:
    """A copy of the encoder's configuration as its float32 weights are loaded by AutoModel."""
    config = copy.deepcopy(encoder.config)
    config.dtype = torch.float32
    config.architectures = [type(encoder.model).__name__] if hasattr(encoder, "model") else None
    return config
