"""`tocsin.json`: what a bundle holds, as plain data. It names components by their short names, never code to import."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tocsin.arguments import Origin
from tocsin.bundles.reading import SavedReading, reading_from_plain
from tocsin.errors import BundleError
from tocsin.files import whole_file
from tocsin.labels.schemes import label_digest
from tocsin.scores.chain import STEPS

__all__ = [
    "AN_ENSEMBLE",
    "CHAIN_FORMAT",
    "DAMAGE",
    "FORMAT",
    "ONLY_VECTORS",
    "Canary",
    "ComponentName",
    "Manifest",
    "SavedChain",
    "SavedStep",
    "chain_from_plain",
    "component_of",
    "kind_of",
    "max_length_of",
    "read_manifest",
    "read_plain",
    "threshold_of",
    "write_manifest",
    "write_plain",
]

FORMAT = 1
CHAIN_FORMAT = 1
DAMAGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What is raised where `tocsin.json` holds something else than was written."""
_NAME = "tocsin.json"

ONLY_VECTORS = (
    "is the bundle of an encoder: it gives vectors (tocsin.load(folder).encode(texts)) and has no labels to predict. "
    "To classify with it, name the folder as the encoder of a MultilabelClassifier and fit."
)
"""What to say of an encoder's bundle where a classifier's is wanted."""

AN_ENSEMBLE = (
    "is the bundle of an ensemble: several networks, whose scores are combined. Here the bundle of one network is "
    "wanted; its members lie in its folder members/."
)
"""What to say of an ensemble's bundle where that of one network is wanted."""


@dataclass(frozen=True)
class ComponentName:
    """A component by short name, with its constructor's arguments as plain data.

    Args:
        name: The short name.
        arguments: The constructor's arguments.
        origin: The distribution that offered it; None where that was not known.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    origin: Origin | None = None


@dataclass(frozen=True)
class Canary:
    """A text whose tokens and probabilities were noted when the bundle was written, and are compared when it is loaded.

    Args:
        text: As a user would give it.
        tokens: SHA-256 of its token ids.
        probabilities: One a label, before calibration.
    """

    text: str
    tokens: str
    probabilities: list[float]


@dataclass(frozen=True)
class SavedStep:
    """A step of the chain: a component and what it learned.

    Args:
        role: ensembler, calibrator or decision_rule.
        component: Its name, arguments and origin.
        state: What its `state()` returned.
    """

    role: str
    component: ComponentName
    state: dict[str, Any]


@dataclass(frozen=True)
class SavedChain:
    """What stands between raw scores and decisions, see `tocsin.scores.chain`.

    Args:
        labels: Names in order that it was fitted for.
        steps: In the order in which they are applied.
        facts: What it was fitted on.
        format: Of this part of the file.
        digest: Of all this when it was fitted; None where none was noted, as before Tocsin noted any.
    """

    labels: list[str]
    steps: list[SavedStep]
    facts: dict[str, str] = field(default_factory=dict)
    format: int = CHAIN_FORMAT
    digest: str | None = None

    def content_digest(self) -> str:
        """SHA-256 of everything but `digest`, as JSON with sorted keys."""
        plain = {key: value for key, value in asdict(self).items() if key != "digest"}
        text = json.dumps(json.loads(json.dumps(plain)), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    @property
    def name(self) -> str:
        """The steps' names, in order."""
        return " -> ".join(step.component.name for step in self.steps)


@dataclass(frozen=True)
class Manifest:
    """All of `tocsin.json`.

    Args:
        labels: Names in order.
        cleaner: What is done to each text first.
        prompt: Put before each text.
        max_length: Tokens a text keeps at most, special tokens included.
        encoder: Folder of the encoder inside the bundle: "." where transformers loads the whole, else "encoder".
        head: The head.
        pooling: The pooling, or None for heads that read tokens.
        threshold: A label is decided "on" from this probability, where no chain has a decision rule.
        canaries: Checked at load.
        written_by: Tocsin's version.
        labels_digest: Of `labels`.
        chain: From raw scores to decisions; None before `tocsin calibrate`.
        reading: How the files of the fit were read; None where that is not known.
        format: Of this file.
    """

    labels: list[str]
    cleaner: ComponentName
    prompt: str
    max_length: int
    encoder: str
    head: ComponentName
    pooling: ComponentName | None
    threshold: float
    canaries: list[Canary]
    written_by: str
    labels_digest: str
    chain: SavedChain | None = None
    reading: SavedReading | None = None
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a classifier's `tocsin.json`; see `write_plain`."""
    write_plain(folder, asdict(manifest))


def write_plain(folder: Path, plain: dict[str, Any]) -> None:
    """Write `tocsin.json`, whole or not at all; last of all files: a folder without it is known to be incomplete."""
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    with whole_file(folder / _NAME) as part:
        part.write_text(text + "\n", encoding="utf-8")


def kind_of(folder: Path) -> str:
    """What a bundle is: "classifier", "encoder" or "ensemble".

    Raises:
        BundleError: No bundle, or one of another format.
    """
    return str(read_plain(folder).get("kind", "classifier"))


