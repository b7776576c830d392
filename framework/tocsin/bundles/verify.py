"""Loads a bundle that was just written, before anybody sees it: it must give what the trained network gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tocsin.arguments import CORE, Origin
from tocsin.bundles.canaries import TOLERANCE, changed_tokens, largest_difference
from tocsin.bundles.load import Bundle, open_bundle
from tocsin.bundles.predictor import Predictor
from tocsin.errors import BundleError, TocsinError
from tocsin.models.classifier import MultilabelClassifier
from tocsin.text.cleaners import Cleaner

__all__ = ["verify_written"]


class _VeryClasses:
    """Gives a bundle the classes of what was trained, whatever the registry offers under their names."""

    def __init__(
        self, model: MultilabelClassifier, cleaner: Cleaner, origin: Callable[[type], Origin] | None
    ) -> None:
        self._classes = {"head": type(model.head), "pooling": type(model.pooling), "cleaner": type(cleaner)}
        self._origin = origin

    def find(self, role: str, name: str) -> type[Any]:
        return self._classes[role]

    def origin(self, component: type) -> Origin:
        return Origin(CORE, "") if self._origin is None else self._origin(component)


def verify_written(
    part: Path,
    folder: Path,
    model: MultilabelClassifier,
    cleaner: Cleaner,
    origin: Callable[[type], Origin] | None,
) -> None:
    """Load a bundle again and compare its canaries, which the trained network made.

    Args:
        part: Where the bundle lies, whole but unseen.
        folder: Where it shall stand, for messages.
        model: What was trained.
        cleaner: What the training texts went through.
        origin: Tells the distribution that offers a component.

    Raises:
        BundleError: It cannot be loaded, or gives other tokens or probabilities; names the component that differs.
    """
    try:
        bundle = open_bundle(part, _VeryClasses(model, cleaner, origin))
        fault = _fault(bundle, model, cleaner)
    except Exception as error:  # a plugin's component may raise anything
        fault = str(error) if isinstance(error, TocsinError) else f"{type(error).__name__}: {error}"
        raise BundleError(
            f"{folder} was not written, since the bundle could not be loaded again: "
            f"{fault.replace(str(part), str(folder))}"
        ) from error
    if fault:
        raise BundleError(f"{folder} was not written, since the bundle would predict something else: {fault}")


def _fault(bundle: Bundle, model: MultilabelClassifier, cleaner: Cleaner) -> str:
    canaries = bundle.manifest.canaries
    changed = changed_tokens(canaries, bundle.predictor, bundle.cleaner)
    if changed is not None:
        return _fault_of_tokens(changed.text, bundle, model, cleaner)
    off = largest_difference(canaries, bundle.predictor, bundle.cleaner)
    if off <= TOLERANCE:
        return ""
    return f"probabilities of the canary texts are off by {off:.3g}. {_fault_of_network(bundle, model)}"


def _fault_of_tokens(text: str, bundle: Bundle, model: MultilabelClassifier, cleaner: Cleaner) -> str:
    wanted, found = cleaner.clean(text), bundle.clean(text)
    if wanted != found:
        return (
            f"the cleaner {type(cleaner).__name__}, built again from its arguments, makes {found[:40]!r} of "
            f"{text[:40]!r}, and {wanted[:40]!r} before. Its arguments must say all of it."
        )
    return (
        f"the tokenizer of the encoder {type(model.encoder).__name__}, saved and read again, gives other tokens of "
        f"{text[:40]!r}. A bundle keeps what tokenizer.save_pretrained() writes, and nothing else of it."
    )


def _fault_of_network(bundle: Bundle, model: MultilabelClassifier) -> str:
    """Put one trained component at a time in place of the loaded one, and name the one that makes the difference."""
    encoder, pooling, head = (type(part).__name__ for part in (model.encoder, model.pooling, model.head))
    loaded = bundle.predictor
    causes = {
        "encoder": f"The encoder {encoder} computes something else than transformers does from the weights that its "
        "pretrained_state() returns, and a bundle holds these alone: what its forward adds is lost. Put that into a "
        "head, or train with TransformerEncoder.",
        "pooling": f"The pooling {pooling}, built again from its arguments, computes something else: these "
        "must say all of it.",
        "head": f"The head {head}, built again from its arguments and its state_dict(), computes something else: these "
        "must hold all of it.",
    }
    for name, cause in causes.items():
        trained = copy.deepcopy(getattr(model, name))
        if trained is None:
            continue
        parts: dict[str, Any] = {"encoder": loaded.encoder, "pooling": loaded.pooling, "head": loaded.head}
        parts[name] = trained.float().eval()
        mixed = Predictor(**parts, labels=loaded.labels, max_length=loaded.max_length)
        if largest_difference(bundle.manifest.canaries, mixed, bundle.cleaner) <= TOLERANCE:
            return cause
    return f"More than one of encoder {encoder}, pooling {pooling} and head {head} computes something else."
