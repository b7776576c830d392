"""TemplateEnsembler: the contract of ensemblers, and what it computes."""

import numpy as np
import pytest

from tocsin.plugins import ScoresTable
from tocsin.plugins.testing import check_ensembler
from tocsin_template.ensembler import TemplateEnsembler


def scores(probability: float) -> ScoresTable:
    return ScoresTable(
        ids=np.arange(2),
        labels=("flood",),
        probabilities_NL=np.full((2, 1), probability),
        targets_NL=np.array([[0], [1]]),
    )


def test_it_conforms() -> None:
    check_ensembler(TemplateEnsembler)


def test_it_is_the_mean_of_probabilities() -> None:
    tables = [scores(0.2), scores(0.6), scores(0.7)]
    joint = TemplateEnsembler().fit(tables).apply(tables)
    assert joint.probabilities == pytest.approx(0.5)
