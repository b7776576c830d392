"""When a fit is saved: after each validation, every few minutes and at its end."""

import time
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from tocsin.batches.position import total_steps
from tocsin.errors import CheckpointError, ConfigError
from tocsin.training.checkpoint_files import RUN_KEY, AtomicCheckpointIO, CheckpointWarning, manifest_path
from tocsin.training.checkpoint_format import read_footer
from tocsin.training.random_states import random_states
from tocsin.training.resume import Resumed, add_run_state

__all__ = ["AtomicCheckpointIO", "BestCheckpoint", "manifest_path"]


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt` (best score of the validation set) and `last.ckpt` (newest; a fit resumes from it).

    Each is a file of its own, and each name is overwritten; what `last.ckpt` replaces is kept as `last-previous.ckpt`.
    `last.ckpt` is written after every validation, every few minutes and at the end of a fit, whether or not the score
    rose. Without validation data there is no `best.ckpt`, and each epoch's end is saved. A save happens before an
    optimiser step, never within one, so that a resumed fit equals one that was never stopped.

    Args:
        monitor: Logged metric that decides; null: the model's own, validation/macro_roc_auc of a classifier and
            validation/matching of a distiller.
        mode: "max" when higher is better, "min" when lower is.
        dirpath: Folder of the checkpoints; null: `checkpoints` in the folder of the first logger.
        verbose: Say each time when the best changes.
        every_minutes: Longest time in minutes without a checkpoint; null: after validations and at the end alone.
        keep_previous: Keep the newest checkpoint but one as well: one that is damaged on the disk then costs minutes
            instead of all since the best. It needs the room of one checkpoint more.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["max", "min"] = "max",
        dirpath: str | None = None,
        verbose: bool = False,
        every_minutes: float | None = 10.0,
        keep_previous: bool = True,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            verbose=verbose,
            save_last=True,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,  # otherwise a second best is best-v1.ckpt
        )
        if every_minutes is not None and not every_minutes > 0:
            raise ConfigError(
                f"every_minutes is {every_minutes}; wanted minutes above 0, such as 10, or null for none."
            )
        self.every_minutes = every_minutes
        self.keep_previous = keep_previous
        self._saves = 0
        self._saved_at = -1  # batches that were done at the last save
        self._saved_time = time.monotonic()
        self._ask_at = 0
        self._candidates: dict[str, Tensor] | None = None  # of a validation that is not saved yet
        self._resumed: Resumed | None = None
        self._inside_epoch = False  # at the first step after a resume
        self._validation_states: dict[str, Any] | None = None

    # Moments ---------------------------------------------------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the model's own metric where none is given."""
        if self.monitor is None:
            self.monitor = str(getattr(pl_module, "monitored", "validation/macro_roc_auc"))
        super().setup(trainer, pl_module, stage)
        files = trainer.strategy.checkpoint_io
        if self.keep_previous and isinstance(files, AtomicCheckpointIO):
            files.kept[Path(self._path("last"))] = Path(self._path("last-previous"))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give back the metrics that the checkpoint had, where the fit goes on from one."""
        if self._resumed is not None:
            self._resumed.restore_logged(trainer)
            self._renew_last(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so when there will be no best checkpoint."""
        self._saved_time = time.monotonic()
        if not _validates(trainer):
            rank_zero_info("No validation data: there is no best checkpoint, only last.ckpt is kept.")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Go on from a checkpoint, or save where a save is due: all that came before this step is done."""
        if self._resumed is not None:
            self._go_on(trainer, pl_module)
            self._inside_epoch = batch_idx > 0
        elif self._candidates is not None or self._is_time(trainer):
            self.save_now(trainer)
        if self._inside_epoch and batch_idx > 0:
            # Lightning takes the first step of a process for the first of an epoch, and would drop what was logged.
            trainer._logger_connector._first_loop_iter = False
        self._inside_epoch = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save nothing: Lightning's own saves of this hook would fall between a step and its row in the curves."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on from a checkpoint that was saved during a validation, or note what it begins with."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if self._resumed is not None:
            self._go_on(trainer, pl_module)
            self._inside_epoch = True
        self._validation_states = random_states()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let a validation in the middle of an epoch be saved before the next step."""
        self._validation_states = None
        if self._fits(trainer) and not self._should_save_on_train_epoch_end(trainer):
            self._candidates = self._monitor_candidates(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the validation that closes an epoch be saved before the next step."""
        if self._fits(trainer) and self._should_save_on_train_epoch_end(trainer):
            self._candidates = self._monitor_candidates(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end of the fit."""
        self.save_now(trainer)

    # Saving ----------------------------------------------------------------------------------------------------------

    def save_now(self, trainer: pl.Trainer) -> None:
        """Write last.ckpt now, and best.ckpt where a validation earned it; on all ranks.

        Call it in `on_train_batch_start` (the state is that before the step), in `on_validation_batch_start` or
        `on_validation_batch_end` of a fit (that before the validation, which a resumed fit repeats) or in
        `on_train_end`. Where nothing has changed since the last save, nothing is written.

        Raises:
            CheckpointError: The disk is full or read-only; the checkpoint of before is kept.
        """
        done = total_steps(trainer)
        if not self._fits(trainer) or self._resumed is not None:
            return
        if self._candidates is None and done == self._saved_at:
            return
        candidates = self._candidates
        self._saves += 1
        self.last_model_path = self._path("last")  # part of the state that is saved with the best
        best = candidates is not None and _validates(trainer) and self._save_best(trainer, candidates)
        files = trainer.strategy.checkpoint_io
        if best and isinstance(files, AtomicCheckpointIO):
            if trainer.is_global_zero:
                files.duplicate(self.best_model_path, self.last_model_path)
            trainer.strategy.barrier("BestCheckpoint.last")
        else:
            self._save_checkpoint(trainer, self.last_model_path)
        self._candidates = None
        self._saved_at, self._saved_time = done, time.monotonic()

    def _save_best(self, trainer: pl.Trainer, candidates: dict[str, Tensor]) -> bool:
        """Save the best where this is it, then let the callbacks know that ask for it; whether it was."""
        self._last_checkpoint_saved = ""
        before = {name: getattr(self, name) for name in _BEST}
        before["best_k_models"] = dict(self.best_k_models)
        try:
            self._save_topk_checkpoint(trainer, candidates)
        except CheckpointError:
            vars(self).update(before)  # the file that stands is that of the best before
            raise
        best = self._last_checkpoint_saved != ""
        where = getattr(trainer.strategy.checkpoint_io, "where", Path)
        file = where(Path(self.best_model_path))  # a full disk may have sent it elsewhere, or nowhere
        if best and file is not None:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                told = getattr(callback, "on_best_saved", None)
                if told is not None:
                    told(trainer, file)
        return best

    def _fits(self, trainer: pl.Trainer) -> bool:
        return (
            trainer.state.fn == "fit"
            and not getattr(trainer, "fast_dev_run", False)
            and not trainer.sanity_checking
        )

    def _is_time(self, trainer: pl.Trainer) -> bool:
        """Whether a save by the clock is due, the same on all ranks."""
        if self.every_minutes is None or not self._fits(trainer):
            return False
        longest, waited = 60 * self.every_minutes, time.monotonic() - self._saved_time
        if trainer.world_size == 1:
            return waited >= longest
        # Rank 0 decides. Asking it at each step would cost more than a small step: it also says when to ask again,
        # a twentieth of the interval later by its pace so far.
        done = total_steps(trainer)
        if done < self._ask_at:
            return False
        pace = max(0, done - max(self._saved_at, 0)) / max(waited, 1e-3)
        after = max(1, int(pace * min(longest / 20, max(0.0, longest - waited))))
        due, self._ask_at = trainer.strategy.broadcast((waited >= longest, done + after))
        return bool(due)

    def _path(self, name: str) -> str:
        return self.format_checkpoint_name({}, name)

    # Going on --------------------------------------------------------------------------------------------------------

    def _go_on(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._resumed is not None
        self._resumed.restore_step(trainer, pl_module)
        self._resumed = None
        self._saved_at = total_steps(trainer)
        self._saved_time = time.monotonic()

    def _renew_last(self, trainer: pl.Trainer) -> None:
        """After a kill between best.ckpt and last.ckpt, let the last be the newest: no step may be left to save."""
        files, taken, last = trainer.strategy.checkpoint_io, trainer.ckpt_path, Path(self._path("last"))
        if not trainer.is_global_zero or not isinstance(files, AtomicCheckpointIO) or not taken:
            return
        if Path(taken).absolute().parent != last.absolute().parent or Path(taken).name == last.name:
            return
        try:
            footer = read_footer(last)
        except (OSError, CheckpointError):
            footer = None
        if footer is None or footer.save < self._saves:
            files.duplicate(taken, last)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a fit goes on from to every checkpoint, whoever saves it."""
        add_run_state(
            checkpoint, trainer, pl_module, save=self._saves, before_validation=self._validation_states
        )

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take what the fit goes on from; the curves are cut there at once."""
        if trainer.state.fn != "fit":
            return
        state = checkpoint.get(RUN_KEY)
        if state is None:
            rank_zero_warn(
                "The checkpoint holds no random states and no position in the curves (another program or an earlier "
                "version wrote it): the fit goes on, but differs from one that was never stopped.",
                category=CheckpointWarning,
            )
            return
        self._resumed = Resumed(state)
        self._saves = self._resumed.save
        self._resumed.restore_curves(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far; files are known by name, so that a run's folder can be moved."""
        return {
            "monitor": self.monitor,
            "best_model_score": self.best_model_score,
            "current_score": self.current_score,
            "save": self._saves,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best score so far, where best.ckpt is the one that earned it."""
        score, path = state_dict.get("best_model_score"), Path(self._path("best"))
        if score is None:
            return
        try:
            footer = read_footer(path)
            fault = "is missing its digest" if footer is None and "save" in state_dict else ""
            if footer is not None and footer.save > state_dict.get("save", footer.save):
                fault = "was saved after the checkpoint from which the fit goes on"
        except (OSError, CheckpointError) as error:
            fault = f"cannot be read ({error})"
        if fault:
            rank_zero_warn(
                f"{path} {fault}: the next validation makes a new best checkpoint.",
                category=CheckpointWarning,
            )
            return
        self.best_model_score = self.kth_value = score
        self.current_score = state_dict.get("current_score")
        self.best_model_path = self.kth_best_model_path = str(path)
        self.best_k_models = {str(path): score}


_BEST = (
    "best_model_score",
    "best_model_path",
    "current_score",
    "kth_value",
    "kth_best_model_path",
    "best_k_models",
)


def _validates(trainer: pl.Trainer) -> bool:
    batches = trainer.num_val_batches
    return (sum(batches) if isinstance(batches, list) else batches) > 0
