"""Where a fit stands: the epoch and the steps done in it, from the Trainer's own counters."""

from typing import Any

__all__ = ["next_step", "steps_done", "total_steps"]


def steps_done(trainer: Any) -> tuple[int, int]:
    """The epoch that is under way, from 0, and the steps done in it; after its last step, that epoch still."""
    epochs = trainer.fit_loop.epoch_progress.current
    steps = trainer.fit_loop.epoch_loop.batch_progress.current.processed
    over = epochs.started <= epochs.processed
    return (max(0, epochs.processed - 1) if over else epochs.processed), steps


def total_steps(trainer: Any) -> int:
    """Steps done in all epochs, those whose loss was not finite included."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)


def next_step(trainer: Any) -> tuple[int, int]:
    """The epoch and number, both from 0, of the step that a fit takes next.

    Counted from the steps that were trained, not from the loader, which may have fetched ahead.
    """
    epoch, steps = steps_done(trainer)
    return (epoch + 1, 0) if steps >= trainer.num_training_batches > 0 else (epoch, steps)
