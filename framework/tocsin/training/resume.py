"""What a fit goes on from beside the state that Lightning keeps, so that it equals one that was never stopped.

Lightning's own resume restores no random state, runs `on_train_batch_end` and a validation again or not at all
according to the moment of the save, and counts the logged steps anew. A checkpoint of ours is written at one of two
moments, and its counters say which: before a step (all that came before is done), or before a validation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torchmetrics import Metric

from tocsin.batches.position import steps_done, total_steps
from tocsin.errors import CheckpointError
from tocsin.training.checkpoint_files import RUN_KEY, verify_checkpoint
from tocsin.training.checkpoint_format import read_footer
from tocsin.training.random_states import random_states, set_random_states

__all__ = ["Resumed", "add_run_state", "checkpoint_step", "newest_checkpoint"]

_FORMAT = 1


def add_run_state(
    checkpoint: dict[str, Any],
    trainer: pl.Trainer,
    module: pl.LightningModule,
    *,
    save: int,
    before_validation: dict[str, Any] | None,
) -> None:
    """Complete a checkpoint that Lightning made; on every rank.

    Args:
        checkpoint: As `dump_checkpoint` gives it.
        trainer: Of the fit.
        module: Its model.
        save: Number of the save in the run, from 1.
        before_validation: This rank's random states when the validation began that is under way, and is to be
            repeated; None before a step.
    """
    epoch, steps = steps_done(trainer)
    repeats = before_validation is not None
    own = {
        "random": before_validation or random_states(),
        "metrics": _metrics_of(module),
        "results": _results_of(trainer),
    }
    ranks: list[Any] = [own]
    if trainer.world_size > 1:
        ranks = [None] * trainer.world_size
        torch.distributed.all_gather_object(ranks, own)
    _settle_counters(checkpoint["loops"]["fit_loop"], trainer, epoch, steps, repeats)
    # The epoch of the last step, as Lightning's own savers have it, which save before that epoch is counted.
    checkpoint["epoch"] = epoch if steps else max(0, epoch - 1)
    # Lightning offers no way to read or set what callbacks and the bar last saw, nor the step that curves count.
    connector = trainer._logger_connector
    checkpoint[RUN_KEY] = {
        "format": _FORMAT,
        "save": save,
        "before_validation": repeats,
        "stepped": trainer.fit_loop.epoch_loop._batches_that_stepped,
        "should_stop": bool(trainer.should_stop),
        "limits": [trainer.max_epochs, trainer.max_steps],
        "logged": {
            "callback": _plain(trainer.callback_metrics),
            "logged": _plain(connector._logged_metrics),
            "progress_bar": _plain(connector._progress_bar_metrics),
        },
        "loggers": [
            [type(logger).__name__, logger.position() if trainer.is_global_zero else {}]
            for logger in trainer.loggers
            if hasattr(logger, "position")
        ],
        "ranks": ranks,
    }


def _settle_counters(
    loops: dict[str, Any], trainer: pl.Trainer, epoch: int, steps: int, repeats: bool
) -> None:
    """Let Lightning's counters say: `steps` steps of `epoch` are done, nothing else is under way."""
    total = total_steps(trainer)
    over = not repeats and steps >= trainer.num_training_batches
    begun, done = (epoch + 1, epoch + 1) if over else (epoch + 1, epoch)
    for part in ("total", "current"):
        loops["epoch_progress"][part] = {
            "ready": begun,
            "started": begun,
            "processed": done,
            "completed": done,
        }
    batches = loops["epoch_loop.batch_progress"]
    batches["total"] = dict.fromkeys(batches["total"], total)
    batches["current"] = dict.fromkeys(batches["current"], 0 if over else steps)
    batches["is_last_batch"] = repeats and steps >= trainer.num_training_batches
    validation = loops["epoch_loop.val_loop.batch_progress"]
    validation["current"] = dict.fromkeys(validation["current"], 0)
    # One batch begun and not done is what makes Lightning go back to a validation.
    validation["total"] = {"ready": int(repeats), "started": int(repeats), "processed": 0, "completed": 0}
    validation["is_last_batch"] = False


