"""Reliability before and after calibration, as a picture. Needs matplotlib, the extra `figures`."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import numpy as np

from tocsin.errors import ConfigError
from tocsin.escaping import terminal_text
from tocsin.files import whole_file
from tocsin.labels.targets import POSITIVE_FROM
from tocsin.scores.probabilities import Bins
from tocsin.scores.table import ScoresTable

__all__ = ["draw_reliability"]


def draw_reliability(before: ScoresTable, after: ScoresTable, path: Path, title: str) -> None:
    """Write a PNG: share of positives by probability given, all labels pooled, in bins of equal numbers of predictions.

    Before is dashed with open squares, after is solid with filled circles, so that grey print tells them apart. Below,
    how many predictions (a message's of a label) have which probability.

    Args:
        before: Raw scores with targets.
        after: The same messages, calibrated.
        path: Where to.
        title: What is shown; long ones are wrapped.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "Figures need matplotlib, which is not installed: pip install 'tocsin[figures]'."
        ) from error
    targets = before.known_targets("A reliability figure").ravel()
    figure = Figure(figsize=(5.5, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    curve, counts = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    curve.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="a calibrated model")
    styles = (
        (
            "before",
            before.raw_probabilities,
            {"color": "#d55e00", "linestyle": "--", "marker": "s", "mfc": "white"},
        ),
        ("after", after.probabilities, {"color": "#0072b2", "linestyle": "-", "marker": "o"}),
    )
    known = ~np.isnan(targets)
    for name, probabilities_NL, style in styles:
        given = probabilities_NL.ravel()[known]
        bins = Bins(targets[known] >= POSITIVE_FROM, given, 20)
        curve.plot(bins.mean_B, bins.share_B, label=f"{name} calibration", markersize=5, **style)
        counts.hist(
            given,
            bins=np.linspace(0, 1, 41),
            histtype="step",
            color=style["color"],
            linestyle=style["linestyle"],
        )
    curve.set_ylabel("share of positives")
    curve.set_title(fill(terminal_text(title), 70), fontsize=9, loc="left", parse_math=False)
    curve.set_xlim(0, 1)
    curve.set_ylim(0, 1)
    curve.legend(loc="upper left", frameon=False)
    counts.set_yscale("log")
    counts.set_ylabel("predictions")
    counts.set_xlabel("probability given")
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=150)
