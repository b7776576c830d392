"""`tocsin.json` of an ensemble: its members, how their scores are combined, and the chain behind, as plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin.bundle_files import FORMAT, MANIFEST, read_bundle_file
from tocsin.bundles.manifest import (
    DAMAGE,
    Manifest,
    SavedChain,
    canaries_of,
    chain_from_plain,
    kind_of,
    labels_of,
    read_manifest,
    threshold_of,
)
from tocsin.bundles.reading import SavedReading
from tocsin.errors import BundleError
from tocsin.labels.schemes import label_digest

__all__ = [
    "MEMBERS",
    "EnsembleCanary",
    "EnsembleManifest",
    "SavedMember",
    "read_ensemble_manifest",
    "read_labelled_manifest",
    "remembered_reading",
]

MEMBERS = "members"
"""The folder, inside an ensemble's, that holds the members' bundles."""
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class SavedMember:
    """A member: the bundle of one network, whole, inside the ensemble's folder.

    Args:
        name: As reports call it.
        folder: Its folder's name in `members/`.
    """

    name: str
    folder: str


@dataclass(frozen=True)
class EnsembleCanary:
    """A text whose joint probabilities were noted when the ensemble was written, and are compared when it is loaded.

    Args:
        text: As a user would give it.
        probabilities: One a label, before calibration.
    """

    text: str
    probabilities: list[float]


@dataclass(frozen=True)
class EnsembleManifest:
    """All of an ensemble's `tocsin.json`.

    Args:
        labels: Names in order. Members may have them in another order.
        members: In the order in which the ensembler takes their scores.
        ensemble: A chain of the ensembler alone.
        threshold: A label is decided "on" from this probability, where no chain has a decision rule.
        canaries: Checked at load.
        written_by: Tocsin's version.
        labels_digest: Of `labels`.
        chain: From joint scores to decisions; None before `tocsin calibrate`.
        kind: Of bundle.
        format: Of this file.
    """

    labels: list[str]
    members: list[SavedMember]
    ensemble: SavedChain
    threshold: float
    canaries: list[EnsembleCanary]
    written_by: str
    labels_digest: str
    chain: SavedChain | None = None
    kind: str = "ensemble"
    format: int = FORMAT

    @property
    def facts(self) -> dict[str, str]:
        """What its joint scores say they were made with."""
        return {"checkpoint": self.ensemble.digest or ""}


def read_labelled_manifest(folder: Path) -> Manifest | EnsembleManifest:
    """Read `tocsin.json` of a bundle that predicts labels: of one network, or of an ensemble.

    Raises:
        BundleError: As `read_manifest` and `read_ensemble_manifest`.
    """
    return read_ensemble_manifest(folder) if kind_of(folder) == "ensemble" else read_manifest(folder)


def remembered_reading(folder: Path) -> SavedReading | None:
    """How the files of a bundle's fit were read; of an ensemble, where its members' were read alike.

    Raises:
        BundleError: As `read_labelled_manifest`.
    """
    manifest = read_labelled_manifest(folder)
    if isinstance(manifest, Manifest):
        return manifest.reading
    first, *others = (read_manifest(folder / MEMBERS / each.folder).reading for each in manifest.members)
    return first if all(other == first for other in others) else None


def read_ensemble_manifest(folder: Path) -> EnsembleManifest:
    """Read and check an ensemble's `tocsin.json`.

    Raises:
        BundleError: Missing, not JSON, of another format or kind, or with a value of the wrong kind.
    """
    path = folder / MANIFEST
    plain = read_bundle_file(folder)
    if plain.get("kind") != "ensemble":
        raise BundleError(f"{folder} is no ensemble's bundle.")
    try:
        manifest = _manifest(plain)
    except DAMAGE as error:
        raise BundleError(f"{path} is damaged: {type(error).__name__} {error}.") from error
    if label_digest(manifest.labels) != manifest.labels_digest:
        raise BundleError(
            f"{path}: the label names do not match their digest; they were changed or put in another order."
        )
    return manifest


def _manifest(plain: dict[str, Any]) -> EnsembleManifest:
    labels = labels_of(plain)
    members = [_member(each) for each in plain["members"]]
    for what, values in (
        ("names", [each.name for each in members]),
        ("folders", [each.folder for each in members]),
    ):
        if not values or len(set(values)) != len(values):
            raise ValueError(f"the members' {what} are {values}; wanted each once")
    ensemble = chain_from_plain(plain["ensemble"])
    if [step.role for step in ensemble.steps] != ["ensembler"]:
        raise ValueError(f"the members are combined by {ensemble.name}; wanted an ensembler alone")
    chain = None if plain.get("chain") is None else chain_from_plain(plain["chain"])
    if chain is not None and chain.steps[0].role == "ensembler":
        raise ValueError(f"the chain {chain.name} begins with a second ensembler")
    return EnsembleManifest(
        labels=labels,
        members=members,
        ensemble=ensemble,
        threshold=threshold_of(plain),
        canaries=[
            EnsembleCanary(text, probabilities)
            for text, _, probabilities in canaries_of(plain, "probabilities", len(labels))
        ],
        written_by=str(plain["written_by"]),
        labels_digest=str(plain["labels_digest"]),
        chain=chain,
    )


def _member(plain: Any) -> SavedMember:
    name, folder = plain["name"], plain["folder"]
    if not isinstance(name, str) or not isinstance(folder, str) or not _FOLDER.fullmatch(folder):
        # A path would be an invitation to read files elsewhere.
        raise ValueError(f"{folder!r} is no member's folder")
    return SavedMember(name, folder)
