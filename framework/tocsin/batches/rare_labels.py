"""Labels with too few positive training messages, and what a fit does about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from tocsin.errors import LabelError

__all__ = ["RareLabelWarning", "check_rare_labels", "rare_labels"]


class RareLabelWarning(UserWarning):
    """Labels have fewer positive training messages than were asked for."""


def rare_labels(names: Sequence[str], positives_L: np.ndarray, minimum: int) -> str | None:
    """Return a sentence about the labels with fewer positives than `minimum`, rarest first; None without any."""
    few = sorted(
        (int(count), name) for count, name in zip(positives_L, names, strict=True) if count < minimum
    )
    if not few:
        return None
    shown = ", ".join(f"{name} ({count})" for count, name in few[:20]) + (
        f" and {len(few) - 20} more" if len(few) > 20 else ""
    )
    return (
        f"{len(few)} of {len(names)} labels have fewer than {minimum} positive training "
        f"message{'' if minimum == 1 else 's'}: {shown}."
    )


def check_rare_labels(names: Sequence[str], positives_L: np.ndarray, minimum: int, *, refuse: bool) -> None:
    """Warn of labels with fewer positives than `minimum`, or refuse them.

    Args:
        names: The labels.
        positives_L: (L,) positive training messages of each.
        minimum: How many there should be.
        refuse: Raise rather than warn.

    Raises:
        LabelError: Under `refuse`, there are such labels.
    """
    found = rare_labels(names, positives_L, minimum)
    if found and refuse:
        raise LabelError(
            f"{found} Give them more messages, leave them out of the labels, or lower min_positives "
            "(on_rare: warn goes on all the same)."
        )
    if found:
        rank_zero_warn(f"{found} Read their figures with care.", category=RareLabelWarning)
