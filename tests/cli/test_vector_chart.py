"""The chart of match and sts: every figure at its place, and no taller than a page."""

from __future__ import annotations

import pytest

from tocsin.vectors import Estimate

pytest.importorskip("matplotlib")

from tocsin.cli.vector_chart import chart


def estimates(points: dict[str, float]) -> dict[str, Estimate]:
    return {lang: Estimate(point, point - 0.01, point + 0.01) for lang, point in points.items()}


def test_languages_stand_in_the_first_models_order_with_dots_at_their_figures() -> None:
    first = estimates({"eng": 0.5, "fra": 0.9, "hat": 0.7})
    second = estimates({"eng": 0.8, "fra": 0.2, "hat": 0.3})
    figure = chart({"a": first, "b": second}, "accuracy", 0.95)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fra", "hat", "eng"]
    top, bottom = axes.get_ylim()[::-1]
    assert top < 0 < bottom  # the first row is the upper one
    for model, points in zip(axes.containers, ([0.9, 0.7, 0.5], [0.2, 0.3, 0.8]), strict=True):
        assert model.lines[0].get_xdata() == pytest.approx(points)
        assert [round(place) for place in model.lines[0].get_ydata()] == [0, 1, 2]
    assert [text.get_text() for text in axes.texts] == ["0.95"]
    assert "order of a" in axes.get_title(loc="left")


@pytest.mark.parametrize(("languages", "models"), [(1, 1), (84, 4), (400, 9)])
def test_a_chart_is_no_taller_than_16_inches(languages: int, models: int) -> None:
    points = estimates({f"{i:03}": i / languages for i in range(languages)})
    figure = chart({f"model {m}": points for m in range(models)}, "accuracy")
    assert 1 < figure.get_figheight() <= 16
    assert not figure.axes[0].texts
