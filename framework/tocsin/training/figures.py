"""The figures of a scores table in TensorBoard, after a test run."""

from __future__ import annotations

from collections.abc import Mapping

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

__all__ = ["FiguresAfterTest"]


class FiguresAfterTest(Callback):
    """Writes reliability, precision–recall, thresholds and languages by labels as images `test/<figure>`.

    They are those of `tocsin evaluate --output` (`tocsin.scores.figures`), at the threshold .5. Without a TensorBoard
    logger, without test messages, or without matplotlib (the extra `figures`, named once) it writes nothing.
    """

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the scores of the test split."""
        writers = [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        tables = getattr(pl_module, "scores", None)
        table = tables.get("test") if isinstance(tables, Mapping) else None
        if not trainer.is_global_zero or not writers or table is None or table.targets_NL is None:
            return
        from tocsin.scores.figures import figures, picture

        try:
            pictures = {name: picture(figure) for name, figure in figures(table).items()}
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            rank_zero_info("No figures in TensorBoard: pip install 'tocsin[figures]' adds matplotlib.")
            return
        try:
            for writer in writers:
                for name, image in pictures.items():
                    writer.add_image(f"test/{name}", np.ascontiguousarray(image), 0, dataformats="HWC")
                writer.flush()
        except OSError as error:
            rank_zero_warn(f"TensorBoard gets no figures: {error}. The scores are written all the same.")
