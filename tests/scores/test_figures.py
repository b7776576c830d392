from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.scores.cases import make_table
from tocsin.scores.figures import (
    figures,
    language_heat_map,
    picture,
    precision_recall,
    reliability,
    threshold_curves,
    wilson,
)
from tocsin.scores.metrics import evaluate, evaluate_by
from tocsin.scores.probabilities import Bins
from tocsin.scores.reliability_figure import draw_reliability

pytest.importorskip("matplotlib")


def test_wilson_equals_scipy() -> None:
    for hits, count in ((0, 7), (3, 10), (10, 10), (40, 300)):
        expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
        found = [float(end) for end in wilson(np.array(hits), np.array(count))]
        assert found == pytest.approx([expected.low, expected.high], abs=1e-9)


def test_every_figure_is_drawn_and_is_no_blank_page() -> None:
    found = figures(make_table(300, labels=("fire", "a$b$c", "a_very_long_label_name_indeed", "never")))
    assert list(found) == ["reliability", "precision-recall", "thresholds", "languages"]
    for figure in found.values():
        image = picture(figure)
        assert image.dtype == np.uint8
        assert 0.5 < (image == 255).all(axis=2).mean() < 0.999


def test_the_operating_point_is_the_tables_precision_and_recall() -> None:
    table = make_table(300, 2)
    metrics = evaluate(table, [0.3, 0.6])
    figure = precision_recall(table, [0.3, 0.6])
    assert figure is not None
    order = np.argsort(-metrics.positives, kind="stable")
    for axes, label in zip(figure.axes, order, strict=False):
        point = axes.lines[-1]
        assert (point.get_xdata()[0], point.get_ydata()[0]) == pytest.approx(
            (metrics.per_label["recall"][label], metrics.per_label["precision"][label])
        )


def test_the_best_threshold_is_the_best_of_all() -> None:
    table = make_table(200, 1)
    figure = threshold_curves(table)
    assert figure is not None
    diamond = figure.axes[0].lines[-1]
    best = max(evaluate(table, threshold).macro["f1"] for threshold in np.unique(table.probabilities))
    assert diamond.get_ydata()[0] == pytest.approx(best)
    at = float(diamond.get_xdata()[0])
    assert evaluate(table, at).macro["f1"] == pytest.approx(best)


def test_reliability_shows_the_bins_of_all_cells_first() -> None:
    table = make_table(300)
    figure = reliability(table)
    assert figure is not None
    cells = ~np.isnan(table.targets_NL)
    bins = Bins(table.targets_NL[cells] == 1, table.probabilities[cells])
    points = figure.axes[0].lines[1]
    assert points.get_xdata() == pytest.approx(bins.mean_B)
    assert points.get_ydata() == pytest.approx(bins.share_B)
    assert figure.axes[0].get_title().startswith("all labels pooled")


def test_the_heat_map_holds_each_languages_figures() -> None:
    table = make_table(400)
    figure = language_heat_map(table)
    assert figure is not None
    by_language = evaluate_by(table, "lang")
    values = figure.axes[0].images[0].get_array()
    assert values.shape == (4, 3)  # the label without a positive has no column
    for row, found in zip(values, by_language.values(), strict=True):
        shown = sorted(value for value in np.asarray(row.filled(np.nan)) if value == value)
        assert shown == pytest.approx(sorted(v for v in found.per_label["roc_auc"] if v == v))


def test_nothing_to_show_is_no_figure() -> None:
    nothing = make_table(targets_NL=np.zeros((120, 4)))
    assert figures(nothing) == {}
    assert figures(make_table(targets_NL=np.full((120, 4), np.nan))) == {}
    one_language = make_table(langs=np.array(["en"] * 120, dtype=object))
    assert "languages" not in figures(one_language)


def test_one_row_can_be_drawn() -> None:
    table = make_table(1, 1, targets_NL=[[1]])
    assert set(figures(table)) == {"reliability", "precision-recall", "thresholds"}


def test_no_caption_runs_off_its_figure() -> None:
    many = tuple(f"label {i}" for i in range(20))
    for name, figure in figures(make_table(300, 20, labels=many)).items():
        picture(figure)
        caption = figure._suptitle.get_window_extent()
        assert caption.x0 >= 0, name
        assert caption.x1 <= figure.bbox.x1, name


def test_the_average_precision_stands_clear_of_a_good_curve() -> None:
    targets_NL = np.zeros((100, 1))
    targets_NL[:90] = 1
    table = make_table(100, 1, labels=("often",), targets_NL=targets_NL, logits_NL=5 * targets_NL - 2)
    figure = precision_recall(table)
    assert figure is not None
    (text,) = figure.axes[0].texts
    assert text.get_text() == "AP 1.000"
    assert text.get_position()[0] < 0.2
    assert text.get_position()[1] < 0.2


def test_reliability_before_and_after_has_a_title_and_the_words_of_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    kept, save = [], Figure.savefig

    def saved(figure: Figure, *given: Any, **named: Any) -> None:
        kept.append(figure)
        save(figure, *given, **named)

    monkeypatch.setattr(Figure, "savefig", saved)
    table = make_table(300)
    draw_reliability(table, table, tmp_path / "x.png", "run $a$b: all labels pooled")
    curve, counts = kept[0].axes
    assert curve.get_title(loc="left") == "run $a$b: all labels pooled"
    evaluated = reliability(table)
    assert evaluated is not None
    assert counts.get_xlabel() == evaluated._supxlabel.get_text() == "probability given"
    assert curve.get_ylabel() == evaluated._supylabel.get_text() == "share of positives"
