"""Many languages together: a figure each, the mean over languages, and two models beside each other.

A macro mean weights languages alike. Its interval draws pairs anew within every language, each by itself: it says how
the mean varies over other sentences of these languages, not over other languages. Where all languages hold
translations of one set of sentences, `parallel` draws the same sentences in all, without which the interval would be
too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tocsin.errors import DataError
from tocsin.vectors.intervals import (
    DRAWS,
    LEVEL,
    SEED,
    Difference,
    Estimate,
    bootstrap_means,
    check_draws,
    difference,
    estimate,
    generator_for,
)
from tocsin.vectors.matching import Accuracy, Matching, accuracy
from tocsin.vectors.similarity import centred, draw_correlations, spearman, squared_errors

__all__ = [
    "FEW_PAIRS",
    "LIMIT",
    "MACRO",
    "MatchingReport",
    "SimilarityReport",
    "VectorError",
    "matching_differences",
    "matching_report",
    "similarity_differences",
    "similarity_report",
    "vector_error",
]

FEW_PAIRS = 100
"""A language with fewer pairs than this is flagged: its figures are mostly chance, and its pool is easy."""

LIMIT = 0.95
"""Languages under this accuracy are listed, as the reference system does."""

MACRO = "macro"
"""Key of the mean over languages among differences; no language code is that long."""


@dataclass(frozen=True)
class MatchingReport:
    """Matching accuracy by language.

    Args:
        languages: Code -> accuracy, in the order given.
        macro_forward: Mean over languages of the accuracy from source to target.
        macro_backward: Likewise from target to source.
        macro: Mean over languages of the mean of both directions.
        limit: The accuracy under which a language is listed.
    """

    languages: dict[str, Accuracy]
    macro_forward: Estimate
    macro_backward: Estimate
    macro: Estimate
    limit: float

    @property
    def below(self) -> list[str]:
        """Languages whose mean of both directions is under `limit`, the lowest first."""
        under = [lang for lang, found in self.languages.items() if found.mean.point < self.limit]
        return sorted(under, key=lambda lang: self.languages[lang].mean.point)

    @property
    def surely_below(self) -> list[str]:
        """Those of them whose whole interval is under `limit`."""
        return [lang for lang in self.below if self.languages[lang].mean.high < self.limit]

    @property
    def few(self) -> list[str]:
        """Languages with fewer than `FEW_PAIRS` pairs."""
        return [lang for lang, found in self.languages.items() if found.pairs < FEW_PAIRS]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "languages": {lang: asdict(found) for lang, found in self.languages.items()},
            "macro": {
                "languages": len(self.languages),
                "pairs": sum(found.pairs for found in self.languages.values()),
                "forward": self.macro_forward.to_dict(),
                "backward": self.macro_backward.to_dict(),
                "mean": self.macro.to_dict(),
            },
            "limit": self.limit,
            "below_limit": self.below,
            "interval_below_limit": self.surely_below,
            "few_pairs": self.few,
        }


def matching_report(
    matchings: Mapping[str, Matching],
    *,
    limit: float = LIMIT,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = LEVEL,
    parallel: bool = False,
) -> MatchingReport:
    """Return the accuracy of every language, and the mean over languages.

    Args:
        matchings: Language code -> what its pairs found.
        limit: Languages under it are listed.
        draws: Of the bootstrap.
        seed: Of the draws; a language's interval depends on it and on its own pairs alone.
        level: Share of the draws inside an interval.
        parallel: Whether row i is the same sentence in every language: a draw of the macro mean then takes the same
            rows in all.

    Raises:
        DataError: No language, or `parallel` with other numbers of pairs.
        ConfigError: Fewer than 1 draw, or a level that is no share.
    """
    _check(matchings)
    languages = {
        lang: accuracy(matching, draws, generator_for(seed, lang), level)
        for lang, matching in matchings.items()
    }
    macros = [
        _macro({lang: values(matching) for lang, matching in matchings.items()}, draws, seed, parallel)
        for values in (lambda m: m.forward_N, lambda m: m.backward_N, lambda m: m.score_N)
    ]
    forward, backward, mean = (estimate(point, drawn_K, level) for point, drawn_K in macros)
    return MatchingReport(languages, forward, backward, mean, limit)


def matching_differences(
    first: Mapping[str, Matching],
    second: Mapping[str, Matching],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = LEVEL,
    parallel: bool = False,
) -> dict[str, Difference]:
    """Return the first model's accuracy (mean of both directions) minus the second's, by language and under `MACRO`.

    Paired: every draw takes the same pairs of both models.

    Raises:
        DataError: No language, other languages, or other numbers of pairs.
        ConfigError: As `matching_report`.
    """
    _check_same({lang: len(found) for lang, found in first.items()}, {k: len(v) for k, v in second.items()})
    apart = {lang: first[lang].score_N - second[lang].score_N for lang in first}
    found = {}
    for lang, values_N in apart.items():
        drawn_K = bootstrap_means(values_N, draws, generator_for(seed, lang))
        found[lang] = difference(float(values_N.mean()), drawn_K, level)
    point, drawn_K = _macro(apart, draws, seed, parallel)
    return found | {MACRO: difference(point, drawn_K, level)}


@dataclass(frozen=True)
class SimilarityReport:
    """Rank correlation of cosines with people's scores, by language.

    Args:
        pairs: Code -> number of pairs, in the order given.
        languages: Code -> Spearman's correlation.
        macro: Mean over languages.
    """

    pairs: dict[str, int]
    languages: dict[str, Estimate]
    macro: Estimate

    @property
    def few(self) -> list[str]:
        """Languages with fewer than `FEW_PAIRS` pairs."""
        return [lang for lang, pairs in self.pairs.items() if pairs < FEW_PAIRS]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "languages": {
                lang: {"pairs": self.pairs[lang], "spearman": found.to_dict()}
                for lang, found in self.languages.items()
            },
            "macro": {
                "languages": len(self.languages),
                "pairs": sum(self.pairs.values()),
                "spearman": self.macro.to_dict(),
            },
            "few_pairs": self.few,
        }


def similarity_report(
    cosines: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = LEVEL,
    parallel: bool = False,
) -> SimilarityReport:
    """Return Spearman's correlation of every language, and the mean over languages.

    Args:
        cosines: Language code -> (N,) cosines of its pairs.
        scores: Language code -> (N,) people's scores of the same pairs.
        draws: Of the bootstrap.
        seed: Of the draws; a language's interval depends on it and on its own pairs alone.
        level: Share of the draws inside an interval.
        parallel: Whether row i is the same pair in every language: a draw then takes the same rows in all.

    Raises:
        DataError: No language, other languages, `parallel` with other numbers of pairs, or what `rank_correlation`
            refuses.
        ConfigError: Fewer than 1 draw, or a level that is no share.
    """
    check_draws(draws, level)
    points, drawn = _correlations([cosines], scores, draws, seed, parallel)
    languages = {
        lang: estimate(points[lang][0], centred(drawn[lang][0], points[lang][0]), level) for lang in cosines
    }
    point = float(np.mean([found.point for found in languages.values()]))
    macro_K = centred(np.mean([drawn[lang][0] for lang in cosines], axis=0), point)
    pairs = {lang: len(scores[lang]) for lang in cosines}
    return SimilarityReport(pairs, languages, estimate(point, macro_K, level))


def similarity_differences(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = LEVEL,
    parallel: bool = False,
) -> dict[str, Difference]:
    """Return the first model's correlation minus the second's, by language and under `MACRO`; paired as above.

    Raises:
        DataError: As `similarity_report`.
        ConfigError: As `similarity_report`.
    """
    check_draws(draws, level)
    points, drawn = _correlations([first, second], scores, draws, seed, parallel)
    apart = {lang: drawn[lang][0] - drawn[lang][1] for lang in first}
    found = {}
    for lang, drawn_K in apart.items():
        point = points[lang][0] - points[lang][1]
        found[lang] = difference(point, centred(drawn_K, point), level)
    point = float(np.mean([one.point for one in found.values()]))
    macro_K = centred(np.mean(list(apart.values()), axis=0), point)
    return found | {MACRO: difference(point, macro_K, level)}


@dataclass(frozen=True)
class VectorError:
    """How far student vectors are from teacher vectors, as the mean squared error in both scalings.

    Args:
        pairs: N.
        summed: Squared distance, summed over the width (Reimers and Gurevych 2020).
        averaged: The same divided by the width (sentence-transformers' `MSELoss`).
    """

    pairs: int
    summed: Estimate
    averaged: Estimate


def vector_error(
    student_ND: np.ndarray,
    teacher_ND: np.ndarray,
    draws: int = DRAWS,
    generator: np.random.Generator | None = None,
    level: float = LEVEL,
) -> VectorError:
    """Return the mean squared error of one language with a bootstrap interval over pairs.

    Raises:
        DataError: As `squared_errors`.
        ConfigError: Fewer than 1 draw, or a level that is no share.
    """
    check_draws(draws, level)
    errors_N = squared_errors(student_ND, teacher_ND)
    drawn_K = bootstrap_means(errors_N, draws, generator)
    width = student_ND.shape[1]
    point = float(errors_N.mean())
    return VectorError(
        len(errors_N),
        estimate(point, drawn_K, level),
        estimate(point / width, drawn_K / width, level),
    )


def _macro(
    values: Mapping[str, np.ndarray], draws: int, seed: int, parallel: bool
) -> tuple[float, np.ndarray]:
    """The mean over languages of means over pairs, and its draws."""
    point = float(np.mean([values_N.mean() for values_N in values.values()]))
    if parallel:
        _check_parallel(values)
        # The mean over languages of means over the same pairs is the mean over pairs of means over languages.
        over_languages_N = np.mean([values_N.astype(np.float64) for values_N in values.values()], axis=0)
        return point, bootstrap_means(over_languages_N, draws, generator_for(seed, MACRO))
    drawn = [bootstrap_means(values_N, draws, generator_for(seed, lang)) for lang, values_N in values.items()]
    return point, np.mean(drawn, axis=0)


def _correlations(
    models: list[Mapping[str, np.ndarray]],
    scores: Mapping[str, np.ndarray],
    draws: int,
    seed: int,
    parallel: bool,
) -> tuple[dict[str, list[float]], dict[str, list[np.ndarray]]]:
    for cosines in models:
        _check_same({k: len(v) for k, v in cosines.items()}, {k: len(v) for k, v in scores.items()})
    if parallel:
        _check_parallel(scores)
    points, drawn = {}, {}
    for lang in models[0]:
        by_model = [cosines[lang] for cosines in models]
        try:
            points[lang] = [spearman(cosine_N, scores[lang]) for cosine_N in by_model]
        except DataError as error:
            raise DataError(f"{lang}: {error}") from error
        generator = generator_for(seed, MACRO if parallel else lang)
        drawn[lang] = draw_correlations(by_model, scores[lang], draws, generator)
    return points, drawn


def _check(languages: Mapping[str, Any]) -> None:
    if not languages:
        raise DataError("There is no language to report; at least one is wanted.")


def _check_parallel(values: Mapping[str, np.ndarray]) -> None:
    if len({len(values_N) for values_N in values.values()}) > 1:
        raise DataError(
            "The languages have other numbers of pairs, so that their rows are not the same sentences."
        )


def _check_same(first: Mapping[str, int], second: Mapping[str, int]) -> None:
    _check(first)
    if dict(first) != dict(second):
        other = sorted(lang for lang in {*first, *second} if first.get(lang) != second.get(lang))
        raise DataError(
            "The two do not have the same pairs: their numbers differ in "
            f"{', '.join(other[:8])}{' and others' if len(other) > 8 else ''}. Measure both on one table."
        )
