"""Equal messages under different spelling: normalised texts and the groups they form."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable

import numpy as np

__all__ = ["duplicate_groups", "normalise", "text_digest"]

# Soft hyphen, word joiner, byte-order mark, zero-width space and joiners, direction marks.
_WITHOUT_WIDTH = dict.fromkeys(
    [0x00AD, 0x2060, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


def normalise(text: str) -> str:
    """Return what two texts have in common when a reader would call them the same.

    Characters without width are removed, the text is brought to Unicode NFKC and case-folded, each run of
    white space becomes one space, and the ends are stripped. Normalising twice changes nothing more.

    Source: caseless matching of compatibility equivalents, D146 in the Unicode Standard, section 3.13.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    text = unicodedata.normalize("NFD", text.translate(_WITHOUT_WIDTH))
    # Twice: folding can yield characters that NFKC changes, and what NFKC yields can have a case.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.split())


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
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: within a group the first text stays first
    ordered = halves[order]
    starts = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    firsts = order[starts]
    by_appearance = np.empty(len(firsts), np.int64)
    by_appearance[np.argsort(firsts)] = np.arange(len(firsts))
    groups = np.empty(len(halves), np.int64)
    groups[order] = by_appearance[np.cumsum(starts) - 1]
    return groups
