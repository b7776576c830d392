"""What a classifier's checkpoint says of itself beside its weights, and what it leaves to the encoder's source."""

import hashlib
from typing import Any

import torch

from tocsin.errors import CheckpointError
from tocsin.labels.schemes import LabelScheme, check_same_labels
from tocsin.models.encoders import Encoder
from tocsin.models.heads import Head
from tocsin.models.vocabulary import RowsInUse

__all__ = ["check", "check_source", "complete", "names_from_source", "source_digest", "take_rows_in_use"]

_KEY = "tocsin"
_FORMAT = 1
_CODE = ("_instantiator", "_class_path")  # by these Lightning's own loaders name what they import


def names_from_source(encoder: Encoder) -> list[str]:
    """Names, in the classifier's state, of weights that the encoder's source holds as they are: nothing trains them."""
    return [
        f"encoder.{name}" for name, parameter in encoder.named_parameters() if not parameter.requires_grad
    ]


def source_digest(encoder: Encoder) -> str:
    """SHA-256 of all that a checkpoint leaves to the encoder's source: frozen weights and the full embedding table."""
    digest = hashlib.sha256()
    left = {name: p for name, p in encoder.named_parameters() if not p.requires_grad}
    left |= {name: m.table_VD for name, m in encoder.named_modules() if isinstance(m, RowsInUse)}
    for name, value in sorted(left.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_source(checkpoint: dict[str, Any], digest: str) -> None:
    """Compare what the checkpoint left to the encoder's source with what the encoder's source gave now.

    Raises:
        CheckpointError: They differ: another folder, revision or choice of layers.
    """
    wanted = checkpoint[_KEY].get("source")
    if wanted is not None and wanted != digest:
        raise CheckpointError(
            "The checkpoint leaves the weights that nothing trained to the encoder's source, and that "
            "source gives other "
            "weights now. Use the encoder, revision, layers and pieces of the fit."
        )


def complete(
    checkpoint: dict[str, Any], encoder: Encoder, head: Head, labels: LabelScheme, source: str
) -> None:
    """Add label names in order and the components' names; leave out what the encoder's source (its digest) holds."""
    for name in names_from_source(encoder):
        checkpoint["state_dict"].pop(name, None)
    checkpoint[_KEY] = {
        "format": _FORMAT,
        "labels": list(labels.names),
        "labels_digest": labels.digest,
        "encoder": type(encoder).__name__,
        "head": type(head).__name__,
        "source": source,
    }


def check(checkpoint: dict[str, Any], encoder: Encoder, head: Head, labels: LabelScheme) -> None:
    """Compare what a checkpoint says of itself with the model that is to take it.

    Raises:
        CheckpointError: Made by something else, for another encoder or head, or naming code.
        LabelError: Other labels, or another order of them.
    """
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        parameters = checkpoint.get(key)
        if isinstance(parameters, dict) and any(name in parameters for name in _CODE):
            raise CheckpointError(
                f"The checkpoint's {key} names code to import, which Tocsin never writes and does not run."
            )
    facts = checkpoint.get(_KEY)
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise CheckpointError(
            "This checkpoint was not written by a MultilabelClassifier of this version (no label names in it)."
        )
    check_same_labels(facts["labels"], labels.names, where="the checkpoint's labels and this model's")
    for role, mine in (("encoder", type(encoder).__name__), ("head", type(head).__name__)):
        if facts[role] != mine:
            raise CheckpointError(
                f"The checkpoint was made with the {role} {facts[role]}; this model has {mine}."
            )


def take_rows_in_use(state: dict[str, Any], encoder: Encoder) -> None:
    """Let the encoder train the rows of the embedding table that the checkpoint trained.

    Raises:
        CheckpointError: The checkpoint trained the whole table, the encoder already trains some rows of it.
    """
    ids = next((value for name, value in state.items() if name.endswith(".piece_ids")), None)
    if ids is not None:
        encoder.use_rows(ids.tolist())
    elif any(isinstance(module, RowsInUse) for module in encoder.modules()):
        raise CheckpointError(
            "The checkpoint trained the whole embedding table; set rows_in_use: false to go on with it."
        )
