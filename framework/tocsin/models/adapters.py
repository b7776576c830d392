"""Low-rank adapters (LoRA) through peft: put into an encoder, read out merged or alone. Axes: r rank, D width."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tocsin.errors import ConfigError

__all__ = ["Lora", "add_adapters", "merged_state", "save_adapters"]

_NAME = "default"  # peft's own name of an adapter


@dataclass
class Lora:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): the encoder's own weights stay, small ones beside learn.

    Args:
        rank: Width of an adapter, 1 or more.
        alpha: An adapter's output counts alpha / rank times; above 0.
        dropout: Share of an adapter's inputs set to zero while training, from 0 up to, not including, 1.
        targets: Ends of names of the linear layers that get one, such as query and value; null for every linear layer.
        keep: Write the adapters alone into the bundle too (`adapters/`, for peft), beside the merged weights.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: list[str] | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"lora.rank is {self.rank}; wanted 1 or more, such as 8.")
        if not self.alpha > 0:
            raise ConfigError(f"lora.alpha is {self.alpha}; wanted a number above 0, such as twice the rank.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(
                f"lora.dropout is {self.dropout}; wanted a share from 0 up to, not including, 1."
            )
        if self.targets is not None and not self.targets:
            raise ConfigError(
                "lora.targets is empty; wanted names of linear layers, or null for all of them."
            )


def _configuration(settings: Lora, model: nn.Module, source: str) -> Any:
    try:
        from peft import LoraConfig
    except ModuleNotFoundError as error:
        raise ConfigError("lora needs peft: pip install 'tocsin[lora]'") from error
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    ends = sorted({name.rpartition(".")[2] for name in linear})
    unknown = [
        target
        for target in settings.targets or []
        if not any(name == target or name.endswith(f".{target}") for name in linear)
    ]
    if unknown:
        raise ConfigError(
            f"lora.targets names {unknown[0]!r}, which no linear layer of {source!r} ends with; there are: "
            f"{', '.join(ends)}."
        )
    arguments: dict[str, Any] = {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": settings.targets or ends,
        "bias": "none",
    }
    return LoraConfig(**arguments)


def add_adapters(model: nn.Module, settings: Lora, source: str) -> None:
    """Put adapters beside the linear layers; afterwards they alone require a gradient.

    An adapter's second factor begins with zeros: the encoder computes what it did before.

    Args:
        model: A transformers base model; changed.
        settings: Which, and how wide.
        source: Its name, for messages.

    Raises:
        ConfigError: peft is not installed, or a target is no linear layer.
    """
    configuration = _configuration(settings, model, source)
    from peft import inject_adapter_in_model

    inject_adapter_in_model(configuration, model, _NAME)


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state under its own names, adapters added to the weights beside them; a plain state without adapters.

    The model is left as it is. The sum is taken in the weights' type.
    """
    state: dict[str, Tensor] = {}
    adapted = {
        f"{name}.base_layer.weight": module
        for name, module in model.named_modules()
        if hasattr(module, "base_layer") and hasattr(module, "get_delta_weight")
    }
    for key, value in model.state_dict().items():
        if ".lora_" in key:
            continue
        merged = value.detach()
        if key in adapted:
            delta: Any = adapted[key].get_delta_weight
            merged = merged + delta(_NAME).detach().to(merged.dtype)
        state[key.replace(".base_layer.", ".")] = merged
    return state


def save_adapters(model: nn.Module, settings: Lora, source: str, folder: Path) -> None:
    """Write the adapters as peft's `PeftModel.from_pretrained(encoder, folder)` reads them.

    Args:
        model: As `add_adapters` left it, trained.
        settings: Those it was given.
        source: The encoder's name, noted as the base model.
        folder: Must not exist.
    """
    folder.mkdir()
    state = {
        f"base_model.model.{key.replace(f'.{_NAME}.', '.')}": value.detach().to("cpu", copy=True).contiguous()
        for key, value in model.state_dict().items()
        if ".lora_" in key
    }
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    configuration = {
        "peft_type": "LORA",
        "base_model_name_or_path": source,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": sorted({_layer(key) for key in state}),
        "bias": "none",
        "inference_mode": True,
    }
    text = json.dumps(configuration, indent=2) + "\n"
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")


def _layer(key: str) -> str:
    """The adapted layer's whole name, of an adapter's weight."""
    return key.removeprefix("base_model.model.").partition(".lora_")[0]
