"""Figures of a scores table, for people: reliability, precision and recall, thresholds, languages by labels.

They are read in grey and by colour-blind eyes: lines differ in their strokes, points in their shape, and the heat map's
colours (cividis) rise in lightness and carry their numbers. matplotlib is the extra `figures`; without it these
functions raise ModuleNotFoundError.

N messages, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tocsin.escaping import figure_text
from tocsin.scores.metrics import average_precision, evaluate_by, probabilities_of, thresholds_for
from tocsin.scores.numbers import number
from tocsin.scores.probabilities import Bins
from tocsin.scores.table import ScoresTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figures", "language_heat_map", "picture", "precision_recall", "reliability", "threshold_curves"]

_PANELS = 12
_POINTS = 400  # of a curve: more cannot be seen
_FEW = 30  # positives, as in the report
_SMALL = 7.5


def figures(table: ScoresTable, thresholds: float | Sequence[float] = 0.5) -> dict[str, Figure]:
    """Return every figure that can be drawn of a table, by name; those without anything to show are left out.

    Args:
        table: Scores with targets.
        thresholds: As in `evaluate`.

    Raises:
        DataError: When the table has no targets.
        ModuleNotFoundError: matplotlib is not installed.
    """
    found = {
        "reliability": reliability(table),
        "precision-recall": precision_recall(table, thresholds),
        "thresholds": threshold_curves(table, thresholds),
        "languages": language_heat_map(table),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def reliability(table: ScoresTable, most: int = _PANELS) -> Figure | None:
    """Draw how often a label holds where a probability was given, for all labels pooled and for the most frequent.

    A point is a bin of equally many messages, its bar the 95% interval (Wilson 1927) of its share of positives.

    Returns:
        The figure; None without a label that has a positive.
    """

    def draw(axes: Axes, label: int | None, positive: np.ndarray, given: np.ndarray) -> None:
        bins = Bins(positive, given)
        low, high = wilson(bins.share_B * bins.counts_B, bins.counts_B)
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", zorder=1)
        bars = np.stack([bins.share_B - low, high - bins.share_B])
        axes.errorbar(
            bins.mean_B, bins.share_B, np.maximum(bars, 0), fmt="o-", color="black", ecolor="0.45",
            markersize=3, linewidth=0.8, elinewidth=1.0, capsize=1.5,
        )  # fmt: skip
        axes.text(
            0.96,
            0.05,
            f"calibration error {bins.error():.3f}",
            ha="right",
            transform=axes.transAxes,
            fontsize=_SMALL,
        )

    return _panels(
        table,
        most,
        draw,
        pooled=True,
        x="probability given",
        y="share of positives",
        note="Dashed: what a calibrated model does. Bars: 95% intervals of each bin.",
    )


def wilson(hits: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of 95% intervals of shares (Wilson 1927), of arrays of one shape; counts above 0."""
    z2 = 1.959963984540054**2  # the normal quantile of 97.5%
    centre = (hits + z2 / 2) / (counts + z2)
    half = np.sqrt(z2) / (counts + z2) * np.sqrt(hits * (counts - hits) / counts + z2 / 4)
    return centre - half, centre + half


def precision_recall(
    table: ScoresTable, thresholds: float | Sequence[float] = 0.5, most: int = _PANELS
) -> Figure | None:
    """Draw precision against recall of the most frequent labels, with the operating point.

    Returns:
        The figure; None without a label that has a positive.
    """
    limits_L = thresholds_for(thresholds, table.labels)

    def draw(axes: Axes, label: int | None, positive: np.ndarray, given: np.ndarray) -> None:
        at, hits, on = _falling(positive, given)
        share = positive.mean()
        axes.axhline(share, color="0.6", linewidth=0.8, linestyle="--")
        thin = _thinned(len(at))
        axes.plot((hits / positive.sum())[thin], (hits / on)[thin], color="black", linewidth=1.0)
        threshold = limits_L[label]
        reached = int(np.count_nonzero(at >= threshold)) - 1
        if reached >= 0:
            axes.plot(
                hits[reached] / positive.sum(), hits[reached] / on[reached],
                marker="o", markersize=6, markerfacecolor="white", markeredgecolor="black",
            )  # fmt: skip
        # Lower left, where a good curve is not, and above the dashed line of a rare label.
        low = share + 0.04 if share < 0.2 else 0.05
        axes.text(
            0.05, low, f"AP {number(average_precision(positive, given))}", fontsize=_SMALL,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )  # fmt: skip

    return _panels(
        table,
        most,
        draw,
        x="recall",
        y="precision",
        note="Circle: the operating point (none where nothing reaches the threshold). Dashed: a constant's precision.",
    )


