"""Labels with too few positive training messages, and what a fit does about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from tocsin.batches.corpus import Corpus
from tocsin.errors import LabelError

__all__ = ["RareLabelWarning", "check_known", "check_rare_labels", "rare_labels"]

_BLANK = "If an empty cell, or a key left out of JSON lines, means 0, say so: labels.init_args.blank: 0."


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


def always_on(names: Sequence[str], positives_L: np.ndarray, negatives_L: np.ndarray) -> str | None:
    """Return a sentence about the labels that are never 0 among the training messages; None without any."""
    found = [
        f"{name} ({int(on)} positive)"
        for name, on, off in zip(names, positives_L, negatives_L, strict=True)
        if on and not off
    ]
    if not found:
        return None
    shown = ", ".join(found[:20]) + (f" and {len(found) - 20} more" if len(found) > 20 else "")
    return (
        f"{len(found)} of {len(names)} labels have no negative training message: {shown}. A model can learn of them "
        f"only that they are always on, and they have no figures. {_BLANK}"
    )


def check_rare_labels(
    names: Sequence[str], positives_L: np.ndarray, negatives_L: np.ndarray, minimum: int, *, refuse: bool
) -> None:
    """Warn of labels with fewer positives than `minimum` and of labels without a negative, or refuse them.

    Args:
        names: The labels.
        positives_L: (L,) positive training messages of each.
        negatives_L: (L,) negative training messages of each.
        minimum: How many positive ones there should be.
        refuse: Raise rather than warn.

    Raises:
        LabelError: Under `refuse`, there are such labels.
    """
    few, always = rare_labels(names, positives_L, minimum), always_on(names, positives_L, negatives_L)
    if refuse and (few or always):
        advice = (
            "Give them more messages, leave them out of the labels, or lower min_positives (on_rare: warn goes on all "
            "the same)."
        )
        raise LabelError(" ".join([*([few, advice] if few else []), *([always] if always else [])]))
    if few:
        rank_zero_warn(f"{few} Read their figures with care.", category=RareLabelWarning)
    if always:
        rank_zero_warn(always, category=RareLabelWarning)


def check_known(corpus: Corpus, splits: Sequence[str]) -> None:
    """Refuse a split none of whose messages has a known label: nothing can be learned from it or measured on it.

    Raises:
        LabelError: Names the split, its messages, and what an option would change.
    """
    for split in splits:
        rows = corpus.rows(split)
        if len(rows) and all(np.isnan(target_N[rows]).all() for target_N in corpus.targets_NL.T):
            shown = ", ".join(corpus.label_names[:5]) + (" …" if len(corpus.label_names) > 5 else "")
            raise LabelError(
                f"no label is known of any of the {len(rows):,} {split} messages: every target is null. Look at the "
                f"label columns of its files ({shown}). {_BLANK}"
            )