class Resumed:
    """A checkpoint's run state on its way back into a fit; each part at the moment at which it was taken.

    Args:
        state: What `add_run_state` put into the checkpoint.

    Raises:
        CheckpointError: A later version of Tocsin wrote it, or it is not what this one writes.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or not isinstance(state.get("format"), int):
            raise CheckpointError(f"The checkpoint's {RUN_KEY!r} is not what Tocsin writes.")
        if state["format"] > _FORMAT:
            raise CheckpointError(
                f"The checkpoint's run state has format {state['format']}; this version of Tocsin reads up to "
                f"{_FORMAT}. Go on with the version that wrote it, or a later one."
            )
        self.state = state
        self.save = int(state["save"])
        self.before_validation = bool(state["before_validation"])

    def restore_curves(self, trainer: pl.Trainer) -> None:
        """Cut the curves of this run's loggers at the checkpoint."""
        kept = dict(self.state["loggers"])
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if hasattr(logger, "go_on") and type(logger).__name__ in kept:
                    logger.go_on(kept[type(logger).__name__])

    def restore_logged(self, trainer: pl.Trainer) -> None:
        """Put back the metrics that callbacks look at, and whether the fit had stopped by its own rule."""
        # `callback_metrics` and the like give copies: these dicts are what a validation fills.
        connector, logged = trainer._logger_connector, self.state["logged"]
        device = trainer.strategy.root_device
        for into, values in (
            (connector._callback_metrics, logged["callback"]),
            (connector._logged_metrics, logged["logged"]),
            (connector._progress_bar_metrics, logged["progress_bar"]),
        ):
            into.update({k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()})
        # A fit that is given more epochs or steps than it had is meant to go on.
        if self.state["should_stop"] and self.state["limits"] == [trainer.max_epochs, trainer.max_steps]:
            trainer.should_stop = True

    def restore_step(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put back what a step or a validation depends on, just before the first of them."""
        ranks, world = self.state["ranks"], trainer.world_size
        own = ranks[trainer.global_rank % len(ranks)]
        missing = set_random_states(own["random"])
        if len(ranks) != world:
            _say_other_world(len(ranks), world)
            if trainer.global_rank >= len(ranks):
                # Two ranks with one state would drop the same numbers.
                torch.manual_seed(torch.initial_seed() + 7919 * trainer.global_rank)
        else:
            _restore_metrics(module, own["metrics"])
            _restore_results(trainer, own["results"])
        if missing:
            rank_zero_warn(f"Not restored: {', '.join(missing)}. Dropout goes on with other random numbers.")
        if not self.before_validation:
            # Lightning counts one more where a validation was due at the step of the checkpoint.
            trainer.fit_loop.epoch_loop._batches_that_stepped = int(self.state["stepped"])


def checkpoint_step(path: Path) -> int | None:
    """Optimiser steps of a checkpoint, without loading it; None where the file does not say."""
    try:
        found = read_footer(path)
    except (OSError, CheckpointError):
        return None
    return None if found is None else found.step


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest valid checkpoint of a run's folder of checkpoints; None where there is none at all.

    What is damaged is named, with what is taken in its place.

    Raises:
        CheckpointError: There are checkpoints, and none of them can be read.
    """
    found = list(folder.glob("*.ckpt")) if folder.is_dir() else []

    def age(path: Path) -> tuple[int, bool, bool]:
        try:
            footer = read_footer(path)
        except (OSError, CheckpointError):
            footer = None
        # One that lost its footer may have been the newest: it is tried, and named, first where it is called last.
        save = footer.save if footer else (1 << 62 if path.name == "last.ckpt" else -1)
        return save, path.name == "last.ckpt", path.name.startswith("last")

    faults = []
    for path in sorted(found, key=age, reverse=True):
        try:
            verify_checkpoint(path)
        except CheckpointError as error:
            faults.append(str(error))
            continue
        if faults:
            step = checkpoint_step(path)
            at = "" if step is None else f" (step {step:,})"
            rank_zero_warn(
                "\n".join([*faults, f"The run goes on from {path.name}{at}, the newest that is whole."])
            )
        return path
    if faults:
        raise CheckpointError("\n".join(["No checkpoint of this run can be read:", *faults]))
    return None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.detach().cpu().clone() if isinstance(value, Tensor) else value
        for name, value in values.items()
        if isinstance(value, Tensor | int | float)
    }


