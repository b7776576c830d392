from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from tests.scores.cases import CASES, make_table
from tocsin.errors import DataError
from tocsin.scores.metrics import evaluate
from tocsin.scores.probabilities import Bins, brier, calibration_error, log_loss

PROBABILITIES = {name: case for name, case in CASES.items() if (np.abs(case[1] - 0.5) <= 0.5).all()}


@pytest.mark.parametrize("case", PROBABILITIES)
def test_losses_equal_scikit_learn(case: str) -> None:
    targets, given_ = PROBABILITIES[case]
    cells = ~np.isnan(targets)
    if not cells.any():
        assert np.isnan([brier(targets, given_), log_loss(targets, given_)]).all()
        return
    assert brier(targets, given_) == pytest.approx(
        reference.brier_score_loss(targets[cells], given_[cells], pos_label=1), abs=1e-12
    )
    clipped = np.clip(given_[cells], 1e-7, 1 - 1e-7)
    assert log_loss(targets, given_) == pytest.approx(
        reference.log_loss(targets[cells], clipped, labels=[0, 1]), abs=1e-12
    )


def test_a_sure_miss_costs_what_the_limit_says_and_no_more() -> None:
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-np.log(1e-7))
    assert brier(np.array([1, 0]), np.array([0.0, 1.0])) == 1.0


def test_calibration_error_by_hand() -> None:
    # two bins of ten: says .2 and holds 3 of 10, says .7 and holds 5 of 10
    targets = np.array([1] * 3 + [0] * 7 + [1] * 5 + [0] * 5)
    given_ = np.repeat([0.2, 0.7], 10)
    low = (0.2 - 0.3) ** 2 - 0.3 * 0.7 / 9
    high = (0.7 - 0.5) ** 2 - 0.5 * 0.5 / 9
    assert Bins(targets == 1, given_, 2).squared_error() == pytest.approx((low + high) / 2)
    assert low + high < 0  # chance alone makes such gaps
    assert calibration_error(targets, given_, 2) == 0.0
    worse = np.repeat([0.2, 1.0], 10)
    squared = (low + (1.0 - 0.5) ** 2 - 0.25 / 9) / 2
    assert calibration_error(targets, worse, 2) == pytest.approx(np.sqrt(squared))


def test_calibration_error_is_free_of_bias_where_the_plain_one_is_not() -> None:
    debiased, plain = [], []
    for seed in range(400):
        generator = np.random.default_rng(seed)
        says = generator.random(300)
        bins = Bins(generator.random(300) < says, says)
        debiased.append(bins.squared_error())
        plain.append(bins.counts_B @ (bins.mean_B - bins.share_B) ** 2 / 300)
    error = np.std(debiased) / np.sqrt(400)
    assert abs(np.mean(debiased)) < 4 * error
    assert np.mean(plain) > 20 * error


def test_equal_probabilities_stay_in_one_bin() -> None:
    bins = Bins(np.arange(100) % 2 == 0, np.repeat([0.1, 0.2, 0.9], [50, 3, 47]), 10)
    assert bins.counts_B.tolist() == [50, 3, 47]
    assert bins.mean_B.tolist() == pytest.approx([0.1, 0.2, 0.9])


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.sampled_from([0.0, 0.1, 0.5, 0.77, 1.0])),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_messages_does_not_count(cells: list[tuple[float, float]], random) -> None:  # type: ignore[no-untyped-def]
    columns = []
    for _ in range(2):
        columns.append(np.array(cells, dtype=float).reshape(-1, 2).T)
        random.shuffle(cells)
    for metric in (brier, log_loss, calibration_error):
        # squared: the root of what cancels to 0 shows the last digits
        first, second = (metric(*column) ** 2 for column in columns)
        assert first == pytest.approx(second, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("targets", "probabilities", "defined"),
    [
        ([1], [0.7], [True, True, False]),
        ([np.nan, np.nan], [0.7, 0.2], [False, False, False]),
        ([], [], [False, False, False]),
        ([0, 0, 0], [0.2, 0.3, 0.1], [True, True, True]),
        ([1, 1, 1], [0.2, 0.3, 0.1], [True, True, True]),
    ],
    ids=["one row", "all null", "no rows", "all negative", "all positive"],
)
def test_what_cannot_be_said_is_nan(targets: list, probabilities: list, defined: list[bool]) -> None:
    given_ = np.array(targets, dtype=float), np.array(probabilities)
    assert [bool(np.isfinite(metric(*given_))) for metric in (brier, log_loss, calibration_error)] == defined


@pytest.mark.parametrize("metric", [brier, log_loss, calibration_error])
def test_what_is_no_probability_is_refused(metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"from -1 to 1\.2; 0 to 1"):
        metric(np.array([0, 1]), np.array([-1.0, 1.2]))
    with pytest.raises(DataError, match="0 to 1 is wanted"):
        metric(np.array([0, 1]), np.array([0.3, np.nan]))
    with pytest.raises(DataError, match="one shape"):
        metric(np.array([0, 1]), np.array([0.3]))


def test_a_table_is_the_mean_of_its_labels_and_the_pool_of_its_cells() -> None:
    table = make_table()
    found = evaluate(table)
    for name, metric in (("brier", brier), ("log_loss", log_loss), ("calibration_error", calibration_error)):
        columns = zip(table.targets_NL.T, table.probabilities.T, strict=True)
        expected = [metric(targets, given_) for targets, given_ in columns]
        assert found.per_label[name] == pytest.approx(np.array(expected), abs=1e-12)
        assert found.macro[name] == pytest.approx(np.mean(expected), abs=1e-12)
        pooled = metric(table.targets_NL.ravel(), table.probabilities.ravel())
        assert found.micro[name] == pytest.approx(pooled, abs=1e-12)
