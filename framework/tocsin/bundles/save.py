"""Writing a bundle: one folder that transformers, sentence-transformers and Tocsin load."""

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from tocsin.arguments import Origin, RemembersArguments, fault_of_arguments
from tocsin.bundle_files import CARD
from tocsin.bundles.canaries import make_canaries
from tocsin.bundles.files import (
    encoder_state,
    plain_config,
    save_sentence_transformers,
    save_tensors,
    save_tokenizer,
)
from tocsin.bundles.manifest import ComponentName, Manifest, write_manifest
from tocsin.bundles.predictor import Predictor
from tocsin.bundles.reading import SavedReading
from tocsin.bundles.verify import verify_written
from tocsin.errors import BundleError
from tocsin.files import whole_folder
from tocsin.models.classifier import MultilabelClassifier
from tocsin.models.native_head import NativeHead
from tocsin.models.pooling import ClsPooling, MeanPooling, Pooling
from tocsin.text.cleaners import Cleaner

__all__ = ["named", "save_bundle"]


def save_bundle(
    folder: str | Path,
    model: MultilabelClassifier,
    *,
    cleaner: Cleaner,
    max_length: int,
    card: str,
    version: str,
    origin: Callable[[type], Origin] | None = None,
    facts: Mapping[str, str] | None = None,
    reading: SavedReading | None = None,
) -> Path:
    """Write the bundle of a trained classifier; the folder appears when it is whole.

    With `NativeHead` the folder is what `transformers.pipeline("text-classification")` loads. With any other head the
    encoder lies in `encoder/`, so that nobody loads it as a classifier with random weights.

    What was written is loaded again and its canaries are checked before the folder appears. Beside the model, memory
    holds one more copy of the network at a time: the float32 one that the canaries are made with, then the loaded one.

    Args:
        folder: Must not exist, or be empty.
        model: Built; its weights are taken as they are, rows in use written back into the full embedding table.
        cleaner: What the training texts went through.
        max_length: Tokens a text keeps at most.
        card: Markdown of the model card.
        version: Tocsin's, noted in the bundle.
        origin: Tells the distribution that offers a component, noted so that somebody without it learns what to
            install: a registry's `origin`. None notes nothing.
        facts: What the model was made of; see `Manifest`.
        reading: How the files of the fit were read, for `predict` to read such files alike.

    Raises:
        BundleError: Something stands there already; cleaner, pooling or head cannot be named as plain data; or the
            bundle, loaded again, does not give what the model gives.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f"{folder} exists and is not empty; a bundle is written to a new folder.")
    if folder.exists():
        folder.rmdir()
    native = isinstance(model.head, NativeHead)
    with whole_folder(folder) as part:
        inner = part if native else part / "encoder"
        inner.mkdir(exist_ok=True)
        _save_encoder(inner, model, max_length, native)
        model.encoder.save_extras(part)
        if not native:
            save_tensors(part / "head.safetensors", dict(model.head.state_dict()))
        if model.pooling is not None and model.pooling.state_dict():
            save_tensors(part / "pooling.safetensors", dict(model.pooling.state_dict()))
        save_sentence_transformers(
            part, _vector_pooling(model), model.encoder, "" if native else "encoder", max_length
        )
        predictor = Predictor(
            copy.deepcopy(model.encoder).float(),
            copy.deepcopy(model.head).float(),
            None if model.pooling is None else copy.deepcopy(model.pooling).float(),
            len(model.label_names),
            max_length,
        )
        canaries = make_canaries(predictor, cleaner)
        if not all(math.isfinite(each) for canary in canaries for each in canary.probabilities):
            raise BundleError(
                f"{folder} was not written, since the trained network gives NaN for some texts."
            )
        del predictor  # its copy of the network, before verify_written loads another
        (part / CARD).write_text(card, encoding="utf-8")
        write_manifest(
            part,
            Manifest(
                labels=list(model.label_names),
                cleaner=named(cleaner, origin),
                prompt=model.encoder.prompt,
                max_length=max_length,
                encoder="." if native else "encoder",
                head=named(model.head, origin),
                pooling=None if model.pooling is None else named(model.pooling, origin),
                threshold=0.5,
                canaries=canaries,
                written_by=version,
                labels_digest=model.labels.digest,
                facts=dict(facts or {}),
                reading=reading,
            ),
        )
        verify_written(part, folder, model, cleaner, origin)
    return folder


def named(component: RemembersArguments, origin: Callable[[type], Origin] | None) -> ComponentName:
    """A component as a bundle names it.

    Raises:
        BundleError: An argument is no plain data.
    """
    fault = fault_of_arguments(component)
    if fault:
        raise BundleError(fault)
    offered = None if origin is None else origin(type(component))
    if offered is not None and not offered.installable:
        offered = None  # nobody could be told to install it, and the reader takes it for damage
    return ComponentName(type(component).__name__, component.arguments, offered)


def _vector_pooling(model: MultilabelClassifier) -> Pooling:
    """By what `Bundle.encode` gives: the pooling, or what a head that reads tokens makes its features of."""
    if model.pooling is not None:
        return model.pooling
    means = isinstance(model.head, NativeHead) and model.head.pools == "mean"
    return MeanPooling() if means else ClsPooling()


def _save_encoder(folder: Path, model: MultilabelClassifier, max_length: int, native: bool) -> None:
    config, state = plain_config(model.encoder), encoder_state(model.encoder)
    if native:
        assert isinstance(model.head, NativeHead)
        assert model.head.layout is not None
        layout = model.head.layout
        state = {
            f"{layout.encoder_prefix}{name}": value for name, value in state.items()
        } | model.head.native_state()
        config.architectures = [layout.architecture]
        config.problem_type = "multi_label_classification"
        config.id2label = dict(enumerate(model.label_names))
        config.label2id = {name: i for i, name in enumerate(model.label_names)}
    elif model.encoder.pooler is not None:
        state |= {f"pooler.{name}": value for name, value in model.encoder.pooler.items()}
    config.save_pretrained(folder)
    save_tensors(folder / "model.safetensors", state)
    save_tokenizer(folder, model.encoder, max_length)
