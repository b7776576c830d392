"""Where a fit stands: the epoch and the steps done in it, from the Trainer's own counters."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from tocsin.errors import ConfigError

__all__ = [
    "ResumeWarning",
    "check_data",
    "next_step",
    "steps_done",
    "total_steps",
]


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


class ResumeWarning(UserWarning):
    """A resumed fit goes on with other data or settings than those it began with."""


_WORDS = {"data": "the training data", "corpus": "the pairs, or how they are drawn"}


def check_data(position: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the data that a position was saved over with those of this fit; what the position lacks is skipped.

    Args:
        position: As a DataModule saved it; `step` above 0 lies inside an epoch.
        now: This fit's `max_length`, `batch_size`, `seed`, digests of the data and so on.

    Raises:
        ConfigError: Inside an epoch, messages or their tokens are others: what it goes on with would be another epoch.
    """
    lines = []
    for name, value in now.items():
        if name not in position or position[name] == value:
            continue
        if name == "seed":
            lines.append(
                f"the seed was {position[name]} and is {value}: the order of the data goes on with the first"
            )
        elif name in _WORDS:
            lines.append(f"{_WORDS[name]}: not those of before")
        else:
            lines.append(f"{name}: {position[name]} then, {value} now")
    refused = [line for line in lines if not line.startswith("the seed")]
    if refused and position["step"] > 0:
        raise ConfigError(
            "The position lies inside an epoch, which would not be the one that was begun. Changed: "
            f"{'; '.join(refused)}. Resume with what it began with, or from an epoch's end."
        )
    if lines:
        rank_zero_warn(f"Changed since the checkpoint: {'; '.join(lines)}.", category=ResumeWarning)
