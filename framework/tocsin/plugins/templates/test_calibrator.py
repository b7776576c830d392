"""TemplateCalibrator: the contract of calibrators, and what it learns."""

import numpy as np
import pytest

from tocsin.plugins import ScoresTable
from tocsin.plugins.testing import check_calibrator
from tocsin_template.calibrator import TemplateCalibrator


def test_it_conforms() -> None:
    check_calibrator(TemplateCalibrator)


def test_it_finds_how_much_too_sure_a_model_is() -> None:
    # Of four messages scored with a logit of 4, three are on: 4 / t is the log odds of 3.
    targets_NL = np.array([[1], [1], [1], [0]])
    table = ScoresTable(
        ids=np.arange(4),
        labels=("flood",),
        logits_NL=np.full((4, 1), 4.0),
        targets_NL=targets_NL,
    )
    calibrator = TemplateCalibrator().fit(table)
    assert calibrator.temperature == pytest.approx(4.0 / np.log(3.0))
    assert calibrator.apply(table).probabilities == pytest.approx(0.75, abs=1e-6)