def threshold_curves(
    table: ScoresTable, thresholds: float | Sequence[float] = 0.5, most: int = _PANELS
) -> Figure | None:
    """Draw F1, precision and recall against the threshold for the most frequent labels.

    Returns:
        The figure; None without a label that has a positive.
    """
    limits_L = thresholds_for(thresholds, table.labels)

    def draw(axes: Axes, label: int | None, positive: np.ndarray, given: np.ndarray) -> None:
        at, hits, on = _falling(positive, given)
        # Without a negative F1 is undefined: "always on" would have 1.
        f1 = np.full(len(at), np.nan) if positive.all() else 2 * hits / (on + positive.sum())
        best = int(np.argmax(f1))
        thin = np.union1d(_thinned(len(at)), [best])
        steps: dict[str, Any] = {"drawstyle": "steps-post", "color": "black"}
        axes.plot(at[thin], (hits / on)[thin], linewidth=0.7, linestyle=":", label="precision", **steps)
        axes.plot(
            at[thin], (hits / positive.sum())[thin], linewidth=0.7, linestyle="--", label="recall", **steps
        )
        axes.plot(at[thin], f1[thin], linewidth=1.4, label="F1", **steps)
        axes.axvline(float(limits_L[label]), color="0.6", linewidth=0.8)
        axes.plot(at[best], f1[best], marker="D", markersize=4, color="black")
        said = "no negative" if positive.all() else f"best {f1[best]:.3f} at {at[best]:.2f}"
        axes.text(0.04, 0.04, said, transform=axes.transAxes, fontsize=_SMALL)

    figure = _panels(
        table,
        most,
        draw,
        x="threshold",
        y="F1, precision, recall",
        note="Grey line: the threshold in use. Diamond: the best F1 on these messages, which flatters: choose "
        "thresholds on others.",
    )
    if figure is not None:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower right", ncols=3, frameon=False, fontsize=8)
    return figure


def language_heat_map(table: ScoresTable, languages: int = 30, most: int = 40) -> Figure | None:
    """Draw the ROC-AUC of each label (column) in each language (row), largest and most frequent first.

    A cell of fewer than 30 positives or negatives has its number in brackets; one without either is crossed out.

    Returns:
        The figure; None where there are not two languages with a figure, or no label.
    """
    import matplotlib
    from matplotlib.patches import Rectangle

    by_language = evaluate_by(table, "lang")
    rows = [(lang, found) for lang, found in by_language.items() if found.defined["roc_auc"]][:languages]
    if len(rows) < 2:
        return None
    positives_L = np.sum([found.positives for _, found in rows], axis=0)
    columns = [int(i) for i in np.argsort(-positives_L, kind="stable")[:most] if positives_L[i]]
    values = np.array([[found.per_label["roc_auc"][i] for i in columns] for _, found in rows])
    width, height = max(4.5, 2.4 + 0.42 * len(columns)), 2.6 + 0.27 * len(rows)
    figure = _figure(width, height)
    axes = figure.add_subplot()
    colours = matplotlib.colormaps["cividis"]
    image = axes.imshow(values, vmin=0.5, vmax=1.0, cmap=colours, aspect="auto")
    for y, (_, found) in enumerate(rows):
        for x, i in enumerate(columns):
            value = values[y, x]
            if np.isnan(value):
                axes.add_patch(
                    Rectangle(
                        (x - 0.5, y - 0.5), 1, 1, facecolor="white", edgecolor="0.7", hatch="xxx", linewidth=0
                    )
                )
                continue
            few = min(found.positives[i], found.known[i] - found.positives[i]) < _FEW
            number = f"{value:.2f}".removeprefix("0")
            dark = value < 0.75  # the lower half of cividis is dark
            axes.text(
                x, y, f"({number})" if few else number, ha="center", va="center", fontsize=6.5,
                color="white" if dark else "black",
            )  # fmt: skip
    names = [table.labels[i] for i in columns]
    axes.set_xticks(
        range(len(columns)),
        [_short(name) for name in names],
        rotation=60,
        ha="right",
        fontsize=_SMALL,
    )
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.set_yticks(
        range(len(rows)),
        [f"{_short(lang)}  ({found.n:,})" for lang, found in rows],
        fontsize=_SMALL,
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, extend="min")
    bar.set_label("ROC-AUC", fontsize=8)
    bar.ax.tick_params(labelsize=_SMALL)
    dropped = len(by_language) - len(rows)
    note = f"In brackets: under {_FEW} positives or negatives. Crossed out: without one of the two."
    note += f" {dropped} smaller or undefined languages are not shown." if dropped else ""
    _caption(figure, note)
    return figure


