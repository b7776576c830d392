"""An ensemble as a bundle: one folder with its members' bundles inside, loaded and used like any other.

    tocsin.json          labels, members, size and SHA-256 of each file below, the fitted ensembler, canaries, the chain
    members/NAME/        a member's bundle, whole
    README.md            model card

What a member made of its scores by a chain of its own is put aside: raw scores are combined. Nothing is pickled, and
nothing names code to import. Axes: M members, N texts, L labels.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from tocsin.bundle_files import BundleWarning, check_bundle
from tocsin.bundles.canaries import TOLERANCE, check_canaries
from tocsin.bundles.ensemble_manifest import (
    MEMBERS,
    EnsembleCanary,
    EnsembleManifest,
    SavedMember,
    read_ensemble_manifest,
)
from tocsin.bundles.load import (
    Bundle,
    Finder,
    build_component,
    load_bundle,
    open_bundle,
    restore_chain,
)
from tocsin.bundles.manifest import kind_of
from tocsin.bundles.predictions import PredictsLabels
from tocsin.bundles.predictor import TokenCounts
from tocsin.errors import BundleError
from tocsin.scores.chain import Chain
from tocsin.scores.members import with_labels_in_order
from tocsin.scores.roles import Ensembler
from tocsin.scores.table import ScoresTable

__all__ = [
    "EnsembleBundle",
    "largest_joint_difference",
    "load_classifier",
    "load_ensemble",
    "open_member",
]


class EnsembleBundle(PredictsLabels):
    """A loaded ensemble; `tocsin.load(folder)` gives one.

    Args:
        folder: Where it lies.
        manifest: Its `tocsin.json`.
        members: The members' bundles, in the order in which the ensembler takes their scores.
        ensembler: Fitted.
        chain: From joint scores to decisions; None where there is none, or it cannot be used.
        no_chain: Why the chain that the bundle has cannot be used; "" where it can, or there is none.
    """

    def __init__(
        self,
        folder: Path,
        manifest: EnsembleManifest,
        members: Sequence[Bundle],
        ensembler: Ensembler,
        chain: Chain | None = None,
        no_chain: str = "",
    ) -> None:
        super().__init__(folder, manifest.labels, manifest.threshold, chain, no_chain)
        self.manifest = manifest
        self.members = list(members)
        self.ensembler = ensembler

    @property
    def needs_langs(self) -> bool:
        """Whether the ensembler or the chain treats languages differently: `predict` then wants `langs`."""
        return super().needs_langs or "lang" in self.ensembler.columns

    def clean(self, text: str) -> str:
        """The text itself: each member cleans as its own training texts were cleaned."""
        return text

    def _member_scores(
        self, texts: Sequence[str], langs: Sequence[str | None] | None, advance: Callable[[int], None]
    ) -> list[tuple[ScoresTable, TokenCounts]]:
        """Raw scores of each member, labels in the ensemble's order, and what its tokenizer made of the texts."""
        seen = told = 0

        def step(done: int) -> None:
            nonlocal seen, told
            seen += done
            whole = seen // len(self.members)
            advance(whole - told)  # a text is done when all members have seen it
            told = whole

        found = []
        for member, saved in zip(self.members, self.manifest.members, strict=True):
            table, counts = member.counted_scores(texts, langs, step)
            found.append((with_labels_in_order(table, self.labels, f"The member {saved.name}"), counts))
        return found

    def counted_scores(
        self,
        texts: Sequence[str],
        langs: Sequence[str | None] | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> tuple[ScoresTable, TokenCounts]:
        """Joint scores of texts, before any chain; see `PredictsLabels`.

        Tokens are counted over all members. A joint score needs the score of each, so a text is readable where every
        member can read it.
        """
        tables, counts = zip(*self._member_scores(texts, langs, advance), strict=True)
        joint = TokenCounts(
            np.sum([each.tokens for each in counts], axis=0),
            np.sum([each.unknown for each in counts], axis=0),
            np.all([each.readable for each in counts], axis=0),
        )
        return self.ensembler.apply(list(tables)).uncalibrated(), joint

    def encode(self, texts: Sequence[str]) -> NoReturn:
        """Refuse: an ensemble has no vectors of its own.

        Raises:
            BundleError: Always.
        """
        names = ", ".join(saved.folder for saved in self.manifest.members)
        raise BundleError(
            f"{self.folder} is an ensemble, which has no vectors of its own. Its members have, each its own kind: "
            f"tocsin.load of one of the folders in {self.folder / MEMBERS} ({names})."
        )


def load_classifier(folder: Path, registry: Finder, device: str = "cpu") -> Bundle | EnsembleBundle:
    """Load a bundle that predicts labels, of one network or of an ensemble; arguments and errors as `load_bundle`."""
    if kind_of(folder) == "ensemble":
        return load_ensemble(folder, registry, device)
    return load_bundle(folder, registry, device)


def load_ensemble(folder: Path, registry: Finder, device: str = "cpu") -> EnsembleBundle:
    """Load an ensemble and check its files, its members' canaries, and its own.

    Args:
        folder: As `save_ensemble` wrote it.
        registry: Gives components by short name. The bundle carries no list of its own.
        device: Where to compute.

    Raises:
        BundleError: Incomplete, altered, or for a component that nobody here offers. The ensembler is one that cannot
            be done without: the scores of a single member are not the ensemble's.
    """
    manifest = read_ensemble_manifest(folder)
    check_bundle(folder)
    ensembler = _ensembler(manifest, registry, folder)
    members = [_member(folder, saved, manifest.labels, registry, device) for saved in manifest.members]
    chain, no_chain = (
        (None, "")
        if manifest.chain is None
        else restore_chain(manifest.chain, registry, manifest.labels, folder)
    )
    bundle = EnsembleBundle(folder, manifest, members, ensembler, chain, no_chain)
    off = largest_joint_difference(manifest.canaries, bundle)
    if not off <= TOLERANCE:
        raise BundleError(
            f"{folder}: joint probabilities of the canary texts are off by {off:.3g} (at most {TOLERANCE} is "
            "rounding), and the members' own are not: what the ensembler learned was changed, or this version of it "
            "computes something else. Take the bundle afresh, or install the version that tocsin.json names."
        )
    if no_chain:
        warnings.warn(no_chain, BundleWarning, stacklevel=4)
    return bundle


def open_member(folder: Path, name: str, registry: Finder, device: str = "cpu") -> Bundle:
    """Load a member's bundle, whose files were checked, for its raw scores, and check its canaries.

    Raises:
        BundleError: As `load_bundle`; names the member.
    """
    try:
        bundle = open_bundle(folder, registry, device, with_chain=False, checked=True)
        check_canaries(bundle.manifest, bundle.predictor, bundle.cleaner, str(folder))
    except BundleError as error:
        raise BundleError(f"The member {name}: {error}") from error
    return bundle


def largest_joint_difference(canaries: Sequence[EnsembleCanary], bundle: EnsembleBundle) -> float:
    """The largest difference of a joint probability from what was noted."""
    wanted = np.array([canary.probabilities for canary in canaries])
    found = bundle.raw_scores([canary.text for canary in canaries]).raw_probabilities
    return float(np.abs(found - wanted).max(initial=0.0))


def _ensembler(manifest: EnsembleManifest, registry: Finder, folder: Path) -> Ensembler:
    step = manifest.ensemble.steps[0]
    # Before anything is made of the state: what it says of its members may be anything, endless numbers included.
    fitted_for = step.state.get("members")
    if isinstance(fitted_for, int | float) and fitted_for != len(manifest.members):
        raise BundleError(
            f"{folder}: the chain {manifest.ensemble.name} does not fit this bundle: it was fitted for {fitted_for} "
            f"members, and the bundle has {len(manifest.members)}. tocsin.json is damaged; take the bundle afresh."
        )
    try:
        build_component(registry, step.role, step.component)
    except BundleError as error:
        raise BundleError(
            f"{folder}: the scores of its {len(manifest.members)} members cannot be combined, and those of one member "
            f"alone are not the ensemble's; so there are no raw probabilities either. {error}"
        ) from error
    chain, fault = restore_chain(
        manifest.ensemble, registry, manifest.labels, folder, members=len(manifest.members)
    )
    if chain is None or chain.ensembler is None:
        raise BundleError(fault)
    return chain.ensembler


def _member(folder: Path, saved: SavedMember, labels: Sequence[str], registry: Finder, device: str) -> Bundle:
    place = folder / MEMBERS / saved.folder
    bundle = open_member(place, saved.name, registry, device)
    if sorted(bundle.labels) != sorted(labels):
        raise BundleError(f"{place} has the labels {list(bundle.labels)}, and the ensemble {list(labels)}.")
    return bundle
