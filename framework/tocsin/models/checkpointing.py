"""What a checkpoint says of itself beside its weights, and what it leaves to the encoder's source."""

import hashlib
from typing import Any

import torch

from tocsin.errors import CheckpointError
from tocsin.labels.schemes import LabelScheme, check_same_labels
from tocsin.models.averaging import AveragedWeights
from tocsin.models.encoders import Encoder
from tocsin.models.heads import Head
from tocsin.models.losses import Loss
from tocsin.models.mapped import blocks_of
from tocsin.models.pooling import Pooling
from tocsin.models.vocabulary import RowsInUse

__all__ = [
    "add_average",
    "average_of",
    "check",
    "check_distiller",
    "check_source",
    "complete",
    "complete_distiller",
    "names_from_source",
    "source_digest",
    "take_prepared",
    "take_rows_in_use",
]

_KEY = "tocsin"
_FORMAT = 1
_CODE = ("_instantiator", "_class_path")  # by these Lightning's own loaders name what they import


def names_from_source(encoder: Encoder) -> list[str]:
    """Names, in the module's state, of weights that the encoder's source holds as they are: nothing trains them."""
    return [
        f"encoder.{name}" for name, parameter in encoder.named_parameters() if not parameter.requires_grad
    ]


def source_digest(encoder: Encoder) -> str:
    """SHA-256 of all that a checkpoint leaves to the encoder's source: frozen weights and the full embedding table."""
    digest = hashlib.sha256()
    left = {name: p for name, p in encoder.named_parameters() if not p.requires_grad}
    tables = {name: module for name, module in encoder.named_modules() if isinstance(module, RowsInUse)}
    left |= {name: table.table_VD for name, table in tables.items()}
    for name, value in sorted(left.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        for _, block in blocks_of(value, tables[name].source if name in tables else None):
            digest.update(block.view(torch.uint8).numpy().data)
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
    checkpoint: dict[str, Any],
    encoder: Encoder,
    pooling: Pooling | None,
    head: Head,
    labels: LabelScheme,
    source: str,
) -> None:
    """Add label names in order and the components' names; leave out what the encoder's source (its digest) holds."""
    for name in names_from_source(encoder):
        checkpoint["state_dict"].pop(name, None)
    checkpoint[_KEY] = {
        "format": _FORMAT,
        "labels": list(labels.names),
        "labels_digest": labels.digest,
        "encoder": type(encoder).__name__,
        "pooling": _name(pooling),
        "head": type(head).__name__,
        "source": source,
    }


def complete_distiller(
    checkpoint: dict[str, Any], encoder: Encoder, pooling: Pooling, width: int, source: str
) -> None:
    """Add the components' names and the vectors' width; leave out what the student's source (its digest) holds."""
    for name in names_from_source(encoder):
        checkpoint["state_dict"].pop(name, None)
    checkpoint[_KEY] = {
        "format": _FORMAT,
        "kind": "distiller",
        "encoder": type(encoder).__name__,
        "pooling": _name(pooling),
        "width": width,
        "source": source,
    }


def _name(part: object) -> str:
    return "null" if part is None else type(part).__name__


def check(
    checkpoint: dict[str, Any], encoder: Encoder, pooling: Pooling | None, head: Head, labels: LabelScheme
) -> None:
    """Compare what a checkpoint says of itself with the model that is to take it.

    Raises:
        CheckpointError: Made by something else, for another encoder, pooling or head, or naming code.
        LabelError: Other labels, or another order of them.
    """
    facts = _facts(checkpoint, "classifier")
    if facts is None:
        raise CheckpointError(
            "This checkpoint was not written by a MultilabelClassifier of this version (no label names in it)."
        )
    check_same_labels(facts["labels"], labels.names, where="this model", what="the checkpoint's labels")
    _check_parts(facts, encoder=encoder, pooling=pooling, head=head)


def check_distiller(checkpoint: dict[str, Any], encoder: Encoder, pooling: Pooling, width: int) -> None:
    """Compare what a checkpoint says of itself with the distiller that is to take it.

    Raises:
        CheckpointError: Made by something else, for another student, pooling or width of vectors, or naming code.
    """
    facts = _facts(checkpoint, "distiller")
    if facts is None:
        raise CheckpointError("This checkpoint was not written by a Distiller of this version.")
    _check_parts(facts, encoder=encoder, pooling=pooling)
    if facts["width"] != width:
        raise CheckpointError(
            f"The checkpoint's vectors have width {facts['width']}, those of this teacher {width}. Use the "
            "fit's teacher."
        )


def _facts(checkpoint: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """What a checkpoint of that kind says of itself; None for another's. A classifier's names no kind."""
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        parameters = checkpoint.get(key)
        if isinstance(parameters, dict) and any(name in parameters for name in _CODE):
            raise CheckpointError(
                f"The checkpoint's {key} names code to import, which Tocsin never writes and does not run."
            )
    facts = checkpoint.get(_KEY)
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        return None
    return facts if facts.get("kind", "classifier") == kind else None


def _check_parts(facts: dict[str, Any], **parts: object) -> None:
    for role, part in parts.items():
        mine = _name(part)
        # The first checkpoints of this format named no pooling; most poolings have no weights to tell them apart.
        if facts.get(role, mine) != mine:
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


def take_prepared(state: dict[str, Any], loss: Loss) -> None:
    """Give the loss what `prepare` made of the training targets; before a fit the buffer is there, without a value."""
    for name, value in state.items():
        buffer = name.removeprefix("loss.")
        if buffer != name and buffer in loss._buffers and loss._buffers[buffer] is None:
            setattr(loss, buffer, value.clone())


def add_average(checkpoint: dict[str, Any], average: AveragedWeights) -> None:
    """Put the averaged weights into the checkpoint's state, and beside it what training goes on from."""
    checkpoint["state_dict"].update(average.weights())
    checkpoint[_KEY]["average"] = average.state()


def average_of(checkpoint: dict[str, Any], decay: float | None) -> dict[str, Any] | None:
    """What an averaging fit goes on from; None for a checkpoint without an average.

    Raises:
        CheckpointError: The checkpoint's fit averaged its weights, this one does not.
    """
    state = checkpoint[_KEY].get("average")
    if state is not None and decay is None:
        raise CheckpointError(
            "The checkpoint's fit averaged its weights (ema_decay), and this one does not: its optimiser would go on "
            "from weights that it never saw. Set model.init_args.ema_decay as it was."
        )
    return state
