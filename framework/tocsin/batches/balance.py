"""Rare labels in training: how often their messages come, and which labels have too few. N messages, L labels."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from tocsin.labels.targets import POSITIVE_FROM

__all__ = [
    "draw_epoch",
    "messages_an_epoch",
    "negatives_of",
    "positives_of",
    "repeat_factors",
    "repeats_digest",
    "sampling_facts",
]

METHOD = "repeat-factor sampling (Gupta et al. 2019, arXiv 1908.03195)"


def positives_of(targets_NL: np.ndarray) -> np.ndarray:
    """Return (L,) int64, the messages whose target is 1 (from 0.5 up, where targets are soft)."""
    return np.array([np.count_nonzero(target_N >= POSITIVE_FROM) for target_N in targets_NL.T], np.int64)


def negatives_of(targets_NL: np.ndarray) -> np.ndarray:
    """Return (L,) int64, the messages whose target is 0 (below 0.5, where targets are soft)."""
    return np.array([np.count_nonzero(target_N < POSITIVE_FROM) for target_N in targets_NL.T], np.int64)


def repeat_factors(targets_NL: np.ndarray, threshold: float) -> np.ndarray:
    """Return (N,) float64, at least 1: how often each message is to come in an epoch.

    Repeat-factor sampling of Gupta et al. 2019 (LVIS, arXiv 1908.03195, appendix): a label that is on in the share f
    of all messages has the factor max(1, sqrt(threshold / f)), and a message the largest factor of the labels that it
    is known to carry. f counts known positives over all messages, known or not: what is rare is rare in an epoch.

    Args:
        targets_NL: (N, L) of the training messages: 0, 1, NaN, or probabilities, which are on from 0.5 up.
        threshold: Share of messages, above 0 and at most 1, under which a label is repeated.
    """
    factors_N = np.ones(len(targets_NL))
    for target_N in targets_NL.T:
        on_N = target_N >= POSITIVE_FROM
        share = np.count_nonzero(on_N) / max(1, len(target_N))
        if 0 < share < threshold:
            factors_N[on_N] = np.maximum(factors_N[on_N], np.sqrt(threshold / share))
    return factors_N


def messages_an_epoch(factors_N: np.ndarray) -> int:
    """Return how many messages an epoch counts, repeats included: the factors' sum, its fractions rounded down."""
    whole_N = np.floor(factors_N)
    return int(whole_N.sum()) + _extras(factors_N - whole_N)


def draw_epoch(factors_N: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the positions of one epoch in random order, `messages_an_epoch` of them.

    Each position comes as often as the whole part of its factor says, and once more with the chance that the
    fraction says. The extra ones are drawn by systematic sampling over a random order (as many marks at equal distances
    along the summed fractions, from a random start), so that every epoch has the same number of messages and no
    message gets two extras. The chance is smaller than the fraction by less than one message in the whole epoch.

    Args:
        factors_N: (N,) at least 1 each.
        generator: Where chance comes from.
    """
    whole_N = np.floor(factors_N).astype(np.int64)
    order = generator.permutation(len(factors_N))
    sums = np.cumsum((factors_N - whole_N)[order])
    extras = _extras(factors_N - whole_N)
    times_N = whole_N.copy()
    if extras:
        # The distance is at least 1, a fraction less than 1: no two marks fall on one message.
        marks = (np.arange(extras) + generator.random()) * (sums[-1] / extras)
        at = np.minimum(np.searchsorted(sums, marks, side="right"), len(order) - 1)
        np.add.at(times_N, order[at], 1)
    return generator.permutation(np.repeat(np.arange(len(factors_N)), times_N))


def _extras(fractions_N: np.ndarray) -> int:
    # A sum such as 2.9999999996 means 3; the distance between marks stays at 1 within rounding.
    return int(np.floor(fractions_N.sum() + 1e-9))


def repeats_digest(factors_N: np.ndarray) -> str:
    """Return 16 hexadecimal digits that tell one set of factors from another."""
    return hashlib.blake2b(np.ascontiguousarray(factors_N, "<f8").tobytes(), digest_size=8).hexdigest()


def sampling_facts(targets_NL: np.ndarray, factors_N: np.ndarray, threshold: float) -> dict[str, Any]:
    """Return what the run record says of a balanced epoch, the share of positives that the model sees included.

    Args:
        targets_NL: (N, L) of the training messages.
        factors_N: (N,) of `repeat_factors`.
        threshold: Its argument.
    """
    known_NL = ~np.isnan(targets_NL)
    positives_L = factors_N @ np.where(known_NL, targets_NL, 0.0)
    known_L = factors_N @ known_NL
    return {
        "method": METHOD,
        "threshold": threshold,
        "messages_an_epoch": messages_an_epoch(factors_N),
        "messages_repeated": int(np.count_nonzero(factors_N > 1)),
        "largest_factor": float(factors_N.max(initial=1.0)),
        "prior_seen": [float(p / k) if k else None for p, k in zip(positives_L, known_L, strict=True)],
    }
