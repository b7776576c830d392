"""Equal messages under different spelling: normalised texts and the groups they form."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

__all__ = ["duplicate_groups", "group_numbers", "normalise", "text_digest"]

# Soft hyphen, zero-width space and joiners, direction marks, word joiner, byte-order mark.
_WITHOUT_WIDTH = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]+")
# Greek with an iota subscript: folding turns that mark into a letter, so the order of marks matters before.
_IOTA_SUBSCRIPT = re.compile("[\u0345\u1f80-\u1fff]")


def normalise(text: str) -> str:
    """Return what two texts have in common when a reader would call them the same.

    Characters without width are removed, the text is brought to Unicode NFKC and case-folded, each run of
    white space becomes one space, and the ends are stripped. Normalising twice changes nothing more.

    Source: caseless matching of compatibility equivalents, D146 in the Unicode Standard, section 3.13.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    text = _WITHOUT_WIDTH.sub("", text)
    folded = text.casefold()
    if not (_normal(text) and _normal(folded)) or _IOTA_SUBSCRIPT.search(text):
        folded = unicodedata.normalize("NFD", text)
        # Twice: folding can yield characters that NFKC changes, and what NFKC yields can have a case.
        for _ in range(2):
            folded = unicodedata.normalize("NFKC", folded.casefold())
    return " ".join(folded.split())


def _normal(text: str) -> bool:
    """Tell whether a text is in NFKC, which most are; that is quick to see and spares normalising."""
    return unicodedata.is_normalized("NFKC", text)


def text_digest(text: str, key: bytes = b"") -> bytes:
    """Return 16 bytes that are equal for equal normalised texts.

    Args:
        text: The text; it is normalised first.
        key: At most 64 bytes; another key gives other digests.
    """
    return hashlib.blake2b(normalise(text).encode("utf-8", "replace"), digest_size=16, key=key).digest()


def duplicate_groups(texts: Iterable[str]) -> np.ndarray:
    """Return group numbers, (N,) int64, equal for texts whose normalised form is equal.

    Groups are numbered from 0 in the order of their first text. Held in memory are 16 bytes a text, not the
    texts.
    """
    digests = bytearray()
    for text in texts:
        digests += text_digest(text)
    halves = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    if not len(halves):
        return np.zeros(0, np.int64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = halves[order]
    starts = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    groups = np.empty(len(halves), np.int64)
    groups[order] = np.cumsum(starts) - 1
    return group_numbers(groups)


def group_numbers(groups: np.ndarray) -> np.ndarray:
    """Return the same groups, (N,) int64, numbered from 0 in the order of their first row.

    Args:
        groups: (N,) whole numbers of at least 0, equal within a group.
    """
    if not len(groups):
        return np.zeros(0, np.int64)
    _, firsts, codes = np.unique(groups, return_index=True, return_inverse=True)
    by_appearance = np.empty(len(firsts), np.int64)
    by_appearance[np.argsort(firsts)] = np.arange(len(firsts))
    return by_appearance[codes]
