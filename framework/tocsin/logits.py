"""From logits to probabilities: one definition, for every room that reads scores. Needs numpy alone."""

from __future__ import annotations

import numpy as np

__all__ = ["PROBABILITY_LIMIT", "sigmoid"]

PROBABILITY_LIMIT = 1e-7
"""Probabilities are kept this far from 0 and from 1, so that a logarithm or a logit of them stays finite."""


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities for logits of any shape: float64, clipped to [1e-7, 1 - 1e-7]."""
    halves = np.tanh(np.asarray(logits, dtype=np.float64) / 2.0)  # no overflow at either end, unlike exp
    return np.clip((1.0 + halves) / 2.0, PROBABILITY_LIMIT, 1.0 - PROBABILITY_LIMIT)
