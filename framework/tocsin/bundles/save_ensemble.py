"""Writing an ensemble's bundle: its members' bundles, copied, and the fitted ensembler as plain data."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tocsin.bundle_files import CARD, copy_bundle, write_bundle_file
from tocsin.bundles.canaries import CANARY_TEXTS
from tocsin.bundles.chain import saved_chain
from tocsin.bundles.ensemble import EnsembleBundle, load_ensemble, open_member
from tocsin.bundles.ensemble_manifest import MEMBERS, EnsembleCanary, EnsembleManifest, SavedMember
from tocsin.bundles.load import Finder, build_component, check_columns
from tocsin.bundles.manifest import Manifest, kind_of, read_manifest
from tocsin.errors import BundleError, LabelError
from tocsin.files import whole_folder
from tocsin.labels.schemes import label_digest
from tocsin.scores.chain import Chain

__all__ = ["check_members", "folder_names", "save_ensemble"]


def check_members(
    folders: Sequence[Path], names: Sequence[str], labels: Sequence[str], registry: Finder
) -> list[Manifest]:
    """Refuse, before anything is computed, bundles that cannot be members; return what they hold.

    Args:
        folders: The members' bundles.
        names: What messages call them.
        labels: Of the scores, in any order.
        registry: Offers the components that the bundles name.

    Raises:
        BundleError: A folder is no bundle of one network, or needs a component that nobody here offers.
        LabelError: A bundle has other labels than the scores.
    """
    manifests = []
    for folder, name in zip(folders, names, strict=True):
        if kind_of(folder) == "ensemble":
            raise BundleError(
                f"{folder} is an ensemble itself, and an ensemble's members are single networks. Give its members' "
                f"bundles in its place, those in {folder / MEMBERS}, with the scores of each."
            )
        manifest = read_manifest(folder)
        if sorted(manifest.labels) != sorted(labels):
            raise LabelError(
                f"The bundle {folder} has the labels {list(manifest.labels)}, and the scores of {name} {list(labels)}. "
                "Give the bundle whose scores these are."
            )
        for role, part in (
            ("head", manifest.head),
            ("pooling", manifest.pooling),
            ("cleaner", manifest.cleaner),
        ):
            if part is not None:
                build_component(registry, role, part)
        manifests.append(manifest)
    return manifests


def folder_names(names: Sequence[str]) -> list[str]:
    """Return a folder's name for each member: its name without what file systems dislike, a number where two agree."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60] or "member"
        number, tried = 1, plain
        while tried.lower() in (each.lower() for each in found):
            number, tried = number + 1, f"{plain}-{number + 1}"
        found.append(tried)
    return found


def save_ensemble(
    folder: str | Path,
    members: Sequence[tuple[str, Path]],
    chain: Chain,
    registry: Finder,
    *,
    card: str,
    version: str,
) -> Path:
    """Write an ensemble; the folder appears when it is whole.

    What was written is loaded again and its canaries are checked before the folder appears.

    Args:
        folder: Must not exist, or be empty.
        members: Name and bundle of each, in the order in which the ensembler was fitted on their scores. They are
            copied; their own chains are copied along and not used.
        chain: Of an ensembler alone, fitted.
        registry: Offers the components.
        card: Markdown of the model card.
        version: Tocsin's, noted in the bundle.

    Raises:
        BundleError: Something stands there already, a member cannot be loaded, the ensembler is no plain data, or the
            bundle, loaded again, gives something else.
        LabelError: A member has other labels.
        ConfigError: The ensembler reads a column that no bundle has.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f"{folder} exists and is not empty; an ensemble is written to a new folder.")
    names = [name for name, _ in members]
    check_members([path for _, path in members], names, chain.labels, registry)
    check_columns(chain)
    if chain.ensembler is None or chain.calibrator is not None or chain.decision_rule is not None:
        raise BundleError(f"An ensemble is written of an ensembler alone, not of {chain.name}.")
    if folder.exists():
        folder.rmdir()
    with whole_folder(folder) as part:
        saved = []
        for (name, source), inner in zip(members, folder_names(names), strict=True):
            place = part / MEMBERS / inner
            copy_bundle(source, place)
            saved.append(SavedMember(name, inner))
        manifest = EnsembleManifest(
            labels=list(chain.labels),
            members=saved,
            ensemble=saved_chain(chain, registry.origin),
            threshold=0.5,
            canaries=[],
            written_by=version,
            labels_digest=label_digest(chain.labels),
        )
        canaries = _canaries(part, manifest, chain, registry, folder)
        (part / CARD).write_text(card, encoding="utf-8")
        write_bundle_file(part, {**asdict(manifest), "canaries": [asdict(canary) for canary in canaries]})
        try:
            load_ensemble(part, registry)
        except Exception as error:  # a plugin's component may raise anything
            raise BundleError(
                f"{folder} was not written, since the ensemble could not be loaded again: "
                f"{str(error).replace(str(part), str(folder))}"
            ) from error
    return folder


def _canaries(
    part: Path, manifest: EnsembleManifest, chain: Chain, registry: Finder, folder: Path
) -> list[EnsembleCanary]:
    assert chain.ensembler is not None
    try:
        opened = [open_member(part / MEMBERS / each.folder, each.name, registry) for each in manifest.members]
    except BundleError as error:
        raise BundleError(
            f"{folder} was not written. {str(error).replace(str(part), str(folder))}"
        ) from error
    bundle = EnsembleBundle(part, manifest, opened, chain.ensembler)
    found_NL = bundle.raw_scores(CANARY_TEXTS).raw_probabilities
    return [
        EnsembleCanary(text, [round(float(p), 7) for p in row])
        for text, row in zip(CANARY_TEXTS, found_NL, strict=True)
    ]
