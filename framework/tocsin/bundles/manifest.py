"""`tocsin.json`: what a bundle holds, as plain data. It names components by their short names, never code to import."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tocsin.arguments import Origin
from tocsin.bundle_files import FORMAT, MANIFEST, read_bundle_file, write_bundle_file
from tocsin.bundles.reading import SavedReading, reading_from_plain
from tocsin.errors import BundleError
from tocsin.labels.schemes import label_digest
from tocsin.scores.chain import STEPS

__all__ = [
    "AN_ENSEMBLE",
    "CHAIN_FORMAT",
    "DAMAGE",
    "ONLY_VECTORS",
    "Canary",
    "ComponentName",
    "Manifest",
    "SavedChain",
    "SavedStep",
    "canaries_of",
    "chain_from_plain",
    "component_of",
    "facts_of",
    "kind_of",
    "labels_of",
    "max_length_of",
    "prompt_of",
    "read_manifest",
    "threshold_of",
    "write_manifest",
]

CHAIN_FORMAT = 1
_LONGEST_TEXT = 10_000
"""Characters of a prompt or a canary text at most."""
_MOST_CANARIES, _MOST_LABELS = 100, 100_000
DAMAGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What is raised where `tocsin.json` holds something else than was written."""

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
        facts: What it was fitted on, see `tocsin.scores.chain.Chain`.
        format: Of this part of the file.
        digest: Of all this when it was fitted; None before `saved_chain` has made it.
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
        facts: What it was made of, where that was known: `run`, `checkpoint` (SHA-256 of the file) and `step`.
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
    facts: dict[str, str] = field(default_factory=dict)
    chain: SavedChain | None = None
    reading: SavedReading | None = None
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a classifier's `tocsin.json`; see `write_bundle_file`."""
    write_bundle_file(folder, asdict(manifest))


def kind_of(folder: Path) -> str:
    """What a bundle is: "classifier", "encoder" or "ensemble".

    Raises:
        BundleError: No bundle, or one of another format.
    """
    return str(read_bundle_file(folder).get("kind", "classifier"))


def read_manifest(folder: Path) -> Manifest:
    """Read and check a classifier's `tocsin.json`.

    Raises:
        BundleError: Missing, not JSON, of another format or kind, or with a value of the wrong kind.
    """
    path = folder / MANIFEST
    plain = read_bundle_file(folder)
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
    digest = plain["digest"]
    if not isinstance(digest, str):
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


def prompt_of(plain: dict[str, Any]) -> str:
    """What is put before each text; ValueError for what is none, or longer than any text."""
    prompt = plain["prompt"]
    if not isinstance(prompt, str) or len(prompt) > _LONGEST_TEXT:
        raise ValueError(f"the prompt is no text of at most {_LONGEST_TEXT:,} characters")
    return prompt


def canaries_of(plain: dict[str, Any], key: str, width: int) -> list[tuple[str, dict[str, Any], list[float]]]:
    """Text, mapping and numbers of each canary; at least one and at most 100, since all are computed at each load.

    Args:
        plain: What `tocsin.json` holds.
        key: Of the numbers.
        width: How many numbers each has.

    Raises:
        KeyError, TypeError, ValueError: They are none.
    """
    canaries = plain["canaries"]
    if not isinstance(canaries, list) or not 0 < len(canaries) <= _MOST_CANARIES:
        raise ValueError(f"there are no canaries, or more than {_MOST_CANARIES}")
    found = []
    for canary in canaries:
        text, numbers = canary["text"], canary[key]
        if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
            raise ValueError(f"a canary is no text of at most {_LONGEST_TEXT:,} characters")
        if not isinstance(numbers, list) or len(numbers) != width:
            raise ValueError(f"the canary {text[:40]!r} has not {width} {key}")
        found.append((text, canary, [float(number) for number in numbers]))
    return found


def labels_of(plain: dict[str, Any]) -> list[str]:
    """Label names in order; ValueError for what is none."""
    labels = plain["labels"]
    named = isinstance(labels, list) and all(isinstance(name, str) for name in labels)
    if not named or not 0 < len(labels) <= _MOST_LABELS:
        raise ValueError(f"labels are no list of names, or more than {_MOST_LABELS:,}")
    return list(labels)


def facts_of(plain: dict[str, Any]) -> dict[str, str]:
    """What a bundle was made of; ValueError for what is no mapping."""
    facts = plain["facts"]
    if not isinstance(facts, dict):
        raise ValueError("the facts are no mapping")
    return {str(key): str(value) for key, value in facts.items()}


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
    labels = labels_of(plain)
    return Manifest(
        labels=labels,
        cleaner=component_of(plain["cleaner"]),
        prompt=prompt_of(plain),
        max_length=max_length_of(plain),
        encoder=plain["encoder"],
        head=component_of(plain["head"]),
        pooling=None if plain["pooling"] is None else component_of(plain["pooling"]),
        threshold=threshold_of(plain),
        canaries=[
            Canary(text, str(canary["tokens"]), probabilities)
            for text, canary, probabilities in canaries_of(plain, "probabilities", len(labels))
        ],
        written_by=str(plain["written_by"]),
        labels_digest=str(plain["labels_digest"]),
        facts=facts_of(plain),
        chain=None if plain.get("chain") is None else chain_from_plain(plain["chain"]),
        reading=reading_from_plain(plain.get("reading"), _origin),
    )
