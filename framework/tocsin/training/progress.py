"""Progress of a fit: bars in a terminal, plain lines with rate and time left in logs."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console

__all__ = ["FitProgressBar"]

_HEADLINES = ("loss", "macro_roc_auc", "macro_average_precision", "macro_f1", "matching", "mse")


class FitProgressBar(RichProgressBar):
    """Shows steps done, rate, time left and loss.

    In a terminal these are bars. Elsewhere (a log file, a CI job) it prints one plain line at each tenth of
    the fit and at least every `every_seconds`, and one line of figures after each validation.

    Args:
        refresh_rate: How often a terminal's bars are drawn, times a second.
        every_seconds: Longest silence in a log, in seconds.
    """

    def __init__(self, refresh_rate: int = 4, every_seconds: float = 30.0) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=False)
        self.every_seconds = every_seconds
        self._live = True
        self._stepped = False
        self._clock = _Clock(every_seconds)

    @property
    def is_enabled(self) -> bool:
        """Whether bars are drawn (RichProgressBar asks this before it draws)."""
        return super().is_enabled and self._live

    @property
    def _prints_lines(self) -> bool:
        return self._enabled and not self._live

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose bars or lines."""
        self._live = sys.stdout.isatty() or get_console().is_jupyter
        super().setup(trainer, pl_module, stage)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return what stands right of the bar: the module's own choice and the loss of the last step."""
        shown: dict[str, Any] = dict(super().get_metrics(trainer, pl_module))
        shown.pop("v_num", None)
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None and not any("loss" in name for name in shown):
            shown["loss"] = float(loss)
        return shown

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; a resumed fit counts from its own first step."""
        super().on_train_start(trainer, pl_module)
        self._clock = _Clock(self.every_seconds, done=trainer.global_step, total=_total_steps(trainer))
        self._stepped = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock again at the first step: a probe or a teacher's vectors before it say nothing of the rate."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if not self._stepped:
            self._stepped = True
            self._clock.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar, or print a line when one is due."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if not self._prints_lines:
            return
        messages = int(getattr(getattr(pl_module, "last_step", None), "messages", 0))
        self._clock.messages += messages * trainer.world_size  # every rank counts its own, equal share
        self._clock.counts = str(getattr(pl_module, "counts", "messages"))
        if self._clock.due(trainer.global_step):
            facts = [f"epoch {trainer.current_epoch + 1}", *self._clock.rate(trainer.global_step)]
            loss = trainer.callback_metrics.get("train/loss")
            if loss is not None:
                facts.insert(1, f"loss {float(loss):.4f}")
            _say(f"fit: {self._clock.steps(trainer.global_step)}, {', '.join(facts)}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        super().on_validation_start(trainer, pl_module)
        self._begin(trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        super().on_test_start(trainer, pl_module)
        self._begin(trainer.num_test_batches)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance the bar, or print a line after a long silence."""
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self._evaluated("validation", batch_idx)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance the bar, or print a line after a long silence."""
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self._evaluated("test", batch_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the figures."""
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            self._conclude(trainer, "validation")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the figures."""
        super().on_test_end(trainer, pl_module)
        self._conclude(trainer, "test")

    def _begin(self, batches: list[int | float] | int | float) -> None:
        total = sum(batches) if isinstance(batches, list) else batches
        self._evaluation = _Clock(self.every_seconds, total=int(total) if total != float("inf") else None)

    def _evaluated(self, stage: str, batch_idx: int) -> None:
        # evaluations are short and end with a line of their own: only long ones speak in between
        if self._prints_lines and self._evaluation.silent_too_long():
            facts = [self._evaluation.steps(batch_idx + 1, "pass"), *self._evaluation.rate(batch_idx + 1)]
            _say(f"{stage}: {', '.join(facts)}")

    def _conclude(self, trainer: pl.Trainer, stage: str) -> None:
        if not self._prints_lines:
            return
        found = {name: trainer.callback_metrics.get(f"{stage}/{name}") for name in _HEADLINES}
        figures = [f"{name} {float(value):.4f}" for name, value in found.items() if value is not None]
        epoch = [f"epoch {trainer.current_epoch + 1}"] if trainer.state.fn == "fit" else []
        _say(f"{stage}: {', '.join([*epoch, *figures, f'{self._evaluation.elapsed():.1f} s'])}")


class _Clock:
    """Decides when a line is due and words rate and time left."""

    def __init__(self, every_seconds: float, done: int = 0, total: int | None = None) -> None:
        self.every_seconds = every_seconds
        self.first = done  # a resumed fit did not take these steps itself
        self.total = total
        self.messages = 0
        self.counts = "messages"
        self.tenth = self._tenth(done)
        self.start()

    def start(self) -> None:
        self.started = self.spoken = time.monotonic()

    def _tenth(self, done: int) -> int:
        return 10 * done // self.total if self.total else 0

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def silent_too_long(self) -> bool:
        now = time.monotonic()
        if now - self.spoken < self.every_seconds:
            return False
        self.spoken = now
        return True

    def due(self, done: int) -> bool:
        tenth = self._tenth(done)
        if tenth > self.tenth:
            self.tenth, self.spoken = tenth, time.monotonic()
            return True
        return self.silent_too_long()

    def steps(self, done: int, unit: str = "step") -> str:
        return f"{unit} {done:,}" + (f"/{self.total:,} ({100 * done // self.total}%)" if self.total else "")

    def rate(self, done: int) -> list[str]:
        seconds = max(self.elapsed(), 1e-9)
        per_second = (done - self.first) / seconds
        words = [f"{self.messages / seconds:,.1f} {self.counts}/s"] if self.messages else []
        if self.total and per_second > 0:
            words.append(f"{_duration((self.total - done) / per_second)} left")
        return words


def _total_steps(trainer: pl.Trainer) -> int | None:
    """Return the steps of the whole fit; None when nobody knows."""
    an_epoch, epochs = trainer.num_training_batches, trainer.max_epochs
    bounds = [trainer.max_steps] if trainer.max_steps >= 0 else []
    if epochs is not None and epochs >= 0 and an_epoch != float("inf"):
        bounds.append(int(an_epoch) * epochs)
    return min(bounds, default=None)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