def _metrics_of(module: pl.LightningModule) -> dict[str, Any]:
    """States of torchmetrics that the module holds: an epoch's sums are no part of its state_dict."""
    return {
        name: {
            "updates": metric._update_count,
            "state": {
                key: [each.detach().cpu() for each in value]
                if isinstance(value, list)
                else value.detach().cpu()
                for key, value in metric.metric_state.items()
            },
        }
        for name, metric in module.named_modules()
        if isinstance(metric, Metric)
    }


def _restore_metrics(module: pl.LightningModule, states: dict[str, Any]) -> None:
    for name, metric in module.named_modules():
        if isinstance(metric, Metric) and name in states:
            for key, value in states[name]["state"].items():
                moved = (
                    [v.to(metric.device) for v in value]
                    if isinstance(value, list)
                    else value.to(metric.device)
                )
                setattr(metric, key, moved)
            # torchmetrics warns of a metric without updates, and keeps its last result.
            metric._update_count = states[name]["updates"]
            metric._computed = None


_META = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")


def _results_of(trainer: pl.Trainer) -> dict[str, Any]:
    """What `log` holds of this epoch: accumulated values, and the last of those that are not logged at every step."""
    found: dict[str, Any] = {}
    for key, metric in trainer.fit_loop.epoch_loop._results.items():
        meta = metric.meta
        # A metric that was logged itself is the module's; of another group of processes nothing is known later.
        if (
            not metric.is_tensor
            or metric.has_reset
            or meta.sync.group is not None
            or meta.dataloader_idx is not None
        ):
            continue
        found[key] = {
            "meta": {name: getattr(meta, name) for name in _META},
            "reduce": meta.reduce_fx.__name__,
            "sync": [meta.sync.should, meta.sync.rank_zero_only],
            "updates": metric._update_count,
            "value": metric.value.detach().cpu(),
            "weight": metric.cumulated_batch_size.detach().cpu() if meta.is_mean_reduction else None,
            "last": None if metric._forward_cache is None else metric._forward_cache.detach().cpu(),
        }
    return found


def _restore_results(trainer: pl.Trainer, states: dict[str, Any]) -> None:
    # The records are Lightning's own classes: made otherwise, the next `log` of that name would refuse them.
    collection, device = trainer.fit_loop.epoch_loop._results, trainer.strategy.root_device
    for key, state in states.items():
        meta = _Metadata(**state["meta"], reduce_fx=state["reduce"])
        should, rank_zero_only = state["sync"]
        meta.sync = _Sync(fn=trainer.strategy.reduce, _should=should, rank_zero_only=rank_zero_only)
        metric = _ResultMetric(meta, True).to(device)
        metric.value, metric._update_count = state["value"].to(device), state["updates"]
        if state["weight"] is not None:
            metric.cumulated_batch_size = state["weight"].to(device)
        metric._forward_cache = None if state["last"] is None else state["last"].to(device)
        collection[key] = metric


def _say_other_world(then: int, now: int) -> None:
    rank_zero_info(
        f"The checkpoint was written by {then} process{'es' * (then > 1)}, the fit goes on with {now}. The order of "
        "the training data, weights, optimiser and schedule go on as they were. Not bit-equal to a fit without the "
        "change: the random numbers of dropout (each process had its own), the sums over micro-batches, which are cut "
        "otherwise, and means that were logged over part of an epoch."
    )
