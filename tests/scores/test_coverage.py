"""Whether 95% intervals hold the truth 95% of the time, and whether equal models are called different 5% of the time.

`make test-all` draws 2,000 tables of each kind, and the rates must lie where the docs say. `make test` draws 200, with
bands that a correct program leaves less than once in a thousand runs. Nothing is random from run to run: the seeds are
fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from tests.scores.simulated import World, band
from tocsin.scores.comparison import compare
from tocsin.scores.statistics import bootstrap

WORLDS = {
    "messages": World(messages=800),
    "groups": World(messages=2400, grouped=True),
}
QUICK = ("macro_roc_auc", "macro_average_precision", "macro_f1", "macro_brier", "macro_log_loss")
FIGURES = (*QUICK, "macro_precision", "macro_recall", "micro_roc_auc", "micro_average_precision")
SIZES = [
    pytest.param(200, 200, id="200"),
    pytest.param(2000, 1000, id="2,000", marks=pytest.mark.slow),
]


def test_a_band_is_left_less_than_once_in_a_thousand() -> None:
    low, high = band(200, 0.93, 0.97)
    for rate in (0.93, 0.95, 0.97):
        outside = binom.cdf(low - 1, 200, rate) + binom.sf(high, 200, rate)
        assert outside <= 0.001
    assert (low, high) == (173, 200)


@pytest.mark.parametrize("figure", ["macro_roc_auc", "macro_average_precision", "macro_f1", "macro_log_loss"])
def test_the_known_truth_is_what_many_messages_give(figure: str) -> None:
    from tocsin.scores.metrics import evaluate

    world = World(messages=100_000)
    assert evaluate(world.draw(0)[0]).flat()[figure] == pytest.approx(world.truth()[figure], abs=0.006)


@pytest.mark.parametrize(("sets", "draws"), SIZES)
@pytest.mark.parametrize("kind", WORLDS)
def test_intervals_hold_the_truth_as_often_as_they_say(kind: str, sets: int, draws: int) -> None:
    world = WORLDS[kind]
    truth = world.truth()
    figures = FIGURES if sets == 2000 else QUICK
    hits = dict.fromkeys(figures, 0)
    for number in range(sets):
        table = world.draw(number)[0]
        groups = "event" if world.grouped else None
        found = bootstrap(table, figures, draws, seed=10_000 + number, groups=groups)
        for name in figures:
            hits[name] += found[name].low <= truth[name] <= found[name].high
    # 2,000 tables are enough for the rate itself; of 200 the band of a program whose rate lies at either end
    low, high = (0.93 * sets, 0.97 * sets) if sets == 2000 else band(sets, 0.93, 0.97)
    assert all(low <= count <= high for count in hits.values()), hits


@pytest.mark.parametrize(
    ("kind", "sets", "draws"),
    [
        pytest.param("messages", 200, 200, id="messages-200"),
        pytest.param("groups", 200, 200, id="groups-200", marks=pytest.mark.slow),
        pytest.param("messages", 2000, 1000, id="messages-2,000", marks=pytest.mark.slow),
        pytest.param("groups", 2000, 1000, id="groups-2,000", marks=pytest.mark.slow),
    ],
)
def test_equal_models_are_called_different_as_rarely_as_they_should(kind: str, sets: int, draws: int) -> None:
    world = WORLDS[kind]
    figures = ("macro_roc_auc", "macro_average_precision", "macro_f1")
    rejected = dict.fromkeys(figures, 0)
    for number in range(sets):
        a, b = world.draw(number, models=2)
        groups = "event" if world.grouped else None
        found = compare(a, b, figures, draws - 1, seed=10_000 + number, groups=groups)
        for name in figures:
            rejected[name] += found.figures[name].p_value <= 0.05
    low, high = (0.035 * sets, 0.065 * sets) if sets == 2000 else band(sets, 0.035, 0.065)
    assert all(low <= count <= high for count in rejected.values()), rejected


def test_without_groups_the_intervals_of_grouped_messages_are_too_narrow() -> None:
    world = World(messages=1000, grouped=True)
    widths = []
    for groups in (None, "event"):
        found = [bootstrap(world.draw(number)[0], ["macro_brier"], 100, groups=groups) for number in range(8)]
        widths.append(np.mean([one["macro_brier"].high - one["macro_brier"].low for one in found]))
    assert widths[1] > 1.15 * widths[0]
