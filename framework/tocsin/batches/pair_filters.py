"""What happens to each sentence pair before it is counted in: cleaned, measured, compared, and named by digests.

Axes: n pairs of a batch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tocsin.text.cleaners import Cleaner, NoCleaner
from tocsin.text.duplicates import normalise

__all__ = ["PairFilters", "Sifted"]


@dataclass
class Sifted:
    """Pairs that passed, and how many did not.

    Args:
        english: Cleaned English sentences, `(n,)`.
        text: Cleaned translations, `(n,)`.
        lang: Language codes of the translations, `(n,)`.
        english_keys: 64 bits of each English sentence's digest, normalised, `(n,)` uint64.
        pair_keys: 64 bits of each pair's digest, normalised, its language included, `(n,)` uint64.
        counts: Pairs by (stage, language): "read", and the filter that dropped them.
    """

    english: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    lang: list[str] = field(default_factory=list)
    english_keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    pair_keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class PairFilters:
    """The filters that look at one pair alone, in this order: language, empty side, length, ratio, equal sides.

    Args:
        cleaner: Applied to both sides before anything else.
        languages: Codes that are kept, after `languages_as`; None for all.
        languages_as: Other names for codes, such as {pt_br: por}.
        max_characters: Characters that either side has at most; None for no limit.
        max_length_ratio: How often the shorter side's characters the longer has at most; None for no limit.
        drop_identical: Whether a pair is dropped whose sides are equal once normalised.
    """

    cleaner: Cleaner = field(default_factory=NoCleaner)
    languages: frozenset[str] | None = None
    languages_as: Mapping[str, str] = field(default_factory=dict)
    max_characters: int | None = None
    max_length_ratio: float | None = None
    drop_identical: bool = True

    def sift(self, batch: pa.RecordBatch) -> Sifted:
        """Clean and filter the pairs of a batch with the columns english, text and lang."""
        made = Sifted()
        digests: list[bytes] = []
        columns = (batch.column(name).to_pylist() for name in ("english", "text", "lang"))
        for english, text, lang, english_digest, pair_digest in self._kept(
            zip(*columns, strict=True), made.counts
        ):
            made.english.append(english)
            made.text.append(text)
            made.lang.append(lang)
            digests += (english_digest, pair_digest)
        keys = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
        made.english_keys, made.pair_keys = keys[:, 0].copy(), keys[:, 1].copy()
        return made

    def _kept(
        self, pairs: Iterator[tuple[str, str, str]], counts: Counter[tuple[str, str]]
    ) -> Iterator[tuple[str, str, str, bytes, bytes]]:
        clean = None if type(self.cleaner) is NoCleaner else self.cleaner.clean
        for english, text, lang in pairs:
            lang = self.languages_as.get(lang, lang)
            counts["read", lang] += 1
            if self.languages is not None and lang not in self.languages:
                counts["other_language", lang] += 1
                continue
            if clean is not None:
                english, text = _proper(clean(english)), _proper(clean(text))
            english_norm, text_norm = normalise(english), normalise(text)
            dropped = self._fault(english, text, english_norm, text_norm)
            if dropped:
                counts[dropped, lang] += 1
                continue
            first = hashlib.blake2b(english_norm.encode(), digest_size=8).digest()
            # The English digest has a fixed length, and no code holds a NUL: two pairs never give one text.
            whole = first + text_norm.encode() + b"\0" + lang.encode()
            yield english, text, lang, first, hashlib.blake2b(whole, digest_size=8).digest()

    def _fault(self, english: str, text: str, english_norm: str, text_norm: str) -> str:
        if not english_norm or not text_norm:
            return "empty"
        shorter, longer = sorted((len(english), len(text)))
        if self.max_characters is not None and longer > self.max_characters:
            return "too_long"
        if self.max_length_ratio is not None and longer > self.max_length_ratio * shorter:
            return "length_ratio"
        return "identical" if self.drop_identical and english_norm == text_norm else ""


def _proper(text: str) -> str:
    """Return a text that is UTF-8: a cleaner may have cut a surrogate pair."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