def read_plain(folder: Path) -> dict[str, Any]:
    """The mapping that `tocsin.json` holds, of whatever kind of bundle.

    Raises:
        BundleError: Missing, not JSON, or of another format.
    """
    path = folder / _NAME
    try:
        plain = json.loads(path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
    except FileNotFoundError:
        raise BundleError(
            f"{folder} holds no {_NAME}, so it is no Tocsin bundle, or one whose writing was cut short. "
            "Wanted the folder `bundle` of a "
            "run."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        found = plain.get("format") if isinstance(plain, dict) else type(plain).__name__
        raise BundleError(f"{path} is of format {found!r}; this version of Tocsin reads format {FORMAT}.")
    return plain


def read_manifest(folder: Path) -> Manifest:
    """Read and check a classifier's `tocsin.json`.

    Raises:
        BundleError: Missing, not JSON, of another format or kind, or with a value of the wrong kind.
    """
    path = folder / _NAME
    plain = read_plain(folder)
    if plain.get("kind") == "encoder":
        raise BundleError(f"{folder} {ONLY_VECTORS}")
    if plain.get("kind") == "ensemble":
        raise BundleError(f"{folder} {AN_ENSEMBLE}")
    try:
        manifest = _manifest(plain)
    except DAMAGE as error:
        raise BundleError(f"{path} is damaged: {type(error).__name__} {error}.") from error
    if label_digest(manifest.labels) != manifest.labels_digest:
        raise BundleError(
            f"{path}: the label names do not match their digest; they were changed or put in another order."
        )
    return manifest


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text}, and a bundle holds finite numbers alone")
    return number


def _origin(plain: Any) -> Origin | None:
    if plain is None:
        return None
    origin = Origin(plain["distribution"], plain["version"])
    if not origin.installable:
        raise ValueError(f"{origin} is no distribution's name and version")
    return origin


def chain_from_plain(plain: Any) -> SavedChain:
    """Return a chain as it stands in `tocsin.json`.

    Raises:
        BundleError: It is of another format.
        KeyError, TypeError, ValueError: It is damaged.
    """
    if plain["format"] != CHAIN_FORMAT:
        raise BundleError(
            f"The chain is of format {plain['format']!r}; this version of Tocsin reads format {CHAIN_FORMAT}. Use the "
            "version that wrote it, or fit the chain anew: tocsin calibrate."
        )
    steps = [
        SavedStep(step["role"], component_of(step["component"]), step["state"]) for step in plain["steps"]
    ]
    roles = [step.role for step in steps]
    if not roles or roles != [role for role in STEPS if role in roles]:
        raise ValueError(
            f"the chain's steps are {roles}; wanted some of {', '.join(STEPS)}, each once, in this order"
        )
    if not all(isinstance(step.state, dict) for step in steps):
        raise ValueError("the state of a step is no mapping")
    labels, facts = plain["labels"], plain["facts"]
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise ValueError("the chain's labels are no list of names")
    if not isinstance(facts, dict):
        raise ValueError("the chain's facts are no mapping")
    digest = plain.get("digest")
    if digest is not None and not isinstance(digest, str):
        raise ValueError("the chain's digest is no text")
    return SavedChain(labels, steps, {str(key): str(value) for key, value in facts.items()}, digest=digest)


def component_of(value: Any) -> ComponentName:
    """A component as `tocsin.json` names it.

    Raises:
        KeyError, TypeError, ValueError: It is none.
    """
    name, arguments = value["name"], value["arguments"]
    if not isinstance(name, str) or not name.isidentifier() or not isinstance(arguments, dict):
        # A dotted path would be an invitation to import something.
        raise ValueError(f"{name!r} is no component's short name")
    return ComponentName(name, arguments, _origin(value.get("origin")))


def max_length_of(plain: dict[str, Any]) -> int:
    """The tokens that a text keeps; ValueError, TypeError or OverflowError for what is no such number."""
    most = int(plain["max_length"])
    if not 1 <= most < 2**31:  # a tokenizer counts no further
        raise ValueError(f"max_length is {most!s:.40}")
    return most


def threshold_of(plain: dict[str, Any]) -> float:
    """The probability from which a label is on; errors as in `max_length_of`."""
    threshold = float(plain["threshold"])
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}")
    return threshold


def _manifest(plain: dict[str, Any]) -> Manifest:
    if plain["encoder"] not in (".", "encoder"):
        raise ValueError(f"encoder folder {plain['encoder']!r}")
    labels = plain["labels"]
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise ValueError("labels are no list of names")
    return Manifest(
        labels=labels,
        cleaner=component_of(plain["cleaner"]),
        prompt=str(plain["prompt"]),
        max_length=max_length_of(plain),
        encoder=plain["encoder"],
        head=component_of(plain["head"]),
        pooling=None if plain["pooling"] is None else component_of(plain["pooling"]),
        threshold=threshold_of(plain),
        canaries=[
            Canary(str(c["text"]), str(c["tokens"]), [float(p) for p in c["probabilities"]])
            for c in plain["canaries"]
        ],
        written_by=str(plain["written_by"]),
        labels_digest=str(plain["labels_digest"]),
        chain=None if plain.get("chain") is None else chain_from_plain(plain["chain"]),
        reading=reading_from_plain(plain.get("reading"), _origin),
    )
