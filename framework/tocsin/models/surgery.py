"""Cutting and freezing parts of a transformers encoder, and telling its layers apart. Axes: V vocabulary, D width."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from tocsin.errors import ConfigError
from tocsin.models.attention import no_plan_per_shape

__all__ = ["cut_embeddings", "cut_layers", "freeze_bottom", "parameters_by_depth", "recompute_activations"]

# What stands outside the layers but serves all of them, such as relative positions.
_BELOW_WORDS = ("embed", "relative")


def _holder(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    for path in ("encoder", "transformer", ""):
        holder = getattr(model, path, None) if path else model
        for attribute in ("layer", "layers"):
            if isinstance(getattr(holder, attribute, None), nn.ModuleList):
                return holder, attribute  # type: ignore[return-value]
    raise ConfigError(
        f"{name!r} ({type(model).__name__}) keeps its layers where Tocsin does not look; keep_layers, freeze: k and "
        "layer_decay need them. Use freeze none, embeddings or all, and layer_decay null."
    )


def _layers(model: nn.Module, name: str) -> nn.ModuleList:
    holder, attribute = _holder(model, name)
    return getattr(holder, attribute)


def cut_layers(model: nn.Module, keep: Sequence[int], name: str) -> None:
    """Leave only the layers `keep`, numbered from 0 at the bottom, in their order.

    Args:
        model: A transformers base model.
        keep: Rising layer numbers.
        name: The encoder's, for messages.

    Raises:
        ConfigError: No such layer, or an unknown layout of layers.
    """
    holder, attribute = _holder(model, name)
    layers = getattr(holder, attribute)
    if keep[-1] >= len(layers):
        raise ConfigError(f"keep_layers names layer {keep[-1]}; {name!r} has layers 0 to {len(layers) - 1}.")
    setattr(holder, attribute, nn.ModuleList(layers[i] for i in keep))


def cut_embeddings(model: Any, kept: Sequence[int]) -> None:
    """Leave only the rows `kept` of the token table `(V, D)`, in their order."""
    old = model.get_input_embeddings()
    new = nn.Embedding(len(kept), old.embedding_dim, padding_idx=old.padding_idx, dtype=old.weight.dtype)
    with torch.no_grad():
        new.weight.copy_(old.weight[torch.tensor(kept)])
    model.set_input_embeddings(new)


def freeze_bottom(model: Any, freeze: Literal["none", "embeddings", "all"] | int, name: str) -> None:
    """Train no weight of the embeddings, of them and the bottom `freeze` layers, or of the whole model.

    Raises:
        ConfigError: More layers than there are, or an unknown layout of layers.
    """
    if freeze == "none":
        return
    if freeze == "all":
        model.requires_grad_(False)
        return
    embeddings = getattr(model, "embeddings", None) or model.get_input_embeddings()
    embeddings.requires_grad_(False)
    if isinstance(freeze, int):
        layers = _layers(model, name)
        if freeze > len(layers):
            raise ConfigError(f"freeze is {freeze}, but {name!r} has {len(layers)} layers.")
        for layer in layers[:freeze]:
            layer.requires_grad_(False)


def parameters_by_depth(model: nn.Module, name: str) -> list[list[nn.Parameter]]:
    """Every parameter of the model once, from the embeddings (first list) to the top layer (last list).

    Position embeddings, embedding norms and relative positions count as embeddings; a norm after the last layer counts
    as the top layer.

    Raises:
        ConfigError: An unknown layout of layers.
    """
    layers = _layers(model, name)
    depth_of = {
        id(parameter): depth for depth, layer in enumerate(layers, 1) for parameter in layer.parameters()
    }
    by_depth: list[list[nn.Parameter]] = [[] for _ in range(len(layers) + 1)]
    for full_name, parameter in model.named_parameters():
        below = any(word in full_name.lower() for word in _BELOW_WORDS)
        by_depth[depth_of.get(id(parameter), 0 if below else len(layers))].append(parameter)
    return by_depth


def _kernels_of(model: nn.Module) -> AbstractContextManager[Any]:
    return no_plan_per_shape(next(model.parameters()).device)


def recompute_activations(model: Any, name: str) -> None:
    """Keep only each layer's input for the backward pass (Chen et al. 2016, arXiv 1604.06174).

    Dropout draws the same numbers when a layer is computed again, so that gradients are those without it.

    Raises:
        ConfigError: The architecture does not offer it.
    """
    # The reentrant form gives no gradient where no input of a layer needs one (frozen embeddings, adapters). The second
    # time a layer is computed is in the backward pass, outside of the encoder's forward and its choice of kernels.
    settings = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), _kernels_of(model))}
    # An encoder has no cache to use, but transformers warns of this setting, which is true by default.
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False
    try:
        # transformers renamed it; the old name warns where the new one is known.
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
    except ValueError as error:
        raise ConfigError(
            f"{name!r} ({type(model).__name__}) offers no gradient checkpointing; set gradient_checkpointing to false."
        ) from error
