"""The bundle of an encoder: what a distillation ships. transformers, sentence-transformers and Tocsin load it alike.

At its top lie the encoder's own files, which AutoModel loads and a config's `encoder:` names; beside them what
sentence-transformers needs (pooling, the projection as a Dense module, prompt), and `tocsin.json`. Nothing is pickled,
and nothing names code. Axes: N texts, E width of the vectors.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors.torch import load_file
from torch import nn

from tocsin.arguments import Origin
from tocsin.bundle_files import CARD, FORMAT, MANIFEST, check_bundle, read_bundle_file, write_bundle_file
from tocsin.bundles.canaries import CANARY_TEXTS
from tocsin.bundles.files import (
    encoder_state,
    plain_config,
    save_sentence_transformers,
    save_tensors,
    save_tokenizer,
)
from tocsin.bundles.load import Finder, build_component, check_all_tensors, check_network_files, loading
from tocsin.bundles.manifest import (
    DAMAGE,
    ONLY_VECTORS,
    ComponentName,
    canaries_of,
    component_of,
    facts_of,
    max_length_of,
    prompt_of,
)
from tocsin.bundles.predictor import VectorRunner
from tocsin.bundles.save import named
from tocsin.errors import BundleError, TocsinError
from tocsin.files import whole_folder
from tocsin.models.distiller import Distiller
from tocsin.models.encoders import TransformerEncoder
from tocsin.text.inputs import as_texts

__all__ = ["TOLERANCE", "EncoderBundle", "EncoderManifest", "load_encoder_bundle", "save_encoder_bundle"]

TOLERANCE = 1e-3
"""Largest distance of a canary's vector, over its length, that is taken for another processor's rounding."""


@dataclass(frozen=True)
class VectorCanary:
    """A text whose tokens and vector were noted when the bundle was written, and are compared when it is loaded."""

    text: str
    tokens: str
    vector: list[float]


@dataclass(frozen=True)
class EncoderManifest:
    """All of an encoder's `tocsin.json`.

    Args:
        prompt: Put before each text.
        max_length: Tokens a text keeps at most, special tokens included.
        pooling: Of the vectors.
        projected: Whether a linear layer follows the pooling.
        width: E.
        canaries: Checked at load.
        written_by: Tocsin's version.
        facts: What it was made of, where that was known: `run`, `checkpoint` (SHA-256 of the file) and `step`.
        kind: Of bundle.
        format: Of this file.
    """

    prompt: str
    max_length: int
    pooling: ComponentName
    projected: bool
    width: int
    canaries: list[VectorCanary]
    written_by: str
    facts: dict[str, str] = field(default_factory=dict)
    kind: str = "encoder"
    format: int = FORMAT


class EncoderBundle:
    """A loaded bundle of an encoder; `tocsin.load(folder)` gives one.

    Args:
        folder: Where it lies.
        manifest: Its `tocsin.json`.
        runner: Filled.
    """

    def __init__(self, folder: Path, manifest: EncoderManifest, runner: VectorRunner) -> None:
        self.folder = folder
        self.manifest = manifest
        self.runner = runner

    @property
    def width(self) -> int:
        """E of the vectors."""
        return self.manifest.width

    def clean(self, text: str) -> str:
        """The text itself: vectors are those of texts as they come, as in sentence-transformers."""
        return text

    def encode(self, texts: Any, advance: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Vectors `(N, E)` float32 of texts; not normalised to length one.

        Args:
            texts: As they come: a list, an array, a column, any iterable with an order; one str is one text. The
                prompt is added here.
            advance: Called with the number of texts done since the last call.

        Raises:
            DataError: It is no container of texts, or one of them is none; names its position.
        """
        return self.runner.vectors(as_texts(texts), advance)

    def predict(self, texts: Any, langs: Any = None) -> NoReturn:
        """Refuse: an encoder has no labels.

        Raises:
            BundleError: Always.
        """
        raise BundleError(f"{self.folder} {ONLY_VECTORS}")


