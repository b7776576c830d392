"""Ensemblers: one scores table out of several models' of the same messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tocsin.plugins import hookimpl

if TYPE_CHECKING:
    from tocsin.plugins import Ensembler

__all__ = ["tocsin_ensemblers"]


@hookimpl
def tocsin_ensemblers() -> list[type[Ensembler]]:
    """A mean, a fitted weighted mean, a regression over the members' logits, and a mean of ranks."""
    from tocsin_ensemble.means import MeanEnsemble, WeightedEnsemble
    from tocsin_ensemble.ranks import RankEnsemble
    from tocsin_ensemble.stacking import StackingEnsemble

    return [MeanEnsemble, WeightedEnsemble, StackingEnsemble, RankEnsemble]
