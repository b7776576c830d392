"""What TensorBoard shows of a fit beyond the module's own scalars: speed, per-label quality, languages.

No message text is written unless asked for: ids, labels, languages and numbers only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from tocsin.escaping import figure_text, terminal_text

if TYPE_CHECKING:
    from tocsin.scores.metrics import Metrics
    from tocsin.scores.table import ScoresTable

__all__ = ["TensorBoardCurves", "language_figure"]

_PER_LABEL = ("roc_auc", "average_precision", "f1")
_LAYOUT = {
    "1 quality": {
        "macro": [
            "Multiline",
            ["validation/macro_roc_auc", "validation/macro_average_precision", "validation/macro_f1"],
        ],
        "micro": [
            "Multiline",
            ["validation/micro_roc_auc", "validation/micro_average_precision", "validation/micro_f1"],
        ],
        "ROC-AUC of each label": ["Multiline", ["validation_labels/roc_auc/.*"]],
        "average precision of each label": ["Multiline", ["validation_labels/average_precision/.*"]],
    },
    "2 optimisation": {
        "loss": ["Multiline", ["train/loss", "validation/loss"]],
        "learning rate": ["Multiline", ["train/learning_rate"]],
        "gradient norm": ["Multiline", ["train/gradient_norm"]],
    },
    "3 speed": {
        "messages/s": ["Multiline", ["speed/messages_per_second"]],
        "tokens/s": ["Multiline", ["speed/tokens_per_second"]],
        "padding share": ["Multiline", ["speed/padding_share"]],
    },
}
_PAIRS_LAYOUT = {
    "1 quality": {
        "matching accuracy": ["Multiline", ["validation/matching"]],
        "matching accuracy of each language": ["Multiline", ["validation/matching/.*"]],
        "squared error to the teacher": ["Multiline", ["validation/mse"]],
    },
    "2 optimisation": {
        "loss": ["Multiline", ["train/loss"]],
        "terms of the loss": ["Multiline", ["train/loss/.*"]],
        "learning rate": ["Multiline", ["train/learning_rate"]],
        "gradient norm": ["Multiline", ["train/gradient_norm"]],
    },
    "3 speed": {
        "pairs/s": ["Multiline", ["speed/pairs_per_second"]],
        "tokens/s": ["Multiline", ["speed/tokens_per_second"]],
        "padding share": ["Multiline", ["speed/padding_share"]],
    },
}


def _counts(module: pl.LightningModule) -> str:
    """What a module's steps are counted in: "messages" of a classifier, "pairs" of a distiller."""
    return str(getattr(module, "counts", "messages"))


