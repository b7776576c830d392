"""What sentence vectors are for: matching sentences with their translations, similarity, telling classes apart.

numpy only. Arrays in, plain dataclasses out, so that a training callback, a verb and a notebook ask the same functions.
"""

from __future__ import annotations

from tocsin.vectors.classes import ClassSeparation, class_separation
from tocsin.vectors.intervals import Difference, Estimate
from tocsin.vectors.matching import Accuracy, Matching, accuracy, match
from tocsin.vectors.reports import (
    FEW_PAIRS,
    MatchingReport,
    SimilarityReport,
    VectorError,
    matching_differences,
    matching_report,
    similarity_differences,
    similarity_report,
    vector_error,
)
from tocsin.vectors.search import Nearest, nearest
from tocsin.vectors.similarity import cosines, rank_correlation, spearman, squared_errors

__all__ = [
    "FEW_PAIRS",
    "Accuracy",
    "ClassSeparation",
    "Difference",
    "Estimate",
    "Matching",
    "MatchingReport",
    "Nearest",
    "SimilarityReport",
    "VectorError",
    "accuracy",
    "class_separation",
    "cosines",
    "match",
    "matching_differences",
    "matching_report",
    "nearest",
    "rank_correlation",
    "similarity_differences",
    "similarity_report",
    "spearman",
    "squared_errors",
    "vector_error",
]
