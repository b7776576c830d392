"""Putting a fitted chain into a bundle, as plain data."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tocsin.arguments import Origin, fault_of_arguments, is_plain
from tocsin.bundle_files import (
    CARD,
    BundleWarning,
    check_bundle,
    noted_files,
    read_bundle_file,
    write_bundle_file,
)
from tocsin.bundles.card import card_with_chain
from tocsin.bundles.ensemble_manifest import read_labelled_manifest
from tocsin.bundles.load import Finder, check_columns, restore_chain
from tocsin.bundles.manifest import (
    ComponentName,
    SavedChain,
    SavedStep,
    chain_from_plain,
)
from tocsin.checksums import Entry
from tocsin.errors import BundleError
from tocsin.files import whole_file
from tocsin.labels.schemes import check_same_labels
from tocsin.scores.chain import Chain

__all__ = ["check_room", "check_same_network", "save_chain", "saved_chain"]


def saved_chain(chain: Chain, origin: Callable[[type], Origin] | None = None) -> SavedChain:
    """Return a chain as plain data.

    Args:
        chain: Fitted.
        origin: Tells the distribution that offers a step, noted so that somebody without it learns what to install.

    Raises:
        BundleError: An argument or a state is no plain data.
    """
    steps = []
    for role, step in chain.steps():
        fault = fault_of_arguments(step)
        if fault:
            raise BundleError(fault)
        state = step.state()
        if not isinstance(state, dict) or not is_plain(state):
            raise BundleError(
                f"The state of {type(step).__name__} is no plain data, which alone a bundle can hold. Ask its author: "
                "tocsin.plugins.testing checks it."
            )
        offered = None if origin is None else origin(type(step))
        offered = offered if offered is not None and offered.installable else None
        steps.append(SavedStep(role, ComponentName(type(step).__name__, step.arguments, offered), state))
    saved = SavedChain(list(chain.labels), steps, dict(chain.facts))
    return replace(saved, digest=saved.content_digest())


def check_room(folder: Path, chain: Chain, *, force: bool) -> None:
    """Refuse, before anything is computed, a bundle that the chain cannot go into.

    Raises:
        BundleError: `folder` is no bundle, or holds a chain and `force` is false; or the chain was fitted on scores
            of another network, as far as both say where they come from.
        LabelError: The chain's labels are not the bundle's.
        ConfigError: The chain reads a column that no bundle has.
    """
    manifest = read_labelled_manifest(folder)
    check_same_labels(
        chain.labels, manifest.labels, where=f"the bundle {folder}", what="the labels of the scores"
    )
    check_columns(chain)
    check_same_network(chain.facts, manifest.facts, str(folder))
    if manifest.chain is not None and not force:
        run = manifest.chain.facts.get("run", "")
        raise BundleError(
            f"{folder} holds a chain already: {manifest.chain.name}{f', fitted on {run}' if run else ''}. Whoever uses "
            "the bundle would get other decisions. --force puts the new one in its place."
        )


def check_same_network(scores: Mapping[str, str], bundle: Mapping[str, str], where: str) -> None:
    """Refuse scores of another network than a bundle's; say where nothing tells whether they are.

    Args:
        scores: `checkpoint`, `step` and `run` as the scores say them, where they do.
        bundle: The same, as the bundle does.
        where: What messages call the bundle.

    Raises:
        BundleError: The two come from different checkpoints or runs.
    """
    for key in ("checkpoint", "run"):
        ours, theirs = scores.get(key), bundle.get(key)
        if not ours or not theirs:
            continue
        if ours == theirs:
            return
        raise BundleError(
            f"The scores are of another network than {where}: {_words(scores, key)}, and the bundle was made of "
            f"{_words(bundle, key)}. What is fitted on one network's scores holds for no other. Give the scores that "
            "lie in the bundle's own run, or score the messages again with it."
        )
    warnings.warn(
        f"{where}: nothing tells whether the scores are of this bundle's network, since one of them does not say which "
        "checkpoint or run it comes from. Make sure of it.",
        BundleWarning,
        stacklevel=3,
    )


def _words(facts: Mapping[str, str], key: str) -> str:
    if key == "run":
        return f"the run {facts['run']}"
    step = f" (step {facts['step']})" if "step" in facts else ""
    run = f" of the run {facts['run']}" if "run" in facts else ""
    return f"the checkpoint {facts['checkpoint'][:12]}…{step}{run}"


def save_chain(
    folder: str | Path, chain: Chain, registry: Finder, *, summary: str = "", force: bool = False
) -> None:
    """Write a chain into a bundle's `tocsin.json` and a section about it into its model card.

    `tocsin.json` is replaced as a whole: who reads meanwhile sees the old chain or the new one. A bundle with a damaged
    file is left as it is.

    Args:
        folder: The bundle.
        chain: Fitted on scores of the bundle's model; of an ensemble's bundle, on joint scores.
        registry: Offers the steps; what was written is restored with it first, and must apply.
        summary: Markdown for the model card.
        force: Replace a chain that the bundle has already.

    Raises:
        BundleError: As in `check_room`; the bundle is damaged; or a step cannot be kept as plain data and restored
            from it.
        LabelError: The chain's labels are not the bundle's.
    """
    folder = Path(folder)
    check_room(folder, chain, force=force)
    check_bundle(folder)
    saved = saved_chain(chain, registry.origin)
    plain: dict[str, Any] = json.loads(json.dumps(asdict(saved), allow_nan=False))
    _, fault = restore_chain(chain_from_plain(plain), registry, chain.labels, folder)
    if fault:
        raise BundleError(fault)
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    content = card_with_chain(text, saved.name, summary).encode("utf-8")
    files = noted_files(folder, read_bundle_file(folder))
    files[CARD] = Entry(hashlib.sha256(content).hexdigest(), len(content))
    # First what decides: a kill in between leaves an old card, and whoever loads the bundle is told of that.
    write_bundle_file(folder, asdict(replace(read_labelled_manifest(folder), chain=saved)), files)
    with whole_file(card) as part:
        part.write_bytes(content)
