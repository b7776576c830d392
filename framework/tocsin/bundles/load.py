"""Loading a bundle. Nothing in it is pickled, and nothing in it is imported: components come from the registry by name.

Axes: N texts, L labels, D width.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file

from tocsin.arguments import CORE, Origin
from tocsin.bundle_files import BundleWarning, check_bundle
from tocsin.bundles.canaries import check_canaries
from tocsin.bundles.manifest import ComponentName, Manifest, SavedChain, read_manifest
from tocsin.bundles.predictions import Predictions, PredictsLabels, table_of_texts
from tocsin.bundles.predictor import Predictor, TokenCounts
from tocsin.errors import BundleError, ConfigError, TocsinError
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.model_files import check_model_files, check_tensors
from tocsin.models.native_head import NativeHead
from tocsin.scores.chain import STEPS, Chain, check_applies
from tocsin.scores.table import ScoresTable
from tocsin.text.inputs import as_texts, has_content

__all__ = [
    "ROLES",
    "Bundle",
    "BundleWarning",
    "Finder",
    "Predictions",
    "build_component",
    "check_all_tensors",
    "check_columns",
    "check_network_files",
    "load_bundle",
    "loading",
    "open_bundle",
    "restore_chain",
]

ROLES = ("cleaner", "pooling", "head", *STEPS)
"""The roles of the components that a bundle names."""


class Finder(Protocol):
    """Whoever knows components by name: the registry of the plugin manager."""

    def find(self, role: str, name: str) -> type[Any]:
        """The class of that role and short name."""

    def origin(self, component: type) -> Origin:
        """The distribution that offers a component."""


class Bundle(PredictsLabels):
    """A loaded bundle; `tocsin.load(folder)` gives one.

    Args:
        folder: Where it lies.
        manifest: Its `tocsin.json`.
        cleaner: Built.
        predictor: Filled.
        chain: From raw scores to decisions; None where there is none, or it cannot be used.
        no_chain: Why the chain that the bundle has cannot be used; "" where it can, or there is none.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        cleaner: Any,
        predictor: Predictor,
        chain: Chain | None = None,
        no_chain: str = "",
    ) -> None:
        super().__init__(folder, manifest.labels, manifest.threshold, chain, no_chain)
        self.manifest = manifest
        self.cleaner = cleaner
        self.predictor = predictor

    def clean(self, text: str) -> str:
        """What the training texts went through."""
        return self._cleaned(as_texts([text], "text"))[0]

    def _cleaned(self, texts: Sequence[str]) -> list[str]:
        # As reading does for a fit: a cleaner may cut a surrogate pair.
        return [self.cleaner.clean(text).encode("utf-8", "replace").decode("utf-8") for text in texts]

    def counted_scores(
        self,
        texts: Sequence[str],
        langs: Sequence[str | None] | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> tuple[ScoresTable, TokenCounts]:
        """Logits of texts, before any chain; see `PredictsLabels`."""
        cleaned = self._cleaned(texts)
        logits, counts = self.predictor.counted_logits(cleaned, advance)
        seen = np.array([has_content(text) for text in cleaned], dtype=bool)
        return table_of_texts(self.labels, logits, langs), replace(counts, readable=counts.readable & seen)

    def encode(self, texts: Any) -> np.ndarray:
        """Vectors `(N, D)` float32 of texts, cleaned first; not normalised to length one.

        Args:
            texts: A list, an array, a column, any iterable with an order; one str is one text.

        Raises:
            DataError: It is no container of texts, or one of them is none; names its position.
        """
        return self.predictor.vectors(self._cleaned(as_texts(texts)))


def load_bundle(folder: str | Path, registry: Finder, device: str = "cpu") -> Bundle:
    """Load a bundle and check its canaries.

    Args:
        folder: As `save_bundle` wrote it.
        registry: Gives heads, poolings and cleaners by short name. The bundle carries no list of its own.
        device: Where to compute.

    Raises:
        BundleError: Incomplete, altered, made for code of its own, or for a component that nobody here offers.
    """
    bundle = open_bundle(Path(folder), registry, device)
    check_canaries(bundle.manifest, bundle.predictor, bundle.cleaner, str(folder))
    if bundle.no_chain:
        warnings.warn(bundle.no_chain, BundleWarning, stacklevel=4)
    return bundle


def open_bundle(
    folder: Path, registry: Finder, device: str = "cpu", *, with_chain: bool = True, checked: bool = False
) -> Bundle:
    """Load a bundle without a look at its canaries; arguments and errors as those of `load_bundle`.

    Args:
        folder: The bundle.
        registry: Gives its components.
        device: Where to compute.
        with_chain: Without it the bundle gives raw scores, whatever chain it has.
        checked: Whether somebody has just checked its files: those of a member are its ensemble's.
    """
    manifest = read_manifest(folder)
    if not checked:
        check_bundle(folder)
    inner = folder / manifest.encoder
    check_network_files(inner)
    check_all_tensors(folder)
    head = build_component(registry, "head", manifest.head)
    pooling = None if manifest.pooling is None else build_component(registry, "pooling", manifest.pooling)
    cleaner = build_component(registry, "cleaner", manifest.cleaner)
    encoder = TransformerEncoder(str(inner), prompt=manifest.prompt)
    with loading(folder, lambda: _another_version(manifest.head.origin, registry.origin(type(head)))):
        encoder.load()
        _ = encoder.tokenizer
        head.build(encoder.config, len(manifest.labels), encoder.pooler)
        if isinstance(head, NativeHead):
            head.load_native_state(load_file(inner / "model.safetensors"))
        else:
            head.load_state_dict(load_file(folder / "head.safetensors"))
        if pooling is not None:
            pooling.build(encoder.config)
            weights = folder / "pooling.safetensors"
            # A file where none is wanted is an error too: the pooling is not the one that was trained.
            if weights.is_file() or pooling.state_dict():
                pooling.load_state_dict(load_file(weights))
    predictor = Predictor(encoder, head, pooling, len(manifest.labels), manifest.max_length, device)
    chain, no_chain = (
        (None, "")
        if manifest.chain is None or not with_chain
        else restore_chain(manifest.chain, registry, manifest.labels, folder)
    )
    return Bundle(folder, manifest, cleaner, predictor, chain, no_chain)


def restore_chain(
    saved: SavedChain, registry: Finder, labels: Sequence[str], folder: Path, members: int = 1
) -> tuple[Chain | None, str]:
    """Build a chain's steps by name and give them back what they learned.

    Args:
        saved: As it stands in `tocsin.json`.
        registry: Gives the steps' classes.
        labels: Of the bundle, in order.
        folder: For messages.
        members: Whose scores an ensembler at its beginning combines.

    Returns:
        The chain and "", or None and a sentence that names the step nobody offers here.

    Raises:
        BundleError: A step cannot be built or restored, was fitted for other labels, or reads a column that no bundle
            has; or the chain is not the one that was written.
    """
    steps: dict[str, Any] = {}
    for step in saved.steps:
        try:
            registry.find(step.role, step.component.name)
        except ConfigError as error:
            missing = _missing(step.role.replace("_", " "), step.component, str(error))
            return None, (
                f"{folder}: the chain {saved.name} cannot be used, so probabilities are raw ones, and decisions are "
                f"refused. {missing}"
            )
        made = build_component(registry, step.role, step.component)
        try:
            steps[step.role] = made.restore(step.state)
        except Exception as error:  # a plugin's component may raise anything
            raise BundleError(
                f"{folder}: what the {step.role.replace('_', ' ')} {step.component.name} learned cannot be taken over: "
                f"{type(error).__name__}: {error}. tocsin.json is damaged, or of another version of the plugin"
                f"{_another_version(step.component.origin, registry.origin(type(made)))}."
            ) from error
    try:
        chain = Chain(labels=tuple(saved.labels), facts=dict(saved.facts), **steps)
        check_columns(chain)
        check_applies(chain, labels, members)
    except TocsinError as error:
        raise BundleError(f"{folder}: the chain {saved.name} does not fit this bundle: {error}") from error
    # Last, so that what is wrong is named where that is known.
    if saved.digest != _content_digest(saved):
        anew = "fit the chain anew: tocsin calibrate --force"
        if chain.ensembler is not None:
            anew = "write it anew: tocsin ensemble"
        raise BundleError(
            f"{folder}: the chain {saved.name} was changed after it was fitted: its SHA-256 is not the one that was "
            f"noted then. Take the bundle afresh, or {anew}."
        )
    return chain, ""


def _content_digest(saved: SavedChain) -> str | None:
    try:
        return saved.content_digest()
    except RecursionError:
        return None  # nothing that is written is nested so deep


def check_columns(chain: Chain) -> None:
    """Refuse, by a ConfigError, a chain that reads a column which texts do not bring along."""
    others = [name for name in chain.columns if name != "lang"]
    if others:
        raise ConfigError(
            f"The chain {chain.name} reads the column {others[0]!r}, and whoever predicts with a bundle has texts and "
            "languages alone. Fit it by lang, or without a column."
        )


def check_network_files(folder: Path) -> None:
    """Refuse a folder that transformers cannot read whole, or that names code, a hub or sizes without weights.

    Raises:
        BundleError: As said.
    """
    for name in ("config.json", "tokenizer_config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise BundleError(f"{folder} lacks {name}; the bundle is incomplete. Copy the whole folder.")
    try:
        check_model_files(folder)
    except ConfigError as error:
        raise BundleError(str(error)) from error


def check_all_tensors(folder: Path) -> None:
    """Look at the header of each safetensors file of a bundle, those in its folders among them.

    Raises:
        BundleError: One is torn, or none.
    """
    try:
        for path in sorted(folder.rglob("*.safetensors")):
            check_tensors(path)
    except ConfigError as error:
        raise BundleError(str(error)) from error


@contextlib.contextmanager
def loading(folder: Path, hint: Callable[[], str] = str) -> Iterator[None]:
    """Make a BundleError of whatever the libraries raise while they read a bundle's weights and tokenizer."""
    try:
        yield
    except BundleError:
        raise
    except BaseException as error:
        # A fault inside a library written in Rust is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BundleError(
            f"{folder}: the weights or the tokenizer cannot be read, or do not fit: "
            f"{str(error) if isinstance(error, TocsinError) else f'{type(error).__name__}: {error}'}{hint()}"
        ) from error


def _missing(role: str, named: ComponentName, unknown: str) -> str:
    """Say which plugin a bundle needs, and how to get it."""
    needs = f"The bundle needs the {role} {named.name}"
    if named.origin is None or named.origin.distribution == CORE:
        return f"{needs}. {unknown}"
    try:
        installed = version(named.origin.distribution)
    except PackageNotFoundError:
        return (
            f"{needs}, which the plugin {named.origin} offers, and that is not installed. If you trust its authors, "
            f"since a plugin is code: pip install {named.origin.distribution}=={named.origin.version} (or install it "
            f"from where the bundle came from).\n{unknown}"
        )
    differs = "" if installed == named.origin.version else f", and {installed} is installed"
    return (
        f"{needs}, which the plugin {named.origin} offers{differs}; it is not in use here. "
        f"`tocsin plugins --check` says why.\n{unknown}"
    )


def _another_version(wanted: Origin | None, found: Origin) -> str:
    if wanted is None or wanted == found:
        return ""
    return f" (the bundle was written with {wanted}, here is {found})"


def build_component(registry: Finder, role: str, named: ComponentName) -> Any:
    """The component that a bundle names, built with the bundle's arguments.

    Raises:
        BundleError: Nobody here offers it, or it takes other arguments.
    """
    try:
        component = registry.find(role, named.name)
    except ConfigError as error:
        raise BundleError(_missing(role, named, str(error))) from error
    try:
        made = component(**named.arguments)
    except Exception as error:  # a plugin's constructor may raise anything
        raise BundleError(
            f"The bundle's {role} {named.name} was built with other arguments than this version takes: {error}"
            f"{_another_version(named.origin, registry.origin(component))}"
        ) from error
    if isinstance(made, torch.nn.Module):
        made.eval()
    return made