def picture(figure: Figure) -> np.ndarray:
    """Return a figure as (height, width, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _caption(figure: Figure, text: str) -> None:
    """Write what a reader must know above a figure, in lines that fit its width (about 16 letters an inch)."""
    from textwrap import fill

    wide = fill(text, width=int(16 * figure.get_figwidth()))
    figure.suptitle(wide, fontsize=_SMALL, x=0.01, ha="left")


def _panels(
    table: ScoresTable,
    most: int,
    draw: Callable[[Axes, int | None, np.ndarray, np.ndarray], None],
    *,
    x: str,
    y: str,
    note: str,
    pooled: bool = False,
) -> Figure | None:
    """Small figures of equal axes, one a label with a positive, most frequent first; None when there is none."""
    targets_NL = table.known_targets("A figure")
    positives_L = (targets_NL == 1).sum(axis=0)
    labels = [int(i) for i in np.argsort(-positives_L, kind="stable") if positives_L[i]]
    if not labels:
        return None
    shown: list[int | None] = [*([None] if pooled else []), *labels][:most]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = _figure(0.8 + 2.1 * columns, 1.0 + 1.9 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, label in zip(grid, shown, strict=False):
        cells = ~np.isnan(targets_NL if label is None else targets_NL[:, label])
        targets = targets_NL[cells] if label is None else targets_NL[cells, label]
        ranking = table.ranking_NL[cells] if label is None else table.ranking_NL[cells, label]
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=_SMALL)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, label, targets == 1, probabilities_of(table, ranking).astype(np.float64))
        positives = int((targets == 1).sum())
        few = " *" if positives < _FEW else ""
        name = "all labels pooled" if label is None else _short(table.labels[label], 24)
        axes.set_title(f"{name} ({positives:,}{few})", fontsize=8)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(shown) - columns) : len(shown)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    more = len(labels) - sum(label is not None for label in shown)
    tail = f" {more} rarer labels are not shown." if more else ""
    _caption(figure, f"In brackets: positives (*: under {_FEW}). {note}{tail}")
    return figure


def _falling(positive: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct probabilities, falling, with the positives and the messages that reach each."""
    order = np.argsort(given, kind="stable")[::-1]
    falling = given[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return falling[ends], np.cumsum(positive[order])[ends], ends + 1


def _thinned(points: int) -> np.ndarray:
    """Places of at most `_POINTS` of the points of a curve, more of them where few messages are on."""
    if points <= _POINTS:
        return np.arange(points)
    few = np.geomspace(1, points, _POINTS // 2) - 1
    even = np.linspace(0, points - 1, _POINTS // 2)
    return np.unique(np.round(np.concatenate([few, even])).astype(int))


def _short(text: str, most: int = 22) -> str:
    return figure_text(text if len(text) <= most else text[: most - 1] + "…")