def save_encoder_bundle(
    folder: str | Path,
    model: Distiller,
    *,
    max_length: int,
    card: str,
    version: str,
    origin: Callable[[type], Origin] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write the bundle of a distilled encoder; the folder appears when it is whole, and was loaded again.

    Args:
        folder: Must not exist, or be empty.
        model: Built; its weights are taken as they are, rows in use written back into the full embedding table.
        max_length: Tokens a text keeps at most.
        card: Markdown of the model card.
        version: Tocsin's, noted in the bundle.
        origin: Tells the distribution that offers a component, noted so that somebody without it learns what to
            install. None notes nothing.
        facts: What the model was made of; see `EncoderManifest`.

    Raises:
        BundleError: Something stands there already; the pooling cannot be named as plain data; or the bundle, loaded
            again, does not give the model's vectors.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f"{folder} exists and is not empty; a bundle is written to a new folder.")
    if folder.exists():
        folder.rmdir()
    assert model.pooling is not None, "built"
    with whole_folder(folder) as part:
        plain_config(model.encoder).save_pretrained(part)
        save_tensors(part / "model.safetensors", encoder_state(model.encoder))
        save_tokenizer(part, model.encoder, max_length)
        model.encoder.save_extras(part)
        save_sentence_transformers(part, model.pooling, model.encoder, "", max_length, model.projection)
        if model.pooling.state_dict():
            save_tensors(part / "pooling.safetensors", dict(model.pooling.state_dict()))
        runner = VectorRunner(
            copy.deepcopy(model.encoder).float(),
            copy.deepcopy(model.pooling).float(),
            None if model.projection is None else copy.deepcopy(model.projection).float(),
            max_length,
        )
        manifest = EncoderManifest(
            prompt=model.encoder.prompt,
            max_length=max_length,
            pooling=named(model.pooling, origin),
            projected=model.projection is not None,
            width=runner.width,
            canaries=_canaries(runner),
            written_by=version,
            facts=dict(facts or {}),
        )
        del runner  # its copy of the network, before another is loaded
        (part / CARD).write_text(card, encoding="utf-8")
        write_bundle_file(part, asdict(manifest))
        try:
            load_encoder_bundle(part, _VeryPooling(type(model.pooling)))
        except TocsinError as error:
            raise BundleError(
                f"{folder} was not written, since the bundle, loaded again, does not give the student's vectors: "
                f"{str(error).replace(str(part), str(folder))}"
            ) from error
    return folder


class _VeryPooling:
    """Gives a bundle the pooling's own class, whatever a registry offers under its name."""

    def __init__(self, pooling: type) -> None:
        self._pooling = pooling

    def find(self, role: str, name: str) -> type[Any]:
        return self._pooling

    def origin(self, component: type) -> Origin:
        return Origin("tocsin", "")


def _canaries(runner: VectorRunner) -> list[VectorCanary]:
    return [
        VectorCanary(text, runner.tokens_digest(ids), [round(float(v), 7) for v in vector])
        for text, ids, vector in zip(
            CANARY_TEXTS, runner.token_ids(CANARY_TEXTS), runner.vectors(CANARY_TEXTS), strict=True
        )
    ]


def load_encoder_bundle(folder: str | Path, registry: Finder, device: str = "cpu") -> EncoderBundle:
    """Load a bundle of an encoder and check its canaries.

    Args:
        folder: As `save_encoder_bundle` wrote it.
        registry: Gives poolings by short name.
        device: Where to compute.

    Raises:
        BundleError: Incomplete, altered, made for code of its own, or for a pooling that nobody here offers.
    """
    folder = Path(folder)
    manifest = _read(folder)
    check_bundle(folder)
    check_network_files(folder)
    check_all_tensors(folder)
    pooling = build_component(registry, "pooling", manifest.pooling)
    encoder = TransformerEncoder(str(folder), prompt=manifest.prompt)
    projection: nn.Linear | None = None
    with loading(folder):
        encoder.load()
        _ = encoder.tokenizer
        pooling.build(encoder.config)
        if (folder / "pooling.safetensors").is_file() or pooling.state_dict():
            pooling.load_state_dict(load_file(folder / "pooling.safetensors"))
        if manifest.projected:
            state = load_file(folder / "2_Dense" / "model.safetensors")
            projection = nn.Linear(encoder.width, manifest.width, bias="linear.bias" in state)
            projection.load_state_dict({name.removeprefix("linear."): value for name, value in state.items()})
    bundle = EncoderBundle(
        folder, manifest, VectorRunner(encoder, pooling, projection, manifest.max_length, device)
    )
    _check(bundle)
    return bundle


def _check(bundle: EncoderBundle) -> None:
    """Compare the canaries with what the loaded bundle gives."""
    canaries, runner = bundle.manifest.canaries, bundle.runner
    texts = [canary.text for canary in canaries]
    for canary, ids in zip(canaries, runner.token_ids(texts), strict=True):
        if runner.tokens_digest(ids) != canary.tokens:
            raise BundleError(
                f"{bundle.folder}: the tokenizer no longer gives the tokens that it gave when the bundle was written "
                f"(canary {canary.text[:40]!r}); vectors would be wrong. Either a tokenizer file was changed, or this "
                "version of transformers reads it otherwise: take the bundle afresh from its run."
            )
    wanted = np.array([canary.vector for canary in canaries])
    found = runner.vectors(texts)
    if found.shape != wanted.shape:
        raise BundleError(
            f"{bundle.folder}: the vectors have width {found.shape[1]}, those noted in tocsin.json {wanted.shape[1:]}."
        )
    lengths = np.maximum(np.linalg.norm(wanted, axis=1), 1e-6)
    off = float((np.linalg.norm(found - wanted, axis=1) / lengths).max(initial=0.0))
    if not off <= TOLERANCE:
        raise BundleError(
            f"{bundle.folder}: vectors of the canary texts are off by {off:.3g} of their length (at most {TOLERANCE} "
            "is rounding). The weights were changed or do not belong to this tocsin.json: take the bundle afresh from "
            "its run."
        )


def _read(folder: Path) -> EncoderManifest:
    plain = read_bundle_file(folder)
    try:
        if plain["kind"] != "encoder":
            raise ValueError(f"kind {plain['kind']!r}")
        return EncoderManifest(
            prompt=prompt_of(plain),
            max_length=max_length_of(plain),
            pooling=component_of(plain["pooling"]),
            projected=bool(plain["projected"]),
            width=int(plain["width"]),
            canaries=[
                VectorCanary(text, str(canary["tokens"]), vector)
                for text, canary, vector in canaries_of(plain, "vector", int(plain["width"]))
            ],
            written_by=str(plain["written_by"]),
            facts=facts_of(plain),
        )
    except DAMAGE as error:
        raise BundleError(f"{folder / MANIFEST} is damaged: {type(error).__name__} {error}.") from error
