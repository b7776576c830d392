"""What a YAML file may name beside components: classes of Lightning, of torch and of our training room.

Each class is named alone, never its module: a module's entry would also admit its submodules, its helpers and
whatever it imported. Left out are classes that want a function (LambdaCallback, ModelPruning, BackboneFinetuning,
ThroughputMonitor, GradientAccumulationScheduler and the finders, which also work only under automatic
optimisation), so that no text of a config becomes a call.
"""

import inspect
import sys
from collections.abc import Iterable
from importlib import import_module

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["KINDS", "allowed_paths", "known_as", "offered"]

KINDS: dict[str, type] = {
    "callback": Callback,
    "logger": Logger,
    "profiler": Profiler,
    "strategy": Strategy,
}
"""What the Trainer takes as objects, and the base class of each."""

_NAMES = {
    "callback": (
        "lightning.pytorch.callbacks.DeviceStatsMonitor",
        "lightning.pytorch.callbacks.EMAWeightAveraging",
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.callbacks.LearningRateMonitor",
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "lightning.pytorch.callbacks.ModelSummary",
        "lightning.pytorch.callbacks.OnExceptionCheckpoint",
        "lightning.pytorch.callbacks.RichModelSummary",
        "lightning.pytorch.callbacks.RichProgressBar",
        "lightning.pytorch.callbacks.TQDMProgressBar",
        "lightning.pytorch.callbacks.Timer",
        "tocsin.training.checkpoints.BestCheckpoint",
        "tocsin.training.curves.TensorBoardCurves",
        "tocsin.training.progress.FitProgressBar",
    ),
    "logger": (
        "lightning.pytorch.loggers.CSVLogger",
        "lightning.pytorch.loggers.CometLogger",
        "lightning.pytorch.loggers.MLFlowLogger",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "lightning.pytorch.loggers.WandbLogger",
    ),
    "profiler": (
        "lightning.pytorch.profilers.AdvancedProfiler",
        "lightning.pytorch.profilers.PyTorchProfiler",
        "lightning.pytorch.profilers.SimpleProfiler",
    ),
    "strategy": (
        "lightning.pytorch.strategies.DDPStrategy",
        "lightning.pytorch.strategies.DeepSpeedStrategy",
        "lightning.pytorch.strategies.FSDPStrategy",
        "lightning.pytorch.strategies.ModelParallelStrategy",
        "lightning.pytorch.strategies.SingleDeviceStrategy",
    ),
}

# Settings that a component takes as one group of values.
_SETTINGS = ("tocsin.models.adapters.Lora",)


def offered(kind: str) -> dict[str, type]:
    """Return the classes of one of `KINDS` that may be named, by short name."""
    return {path.rsplit(".", 1)[1]: _class(path) for path in _NAMES[kind]}


def allowed_paths(components: Iterable[type] = ()) -> list[str]:
    """Return every dotted path by which a component, or a class that may stand beside them, is known."""
    paths = [*(path for kind in KINDS for path in _NAMES[kind]), *_SETTINGS]
    classes = [_class(path) for path in paths]
    for module, base in ((torch.optim, torch.optim.Optimizer), (torch.optim.lr_scheduler, LRScheduler)):
        for name, found in vars(module).items():
            if inspect.isclass(found) and issubclass(found, base) and not name.startswith("_"):
                paths.append(f"{module.__name__}.{name}")
                classes.append(found)
    return [*paths, *(path for found in (*classes, *components) for path in known_as(found))]


def known_as(found: type) -> list[str]:
    """Return where a class is defined, and the packages above it that offer it too: by these the parser calls it."""
    name = found.__qualname__
    if not name.replace(".", "").isidentifier():  # defined inside a function: no path leads there
        return []
    parts = found.__module__.split(".")
    above = [".".join(parts[:length]) for length in range(1, len(parts))]
    # Only packages that are imported already: importing a class's module has imported those above it.
    offering = [package for package in above if getattr(sys.modules.get(package), name, None) is found]
    return [f"{package}.{name}" for package in (*offering, found.__module__)]


def _class(path: str) -> type:
    module, name = path.rsplit(".", 1)
    found: type = getattr(import_module(module), name)
    return found
