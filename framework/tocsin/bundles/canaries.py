"""Texts that show whether a bundle still does what it did when it was written: tokenizer, weights and label order."""

from collections.abc import Sequence

import numpy as np

from tocsin.bundles.manifest import Canary, Manifest
from tocsin.bundles.predictor import Predictor
from tocsin.errors import BundleError
from tocsin.scores.table import sigmoid
from tocsin.text.cleaners import Cleaner

__all__ = [
    "CANARY_TEXTS",
    "TOLERANCE",
    "changed_tokens",
    "check_canaries",
    "largest_difference",
    "make_canaries",
]

# Several scripts, a link, a mention, an emoji, and a text longer than most length limits.
CANARY_TEXTS = (
    "The bridge is under water and two families are still on the roof.",
    "RT @someone: necesitamos agua potable en la escuela http://example.org/a &amp; mantas",
    "L'hôpital n'a plus d'électricité depuis hier soir.",
    "Nou bezwen manje ak dlo nan kan an, tanpri ede nou.",
    "الطريق مغلق والناس ينتظرون المساعدة",
    "बाढ़ के बाद गाँव में बिजली नहीं है",
    "地震之后学校的墙倒了 😢",
    "Nothing happened today, the market was open and it was sunny. " * 12,
)

TOLERANCE = 1e-3
"""Largest difference of a probability that is taken for another processor's rounding."""


def make_canaries(
    predictor: Predictor, cleaner: Cleaner, texts: Sequence[str] = CANARY_TEXTS
) -> list[Canary]:
    """Note tokens and probabilities of the canary texts."""
    cleaned = [cleaner.clean(text) for text in texts]
    probabilities = sigmoid(predictor.logits(cleaned))
    return [
        Canary(text, predictor.tokens_digest(ids), [round(float(p), 7) for p in row])
        for text, ids, row in zip(texts, predictor.token_ids(cleaned), probabilities, strict=True)
    ]


def changed_tokens(canaries: Sequence[Canary], predictor: Predictor, cleaner: Cleaner) -> Canary | None:
    """The first canary whose tokens are no longer those that were noted; None where all are."""
    all_ids = predictor.token_ids([cleaner.clean(canary.text) for canary in canaries])
    for canary, ids in zip(canaries, all_ids, strict=True):
        if predictor.tokens_digest(ids) != canary.tokens:
            return canary
    return None


def largest_difference(canaries: Sequence[Canary], predictor: Predictor, cleaner: Cleaner) -> float:
    """The largest difference of a probability from what was noted; NaN where one is no number."""
    wanted = np.array([canary.probabilities for canary in canaries])
    found = sigmoid(predictor.logits([cleaner.clean(canary.text) for canary in canaries]))
    return float(np.abs(found - wanted).max(initial=0.0))


def check_canaries(manifest: Manifest, predictor: Predictor, cleaner: Cleaner, where: str) -> None:
    """Compare the canaries with what the loaded bundle gives.

    Raises:
        BundleError: Token ids differ, or a probability differs by more than `TOLERANCE`.
    """
    changed = changed_tokens(manifest.canaries, predictor, cleaner)
    if changed is not None:
        raise BundleError(
            f"{where}: the tokenizer no longer gives the tokens that it gave when the bundle was written (canary "
            f"{changed.text[:40]!r}); predictions would be wrong. Either a tokenizer file was changed, or this version "
            f"of transformers reads it otherwise: take the bundle afresh from its run. Or the cleaner "
            f"{manifest.cleaner.name} cleans otherwise than when the bundle was written: install the version of its "
            "plugin that tocsin.json names, or fit again."
        )
    off = largest_difference(manifest.canaries, predictor, cleaner)
    if not off <= TOLERANCE:
        raise BundleError(
            f"{where}: probabilities of the canary texts are off by {off:.3g} (at most {TOLERANCE} is "
            "rounding). Either the weights were changed or do not belong to this tocsin.json: take the bundle "
            "afresh from its run. Or a component computes something else than when the bundle was written: "
            "install the version of its plugin that tocsin.json names, or fit again."
        )
