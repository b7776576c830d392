"""Keeps Lightning's remarks that mean nothing here out of a run's output. Each exemption says why."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_noise"]

_REMARKS = [
    # The run's folder holds its lock before the loggers write: it is never empty, and always this run's own.
    "Experiment logs directory .* exists and is not empty",
    # A continued run goes on beside its earlier checkpoints.
    "Checkpoint directory .* exists and is not empty",
    # transformers loads encoders in eval mode and the classifier switches what it trains itself.
    "Found .* module.* in eval mode at the start of training",
    # Curves are written by our callback, which has its own interval.
    "The number of training batches .* is smaller than the logging interval",
    # A test run has no checkpoint callback on purpose.
    "Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided",
    # Lightning's table of layers estimates their size for 32 bits alone.
    "Precision .* is not supported by the model summary",
    # torch 2.13 deprecates what Lightning 2.6 calls.
    "`isinstance.treespec, LeafSpec.` is deprecated",
    # Our samplers share the messages between devices; workers would copy the memory-mapped token cache's pages.
    "The '.*_dataloader' does not have many workers",
]


@contextmanager
def without_noise() -> Iterator[None]:
    """Drop the remarks above, and Lightning's tips for products, while the block runs."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with warnings.catch_warnings():
        for remark in _REMARKS:
            warnings.filterwarnings("ignore", message=f".*{remark}")
        logger.addFilter(_no_tips)
        shown, threading.excepthook = threading.excepthook, _no_full_disks
        try:
            yield
        finally:
            threading.excepthook = shown
            logger.removeFilter(_no_tips)


def _no_full_disks(failed: threading.ExceptHookArgs) -> None:
    # TensorBoard writes in a thread of its own, whose errors its logger hears of and says in a line.
    if not (isinstance(failed.exc_value, OSError) and "tensorboard" in type(failed.thread).__module__):
        threading.__excepthook__(failed)


def _no_tips(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("💡 Tip")
