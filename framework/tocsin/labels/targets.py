"""Soft targets where 0 and 1 are wanted. N messages, L labels."""

from __future__ import annotations

import numpy as np

__all__ = ["POSITIVE_FROM", "hard_targets", "is_soft"]

POSITIVE_FROM = 0.5
"""The target from which a message counts as positive where 0 or 1 is needed: the threshold of decisions, and the
one that Borkan et al. 2019 (arXiv 1903.04561) set on the share of annotators who gave a label."""


def is_soft(targets_NL: np.ndarray) -> bool:
    """Tell whether a known target lies between 0 and 1."""
    # Column by column: the whole may be gigabytes, and each comparison makes a copy as long.
    return any(bool(((column_N > 0) & (column_N < 1)).any()) for column_N in targets_NL.T)


def hard_targets(targets_NL: np.ndarray) -> np.ndarray:
    """Return targets (N, L) as 0, 1 and NaN: 1 from `POSITIVE_FROM` up. Those that are so already, unchanged."""
    if not is_soft(targets_NL):
        return targets_NL
    unknown_NL = np.isnan(targets_NL)
    return np.where(unknown_NL, np.nan, targets_NL >= POSITIVE_FROM).astype(targets_NL.dtype)