class TensorBoardCurves(Callback):
    """Writes speed, per-label metrics, precision–recall curves and a per-language chart to TensorBoard.

    Speed, every `log_every_n_steps` steps: `speed/messages_per_second` (pairs of a distiller),
    `speed/tokens_per_second` (real tokens), `speed/padding_share` (padded tokens over real tokens, less 1) and
    `speed/passes_per_step`. After each validation of a classifier: `validation_labels/<metric>/<label>`, `pr/<label>`
    and the image `validation/languages`, which needs matplotlib. Unknown targets are left out everywhere. At the end of
    a fit: its short settings with the final metric (HParams), and the vectors of a sample of validation messages
    (Projector), with their ids, languages and labels. Without a TensorBoard logger it does nothing.

    Args:
        curves: Most labels that get a precision–recall curve; those with the most positive messages come
            first.
        languages: Most languages in the chart; the largest are shown.
        projector: Most validation messages whose vectors are written; 0 for none.
        projector_text: Write the texts of those messages too. They can then be read by whoever gets the run's folder.
    """

    def __init__(
        self, curves: int = 40, languages: int = 20, projector: int = 500, projector_text: bool = False
    ) -> None:
        self.curves = curves
        self.languages = languages
        self.projector = projector
        self.projector_text = projector_text
        self._window = _Window()
        self._broken = False
        self._resumed = False
        self._told_about_matplotlib = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Group the key charts on TensorBoard's page of custom scalars."""
        if self._resumed:
            return
        layout = _LAYOUT if _counts(pl_module) == "messages" else _PAIRS_LAYOUT
        self._write(trainer, lambda writer, step: writer.add_custom_scalars(layout))

    def state_dict(self) -> dict[str, Any]:
        """What was counted since the speed was last written."""
        return self._window.counts()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from there; the layout stands in the curves already."""
        vars(self._window).update(state_dict)
        self._resumed = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock until the first pass is there."""
        self._window.pause()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._window.pause()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock after a pause."""
        self._window.resume()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; write the speed every `log_every_n_steps`."""
        self._window.add(getattr(pl_module, "last_step", None))
        every = getattr(trainer, "log_every_n_steps", 0)
        if every and trainer.global_step % every == 0:
            self._write_speed(trainer, _counts(pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the speed of the steps since the last time: short epochs have a speed too."""
        self._write_speed(
            trainer, _counts(pl_module)
        )  # epochs shorter than log_every_n_steps have a speed too

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write per-label figures, curves and the chart of languages."""
        if trainer.sanity_checking or not trainer.is_global_zero or not any(_writers(trainer)):
            return
        tables = getattr(pl_module, "scores", None)
        table = tables.get("validation") if isinstance(tables, Mapping) else None
        if table is None or table.targets_NL is None:
            return
        from tocsin.scores.metrics import evaluate

        metrics = evaluate(table)
        self._write(trainer, lambda writer, step: _write_labels(writer, step, metrics))
        self._write(trainer, lambda writer, step: _write_curves(writer, step, table, self.curves))
        image = self._language_image(table)
        if image is not None:
            self._write(
                trainer,
                lambda writer, step: writer.add_image("validation/languages", image, step, dataformats="HWC"),
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the settings with the final metric, and vectors of validation messages under the weights at the end."""
        # A run of one or two steps to try things has nothing to compare.
        if not trainer.is_global_zero or trainer.interrupted or getattr(trainer, "fast_dev_run", False):
            return
        if not any(_writers(trainer)):
            return
        from tocsin.batches.protocols import ServesMessages
        from tocsin.models.classifier import MultilabelClassifier
        from tocsin.training import review

        settings, metric = review.short_settings(trainer, pl_module), review.final_metric(trainer)
        self._write(trainer, lambda writer, step: review.write_settings(writer, step, settings, metric))
        data = getattr(trainer, "datamodule", None)
        if isinstance(pl_module, MultilabelClassifier) and isinstance(data, ServesMessages):
            sample = review.validation_sample(pl_module, data, self.projector, text=self.projector_text)
            if sample is not None:
                self._write(trainer, lambda writer, step: review.write_sample(writer, step, sample))

    def _write_speed(self, trainer: pl.Trainer, counted: str) -> None:
        counts = self._window.take()
        if counts is None:
            return
        messages, tokens, padded, passes, steps, seconds = counts
        if (
            trainer.world_size > 1
        ):  # every rank counts its own messages; the slowest rank's time is everybody's
            import torch

            own = torch.tensor(
                [messages, tokens, padded, passes], dtype=torch.float64, device=trainer.strategy.root_device
            )
            total: Any = trainer.strategy.reduce(own, reduce_op="sum")
            messages, tokens, padded, passes = total.tolist()
        scalars = {
            f"speed/{counted}_per_second": messages / seconds,
            "speed/tokens_per_second": tokens / seconds,
            "speed/padding_share": padded / max(tokens, 1) - 1,
            "speed/passes_per_step": passes / steps,
        }

        def write(writer: Any, step: int) -> None:
            for tag, value in scalars.items():
                writer.add_scalar(tag, value, step)

        self._write(trainer, write)

    def _write(self, trainer: pl.Trainer, write: Any) -> None:
        """Let `write(writer, step)` fill each TensorBoard file; an unwritable folder costs a warning."""
        if self._broken or not trainer.is_global_zero:
            return
        # Lightning's own scalars count steps from 0
        step = max(trainer.global_step - 1, 0)
        try:
            for writer in _writers(trainer):
                write(writer, step)
        except OSError as error:
            self._broken = True
            rank_zero_warn(f"TensorBoard's curves stop: {error}. The fit goes on without them.")

    def _language_image(self, table: ScoresTable) -> np.ndarray | None:
        from tocsin.scores.metrics import evaluate_by

        langs, counts = np.unique([lang for lang in table.column("lang") if lang], return_counts=True)
        if not len(langs):
            return None
        largest = set(langs[np.argsort(-counts, kind="stable")[: self.languages]].tolist())
        rows = np.array([lang in largest for lang in table.column("lang")])
        try:
            return language_figure(evaluate_by(table.select(rows), "lang"))
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            if not self._told_about_matplotlib:
                self._told_about_matplotlib = True
                rank_zero_info(
                    "No chart of languages in TensorBoard: pip install 'tocsin[figures]' adds matplotlib."
                )
            return None


class _Window:
    """What happened since speed was last written: counts and seconds of training, validation left out."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._clear()

    def _clear(self) -> None:
        self.messages = self.tokens = self.padded = self.passes = self.steps = 0
        self.seconds = 0.0

    def counts(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_since"}

    def pause(self) -> None:
        self._since = None

    def resume(self) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def add(self, facts: Any) -> None:
        """Count one step: messages, tokens (real), padded_tokens (real and padding) and passes."""
        now = time.perf_counter()
        if facts is not None and self._since is not None:
            self.messages += int(facts.messages)
            self.tokens += int(facts.tokens)
            self.padded += int(facts.padded_tokens)
            self.passes += int(facts.passes)
            self.steps += 1
            # from the end of the step before, so that waiting for data counts
            self.seconds += now - self._since
        self._since = now

    def take(self) -> tuple[float, float, float, float, int, float] | None:
        """Return (messages, tokens, padded tokens, passes, steps, seconds), None for no steps; begin anew."""
        counts = (self.messages, self.tokens, self.padded, self.passes, self.steps, self.seconds)
        self._clear()
        return counts if counts[4] and counts[5] > 0 else None


def _writers(trainer: pl.Trainer) -> Iterator[Any]:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            yield logger.experiment


def _write_labels(writer: Any, step: int, metrics: Metrics) -> None:
    for name in _PER_LABEL:
        for label, value in zip(metrics.labels, metrics.per_label[name], strict=True):
            if np.isfinite(value):  # undefined: no positive or no negative message
                writer.add_scalar(f"validation_labels/{name}/{terminal_text(label)}", float(value), step)


def _write_curves(writer: Any, step: int, table: ScoresTable, most: int) -> None:
    targets_NL = table.known_targets("a precision–recall curve")
    probabilities_NL = table.probabilities
    positives_L = np.nansum(targets_NL, axis=0)
    for label in np.argsort(-positives_L, kind="stable")[:most]:
        if positives_L[label] == 0:
            break
        if not (targets_NL[:, label] == 0).any():  # its curve would be a constant's
            continue
        known_N = ~np.isnan(targets_NL[:, label])
        writer.add_pr_curve(
            f"pr/{terminal_text(table.labels[label])}",
            targets_NL[known_N, label].astype(np.int64),
            probabilities_NL[known_N, label],
            step,
        )


def language_figure(by_language: Mapping[Any, Metrics]) -> np.ndarray | None:
    """Draw macro ROC-AUC and macro AP of each language as horizontal bars, the largest language on top.

    Returns:
        The picture, (height, width, 3) uint8; None when no language has a defined score.

    Raises:
        ModuleNotFoundError: matplotlib is not installed (the extra `figures`).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(lang, found) for lang, found in by_language.items() if np.isfinite(found.macro["roc_auc"])]
    if not shown:
        return None
    shown.sort(key=lambda pair: pair[1].n)
    places = np.arange(len(shown))
    figure = Figure(figsize=(7.0, 1.4 + 0.42 * len(shown)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for offset, metric, name, grey, hatch in (
        (0.2, "roc_auc", "macro ROC-AUC", "0.25", ""),
        (-0.2, "average_precision", "macro AP", "0.75", "//"),
    ):
        values = [np.nan_to_num(found.macro[metric]) for _, found in shown]
        bars = axes.barh(
            places + offset, values, height=0.38, color=grey, edgecolor="black", hatch=hatch, label=name
        )
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set_yticks(
        places,
        [
            f"{figure_text(lang)}  (n={found.n:,}, {found.defined['roc_auc']} of {len(found.labels)} labels)"
            for lang, found in shown
        ],
    )
    axes.set_xlim(0, 1.1)
    axes.set_xlabel(
        "AP depends on how frequent a label is: compare a language with itself over epochs", fontsize=8
    )
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
