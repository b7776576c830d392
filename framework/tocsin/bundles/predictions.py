"""What a bundle that has labels says of texts, whatever gives its raw scores: one network, or an ensemble of them.

Axes: N texts, L labels.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tocsin.bundle_files import BundleWarning
from tocsin.errors import BundleError, ConfigError
from tocsin.scores.chain import Chain
from tocsin.scores.table import ScoresTable

__all__ = ["Predictions", "PredictsLabels", "table_of_texts"]


@dataclass(frozen=True)
class Predictions:
    """What a bundle says of N texts, in their order.

    Args:
        logits: `(N, L)` float32, before the sigmoid.
        raw_probabilities: `(N, L)` float64, before calibration.
        probabilities: `(N, L)` float64, after calibration where the bundle has one.
        decided: `(N, L)` bool; None where the bundle has a decision rule that is not installed here.
        refusal: Why there are no decisions.
    """

    logits: np.ndarray
    raw_probabilities: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray | None = field(repr=False)
    refusal: str = ""

    @property
    def decisions(self) -> np.ndarray:
        """`(N, L)` bool; BundleError where the bundle's chain needs a plugin that is not in use here."""
        if self.decided is None:
            raise BundleError(self.refusal)
        return self.decided


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
    def raw_scores(
        self,
        texts: Sequence[str],
        langs: Sequence[str | None] | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> ScoresTable:
        """Scores of texts, before any chain; arguments as in `predict`."""

    @property
    def needs_langs(self) -> bool:
        """Whether the chain treats languages differently: `predict` then wants `langs`."""
        return self.chain is not None and "lang" in self.chain.columns

    def predict(
        self,
        texts: Sequence[str],
        langs: Sequence[str | None] | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> Predictions:
        """Clean, tokenise and score texts, in float32, and apply the bundle's chain.

        What a text gets does not depend on the others.

        Args:
            texts: As they come; an empty text is scored like any other.
            langs: A code a text, as in the messages that the chain was fitted on, None where unknown. Without them a
                chain that treats languages differently warns, and takes each text as one in an unknown language: what
                was fitted over all languages holds for it, as it does for a language that the fit had not seen.
            advance: Called with the number of texts done since the last call.

        Raises:
            ConfigError: There are not as many languages as texts.
        """
        if langs is not None and len(langs) != len(texts):
            raise ConfigError(
                f"{len(langs):,} languages were given for {len(texts):,} texts; one a text is wanted."
            )
        if langs is None and self.needs_langs:
            self._warn_once(
                f"{self.folder}: the chain was fitted by language and no languages were given (langs), so every text "
                "gets what was fitted over all languages."
            )
        table = self.raw_scores(texts, langs, advance)
        result = table if self.chain is None else self.chain.apply(table)
        decided = result.decisions_NL
        if decided is None and not self.no_chain:
            decided = result.probabilities >= self.threshold
        return Predictions(
            _logits(table), result.raw_probabilities, result.probabilities, decided, self.no_chain
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
