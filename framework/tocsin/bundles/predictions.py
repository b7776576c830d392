"""What a bundle that has labels says of texts, whatever gives its raw scores: one network, or an ensemble of them.

Axes: N texts, L labels.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tocsin.bundle_files import BundleWarning
from tocsin.bundles.predictor import TokenCounts
from tocsin.errors import BundleError, ConfigError, DataError
from tocsin.scores.chain import Chain
from tocsin.scores.table import ScoresTable
from tocsin.text.inputs import as_langs, as_texts

__all__ = ["Predictions", "PredictsLabels", "table_of_texts"]


@dataclass(frozen=True)
class Predictions:
    """What a bundle says of N texts, in their order.

    Of a text that is undecided nothing is known: its scores are NaN and its decisions masked, never a "no".

    Args:
        logits: `(N, L)` float32, before the sigmoid.
        raw_probabilities: `(N, L)` float64, before calibration.
        probabilities: `(N, L)` float64, after calibration where the bundle has one.
        decided: `(N, L)` masked array of bool, masked where a text is undecided; None where the bundle has a decision
            rule that is not installed here.
        undecided: `(N,)` bool: the text is missing, or holds nothing to read.
        tokens: `(N,)` int64, tokens of each text.
        unknown: `(N,)` int64, those of them that the tokenizer does not know.
        refusal: Why there are no decisions.
    """

    logits: np.ndarray
    raw_probabilities: np.ndarray
    probabilities: np.ndarray
    decided: np.ma.MaskedArray | None = field(repr=False)
    undecided: np.ndarray = field(repr=False)
    tokens: np.ndarray = field(repr=False)
    unknown: np.ndarray = field(repr=False)
    refusal: str = ""

    @property
    def decisions(self) -> np.ndarray:
        """`(N, L)` bool, where every text is decided.

        Raises:
            BundleError: The bundle's chain needs a plugin that is not in use here.
            DataError: A text is undecided, which a bool cannot say.
        """
        if self.decided is None:
            raise BundleError(self.refusal)
        if self.undecided.any():
            raise DataError(
                f"{int(self.undecided.sum()):,} of {len(self.undecided):,} texts are missing or hold nothing to read "
                f"(the first is texts[{int(self.undecided.argmax())}]), so they have no decisions. `.undecided` says "
                "which, `.decided` is masked there, and predict(texts, empty='score') scores texts without content."
            )
        return np.asarray(self.decided)


class PredictsLabels(ABC):
    """A bundle that predicts labels: raw scores, then its chain.

    Args:
        folder: Where it lies.
        labels: L names.
        threshold: A label is decided "on" from this probability, where no chain has a decision rule.
        chain: From raw scores to decisions; None where there is none, or it cannot be used.
        no_chain: Why the chain that the bundle has cannot be used; "" where it can, or there is none.
    """

    def __init__(
        self,
        folder: Path,
        labels: Sequence[str],
        threshold: float,
        chain: Chain | None = None,
        no_chain: str = "",
    ) -> None:
        self.folder = folder
        self.labels = tuple(labels)
        """L names, in the order of the columns of every prediction."""
        self.threshold = threshold
        self.chain = chain
        self.no_chain = no_chain
        self._said: set[str] = set()

    @abstractmethod
    def counted_scores(
        self,
        texts: Sequence[str],
        langs: Sequence[str | None] | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> tuple[ScoresTable, TokenCounts]:
        """Scores of texts before any chain, of empty ones too, and what the tokenizer made of them.

        Args:
            texts: N, checked: str alone.
            langs: N, or None.
            advance: Called with the number of texts done since the last call.
        """

    def raw_scores(
        self,
        texts: Sequence[str],
        langs: Sequence[str | None] | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> ScoresTable:
        """Scores of texts before any chain, of empty ones too; arguments as in `predict`, but no text is missing."""
        checked = as_texts(texts)
        return self.counted_scores(checked, as_langs(langs, len(checked)), advance)[0]

    @property
    def needs_langs(self) -> bool:
        """Whether the chain treats languages differently: `predict` then wants `langs`."""
        return self.chain is not None and "lang" in self.chain.columns

    def predict(
        self,
        texts: Any,
        langs: Any = None,
        advance: Callable[[int], None] = lambda done: None,
        *,
        empty: Literal["undecided", "score"] = "undecided",
    ) -> Predictions:
        """Clean, tokenise and score texts, in float32, and apply the bundle's chain.

        What a text gets does not depend on the others.

        Args:
            texts: As they come: a list, an array, a column, any iterable with an order; one str is one text. A missing
                one (None, NaN) is undecided.
            langs: A code a text, as in the messages that the chain was fitted on, None where unknown; one str is that
                of all. Without them a chain that treats languages differently warns, and takes each text as one in an
                unknown language: what was fitted over all languages holds for it, as it does for a language that the
                fit had not seen.
            advance: Called with the number of texts done since the last call.
            empty: What becomes of a text without content: nothing but white space and invisible characters, once it is
                cleaned, or no token that the tokenizer knows. It is undecided, or scored like any other.

        Raises:
            ConfigError: There are not as many languages as texts.
            DataError: `texts` is no container of texts, or one of them is none; names its position.
        """
        if empty not in ("undecided", "score"):
            raise ConfigError(f"empty is {empty!r}; it must be 'undecided' or 'score'.")
        checked = as_texts(texts, missing=True)
        codes = as_langs(langs, len(checked))
        if codes is None and self.needs_langs:
            self._warn_once(
                f"{self.folder}: the chain was fitted by language and no languages were given (langs), so every text "
                "gets what was fitted over all languages."
            )
        there = np.array([text is not None for text in checked], dtype=bool)
        if not there.all():
            advance(int((~there).sum()))
        table, counts = self.counted_scores(
            [text for text in checked if text is not None],
            codes if codes is None else [code for code, one in zip(codes, there, strict=True) if one],
            advance,
        )
        result = table if self.chain is None else self.chain.apply(table)
        decided = result.decisions_NL
        if decided is None and not self.no_chain:
            decided = result.probabilities >= self.threshold
        undecided = ~there
        if empty == "undecided":
            undecided[there] = ~counts.readable
        return Predictions(
            _spread(_logits(table), there, undecided),
            _spread(result.raw_probabilities, there, undecided),
            _spread(result.probabilities, there, undecided),
            None if decided is None else _masked(decided, there, undecided),
            undecided,
            _spread(counts.tokens, there),
            _spread(counts.unknown, there),
            self.no_chain,
        )

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, BundleWarning, stacklevel=3)


def table_of_texts(
    labels: Sequence[str], logits_NL: np.ndarray, langs: Sequence[str | None] | None
) -> ScoresTable:
    """Return logits as a scores table, the texts numbered from 0."""
    return ScoresTable(
        ids=np.arange(len(logits_NL)),
        labels=tuple(labels),
        logits_NL=logits_NL,
        langs=None if langs is None else np.array([*langs, None], dtype=object)[:-1],
    )


def _logits(table: ScoresTable) -> np.ndarray:
    """Logits (N, L) float32 of raw scores, which may be probabilities."""
    if table.logits_NL is not None:
        return table.logits_NL
    p_NL = table.raw_probabilities
    return (np.log(p_NL) - np.log1p(-p_NL)).astype(np.float32)


def _spread(values: np.ndarray, there: np.ndarray, undecided: np.ndarray | None = None) -> np.ndarray:
    """Put what was computed of the texts that are there into N rows: NaN where undecided, 0 of what is counted."""
    if there.all() and (undecided is None or not undecided.any()):
        return values
    full = np.zeros((len(there), *values.shape[1:]), dtype=values.dtype)
    full[there] = values
    if undecided is not None:
        full[undecided] = np.nan
    return full


def _masked(decided: np.ndarray, there: np.ndarray, undecided: np.ndarray) -> np.ma.MaskedArray:
    # What lies under the mask is "on", so that whoever loses the mask sees an alarm too many and misses none.
    full = np.ones((len(there), decided.shape[1]), dtype=bool)
    full[there] = decided
    full[undecided] = True
    return np.ma.masked_array(full, mask=np.repeat(undecided[:, None], decided.shape[1], axis=1))
