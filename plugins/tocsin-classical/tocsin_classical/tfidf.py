"""TF-IDF with one logistic regression a label: the baseline that every experiment quotes.

N messages, L labels, F features (words, pairs of words, pieces of words), C penalties that are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tocsin.plugins import DataError

__all__ = ["STRENGTHS", "TfidfClassifier", "fit_tfidf"]

STRENGTHS = (0.3, 1.0, 3.0)
"""Inverse penalties that are tried; on crisis messages 1 wins."""

_CERTAIN = 1e-7
"""Probabilities stay this far from 0 and 1, as in every scores table."""


@dataclass(frozen=True)
class TfidfClassifier:
    """A fitted baseline.

    Args:
        vectorizer: A fitted scikit-learn union of the word and the character TF-IDF.
        weights_LF: (L, F) float64 coefficients; zero for a label that had one class only.
        intercepts_L: (L,) float64; the logit of the prior for a label that had one class only.
        strength: The inverse penalty that was chosen.
        validation_average_precision: Macro average precision on the validation rows for each strength tried;
            empty without any.
    """

    vectorizer: Any
    weights_LF: np.ndarray
    intercepts_L: np.ndarray
    strength: float
    validation_average_precision: dict[float, float]

    def probabilities(self, texts: Iterable[str]) -> np.ndarray:
        """Return (N, L) float64 probabilities."""
        return _probabilities(self.vectorizer.transform(texts), self.weights_LF, self.intercepts_L)


def fit_tfidf(
    texts: Sequence[str],
    targets_NL: np.ndarray,
    *,
    validation: tuple[Sequence[str], np.ndarray] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    min_messages: int = 2,
    on_label: Callable[[int], None] | None = None,
) -> TfidfClassifier:
    """Fit sublinear TF-IDF of word and character n-grams, and one L2-penalised logistic regression a label.

    Words and pairs of words stand beside pieces of words of 3 to 5 characters, which forgive spelling: on crisis
    messages they add .02 to macro average precision. One penalty serves all labels, the one with the best macro
    average precision on the validation rows (a penalty for each label would overfit the rare ones). Rows whose
    target is NaN take no part in that label. A label that has one class only predicts its prior, a label without
    any known target 0.5.

    Args:
        texts: N cleaned training messages.
        targets_NL: (N, L) of 0, 1 and NaN (unknown).
        validation: Messages and targets that choose the strength; without them it is the only one given, or 1.
        strengths: Inverse penalties to try.
        min_messages: Training messages that an n-gram must occur in to become a feature.
        on_label: Called with a label's number when it is fitted, for progress.

    Raises:
        DataError: When no training message is left, or no n-gram occurs in `min_messages` of them.
    """
    targets_NL = np.asarray(targets_NL, dtype=np.float64)
    if len(texts) != len(targets_NL):
        raise DataError(
            f"{len(texts):,} texts and {len(targets_NL):,} rows of targets; one row a text is wanted."
        )
    if not len(texts):
        raise DataError(
            "The train split has no message; TF-IDF needs some to fit on. Look at the splitter's options."
        )
    if validation is None or not len(validation[0]):
        validation, strengths = None, strengths if len(strengths) == 1 else (1.0,)

    vectorizer, features_NF = _fit_vectorizer(texts, min_messages)
    labels = targets_NL.shape[1]
    weights_CLF = np.zeros((len(strengths), labels, features_NF.shape[1]))
    intercepts_CL = np.zeros((len(strengths), labels))
    for label in range(labels):
        weights_CLF[:, label], intercepts_CL[:, label] = _fit_label(
            features_NF, targets_NL[:, label], strengths
        )
        if on_label is not None:
            on_label(label)

    if validation is None:
        return TfidfClassifier(vectorizer, weights_CLF[0], intercepts_CL[0], strengths[0], {})
    held_out_NF = vectorizer.transform(validation[0])
    held_out_NL = np.asarray(validation[1], dtype=np.float64)
    figures = {
        strength: macro_average_precision(held_out_NL, _probabilities(held_out_NF, weights_LF, intercepts_L))
        for strength, weights_LF, intercepts_L in zip(strengths, weights_CLF, intercepts_CL, strict=True)
    }
    # NaN (no label has both classes there) sorts last; the first, strongest penalty wins a tie.
    best = max(range(len(strengths)), key=lambda i: (np.nan_to_num(figures[strengths[i]], nan=-1.0), -i))
    return TfidfClassifier(vectorizer, weights_CLF[best], intercepts_CL[best], strengths[best], figures)


def macro_average_precision(targets_NL: np.ndarray, scores_NL: np.ndarray) -> float:
    """Return the mean average precision of the labels that have a positive and a negative; NaN when none has."""
    from sklearn.metrics import average_precision_score

    figures = []
    for targets_N, scores_N in zip(targets_NL.T, scores_NL.T, strict=True):
        known_N = ~np.isnan(targets_N)
        if len(np.unique(targets_N[known_N])) == 2:
            figures.append(average_precision_score(targets_N[known_N], scores_N[known_N]))
    return float(np.mean(figures)) if figures else float("nan")


def _fit_vectorizer(texts: Sequence[str], min_messages: int) -> tuple[Any, Any]:
    """Return the fitted union and its (N, F) sparse features.

    In scripts written without spaces hardly a word occurs twice: then the pieces stand alone.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    def tfidf(analyzer: str, lengths: tuple[int, int]) -> Any:
        return TfidfVectorizer(
            analyzer=analyzer,
            ngram_range=lengths,
            min_df=min_messages,
            sublinear_tf=True,
            strip_accents="unicode",
        )

    parts = [("words", tfidf("word", (1, 2))), ("characters", tfidf("char_wb", (3, 5)))]
    for first in range(len(parts)):
        vectorizer = FeatureUnion(parts[first:])
        try:
            return vectorizer, vectorizer.fit_transform(texts)
        except ValueError as error:  # scikit-learn's only sign of an empty vocabulary
            cause = error
    raise DataError(
        f"No word or piece of a word occurs in {min_messages} of the {len(texts):,} training messages ({cause}). "
        "Are these the right texts, or too few?"
    ) from cause


def _fit_label(
    features_NF: Any, targets_N: np.ndarray, strengths: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (C, F) weights and (C,) intercepts of one label."""
    from sklearn.linear_model import LogisticRegression

    known_N = ~np.isnan(targets_N)
    classes = np.unique(targets_N[known_N])
    if len(classes) < 2:
        prior = np.clip(classes[0] if len(classes) else 0.5, _CERTAIN, 1 - _CERTAIN)
        return np.zeros((len(strengths), features_NF.shape[1])), np.full(
            len(strengths), np.log(prior / (1 - prior))
        )
    known_NF, known_targets_N = features_NF[known_N], targets_N[known_N]
    # liblinear's dual solver, at liblinear's own tolerance for it: on many sparse features the same ROC-AUC and
    # average precision to .001 as the primal solver, three times as fast. It visits rows in a seeded order.
    fits = [
        LogisticRegression(
            C=strength, solver="liblinear", dual=True, tol=0.1, max_iter=1000, random_state=0
        ).fit(known_NF, known_targets_N)
        for strength in strengths
    ]
    return np.stack([fit.coef_[0] for fit in fits]), np.array([fit.intercept_[0] for fit in fits])


def _probabilities(features_NF: Any, weights_LF: np.ndarray, intercepts_L: np.ndarray) -> np.ndarray:
    logits_NL = features_NF @ weights_LF.T + intercepts_L
    return (1.0 + np.tanh(logits_NL / 2.0)) / 2.0  # no overflow at either end, unlike exp
