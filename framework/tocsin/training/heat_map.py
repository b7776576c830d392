"""Matching accuracy by language over the steps of a distillation, as one picture in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from tocsin.escaping import figure_text

if TYPE_CHECKING:
    from tocsin.models.matching import Figures

__all__ = ["MatchingHeatMap", "matching_figure"]


class MatchingHeatMap(Callback):
    """Draws the matching accuracy of each language at each validation: the image `validation/languages`.

    A row a language, the hardest at the top; a column a validation, the untrained student first. It needs matplotlib
    and a TensorBoard logger, and does nothing without them, nor beside a model that matches no pairs.

    Args:
        columns: Most validations in the picture; of more, the first and last stand and others evenly between.
        languages: Most languages in it; the hardest are shown.
    """

    def __init__(self, columns: int = 20, languages: int = 60) -> None:
        self.columns = columns
        self.languages = languages
        self._told = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw anew."""
        history = getattr(pl_module, "history", None)
        writers = [each.experiment for each in trainer.loggers if isinstance(each, TensorBoardLogger)]
        if trainer.sanity_checking or not trainer.is_global_zero or not history or not writers:
            return
        try:
            image = matching_figure(history, columns=self.columns, languages=self.languages)
            for writer in writers:
                writer.add_image(
                    "validation/languages", image, max(trainer.global_step - 1, 0), dataformats="HWC"
                )
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            if not self._told:
                rank_zero_info(
                    "No heat map of languages in TensorBoard: pip install 'tocsin[figures]' adds matplotlib."
                )
            self._told = True
        except OSError as error:
            rank_zero_warn(f"The heat map of languages was not written: {error}. The fit goes on without it.")


def matching_figure(history: Sequence[Figures], *, columns: int = 20, languages: int = 60) -> np.ndarray:
    """Draw a heat map language × validation, its numbers written in; black on white is low on high.

    Grey only, so that print and colour-blind readers lose nothing, with its scale from the lowest figure to 1.

    Args:
        history: At least one validation.
        columns: Most columns.
        languages: Most rows; those with the lowest last figure are shown.

    Returns:
        The picture, (height, width, 3) uint8.

    Raises:
        ModuleNotFoundError: matplotlib is not installed (the extra `figures`).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = np.unique(np.linspace(0, len(history) - 1, min(columns, len(history))).round().astype(int))
    shown = [history[i] for i in chosen]
    last = shown[-1].matching
    rows = sorted(last, key=lambda lang: (last[lang], lang))[:languages]
    values = np.array([[found.matching.get(lang, np.nan) for found in shown] for lang in rows])
    low = min(0.95, float(np.nanmin(values)))
    figure = Figure(figsize=(2.6 + 0.55 * len(shown), 1.5 + 0.26 * len(rows)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(values, cmap="gray", vmin=low - 0.15 * (1 - low), vmax=1.0, aspect="auto")
    middle = (low - 0.15 * (1 - low) + 1.0) / 2
    for row in range(len(rows)):
        for column in range(len(shown)):
            value = values[row, column]
            if np.isfinite(value):
                text = f"{value:.2f}".removeprefix("0")
                axes.text(
                    column, row, text, ha="center", va="center", fontsize=8,
                    color="black" if value > middle else "white",
                )  # fmt: skip
    axes.set_xticks(range(len(shown)), [f"{found.step:,}" for found in shown], rotation=60, fontsize=8)
    axes.set_yticks(range(len(rows)), list(map(figure_text, rows)), fontsize=8)
    axes.set_xlabel("optimiser steps")
    hidden = len(last) - len(rows)
    easier = f"\n{hidden} easier language{'s' * (hidden > 1)} not shown" if hidden else ""
    axes.set_title(f"matching accuracy{easier}", fontsize=9)
    figure.colorbar(picture, ax=axes, fraction=0.05)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
