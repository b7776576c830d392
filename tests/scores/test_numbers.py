from __future__ import annotations

import numpy as np

from tocsin.scores.numbers import digits_of, interval_text, number, signed
from tocsin.scores.statistics import FIGURES


def test_numbers_are_written_alike() -> None:
    assert (number(0.12345), number(0.12345, 4), number(np.nan)) == ("0.123", "0.1235", "–")
    assert (signed(0.5), signed(-0.25, 2), signed(np.inf)) == ("+0.500", "-0.25", "–")
    assert interval_text(0.1, 0.25, 2) == "[0.10, 0.25]"
    assert interval_text(-0.1, 0.0, plus=True) == "[-0.100, +0.000]"
    assert interval_text(np.nan, 0.2) == interval_text(0.2, np.nan) == "–"


def test_brier_and_log_loss_alone_have_a_fourth_decimal() -> None:
    four = {figure for figure in FIGURES if digits_of(figure) == 4}
    assert four == {
        f"{mean}_{loss}" for mean in ("macro", "micro", "weighted") for loss in ("brier", "log_loss")
    }
    assert digits_of("macro_calibration_error") == 3
