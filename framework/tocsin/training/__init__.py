"""What surrounds a fit: the Trainer, checkpoint files, run folders, curves and progress.

Names are imported on first use, so that a verb which only needs a run folder does not wait for lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tocsin.training.checkpoints import AtomicCheckpointIO, BestCheckpoint
    from tocsin.training.curves import TensorBoardCurves
    from tocsin.training.loggers import RunCsvLogger, RunTensorBoardLogger
    from tocsin.training.precision import resolve_precision
    from tocsin.training.progress import FitProgressBar
    from tocsin.training.recorder import RunRecorder
    from tocsin.training.runs import Run, open_run, start_run
    from tocsin.training.trainer import Trainer

__all__ = [
    "AtomicCheckpointIO",
    "BestCheckpoint",
    "FitProgressBar",
    "Run",
    "RunCsvLogger",
    "RunRecorder",
    "RunTensorBoardLogger",
    "TensorBoardCurves",
    "Trainer",
    "open_run",
    "resolve_precision",
    "start_run",
]

_MODULES = {
    "AtomicCheckpointIO": "checkpoints",
    "BestCheckpoint": "checkpoints",
    "FitProgressBar": "progress",
    "Run": "runs",
    "RunCsvLogger": "loggers",
    "RunRecorder": "recorder",
    "RunTensorBoardLogger": "loggers",
    "TensorBoardCurves": "curves",
    "Trainer": "trainer",
    "open_run": "runs",
    "resolve_precision": "precision",
    "start_run": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
