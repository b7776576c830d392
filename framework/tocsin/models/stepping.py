"""One optimiser step by hand, the same for every task: passes forward and backward alone, then clip, step, schedule."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from tocsin.errors import ConfigError, TrainingError
from tocsin.models import heap
from tocsin.models.averaging import AveragedWeights
from tocsin.models.encoders import Encoder
from tocsin.models.facts import StepFacts
from tocsin.models.gradients import put_side_by_side
from tocsin.models.memory import WithinMemory
from tocsin.models.non_finite import LastGood, NonFinite, NonFiniteSteps, all_finite
from tocsin.models.optimizers import Optimizer, decay_by_layer, parameter_groups
from tocsin.models.schedules import Constant, Schedule
from tocsin.models.settings import check_non_finite, check_step
from tocsin.models.vocabulary import RowsInUse

__all__ = ["StepSettings", "StepsByHand"]

_Pass = TypeVar("_Pass")


@dataclass(frozen=True)
class StepSettings:
    """What a step is made with; the tasks document these as their own arguments.

    Args:
        optimizer: Makes the torch optimiser.
        schedule: Of the learning rate.
        layer_decay: Factor of the learning rate from one layer of the encoder to the layer below it; None: one rate.
        ema_decay: Share of the average of weights that a step keeps; None: no average.
        gradient_clip: Largest norm of the whole gradient; None for no clipping.
        non_finite: What to do with a step whose loss or gradient is not finite.
        max_skipped: Steps that may be skipped in a row.
        restore_steps: Steps between two copies of the last good state.
        max_restores: Times that a fit may go back to it.
    """

    optimizer: Optimizer
    schedule: Schedule
    layer_decay: float | None
    ema_decay: float | None
    gradient_clip: float | None
    non_finite: NonFinite
    max_skipped: int
    restore_steps: int
    max_restores: int


class StepsByHand(WithinMemory):
    """A task that optimises by hand; subclasses say what a pass loses and how the step's examples are called.

    Attributes:
        last_step: What the last optimiser step worked on.
    """

    encoder: Encoder

    def __init__(self, settings: StepSettings) -> None:
        super().__init__()
        check_non_finite(settings.restore_steps, settings.max_restores)
        check_step(
            layer_decay=settings.layer_decay,
            ema_decay=settings.ema_decay,
            gradient_clip=settings.gradient_clip,
        )
        self.automatic_optimization = False
        self.optimizer = settings.optimizer
        self.schedule = settings.schedule
        self.layer_decay = settings.layer_decay
        self.ema_decay = settings.ema_decay
        self.gradient_clip = settings.gradient_clip
        self.last_step = StepFacts()
        self._non_finite = NonFiniteSteps(settings.non_finite, settings.max_skipped, settings.max_restores)
        self._restore_steps = settings.restore_steps
        self._good: LastGood | None = None
        self._refused = False
        self._average: AveragedWeights | None = None
        self._average_state: dict[str, Any] | None = None
        self._steps_of_weights = 0  # as a checkpoint says

    def packs(self, device: torch.device) -> bool:
        """Whether a pass costs its real tokens alone there; the DataModule asks when it cuts passes."""
        return self.encoder.packs(device)

    @abstractmethod
    def _names_of_step(self) -> Sequence[str]:
        """How the examples of the step under way are called, for the message about a loss that is not finite."""

    def _fitting(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == "fit"

    @property
    def steps_of_weights(self) -> int:
        """Optimiser steps that the weights have seen; a Trainer that only validates or tests counts none itself."""
        return self.global_step if self._fitting() else self._steps_of_weights or self.global_step

    # Building --------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimiser, one schedule sized from the real number of optimiser steps; both are stepped by us."""
        groups = parameter_groups(self, self.optimizer.weight_decay, self.encoder.embedding_parameters())
        if not groups:
            raise ConfigError("No weight is trained: the encoder is frozen and nothing else has any.")
        by_layer = [1.0] * len(groups)
        if self.layer_decay is not None:
            groups, by_layer = decay_by_layer(groups, self.encoder.parameters_by_depth(), self.layer_decay)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        optimizer = self.optimizer.build(groups, scaled_gradients=scaled)
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf") and not isinstance(self.schedule, Constant):
            raise ConfigError(
                f"{type(self.schedule).__name__} has to know how long the fit is: set trainer.max_epochs or "
                "trainer.max_steps, or use the schedule Constant."
            )
        total = 1 if steps == float("inf") else max(1, int(steps))
        rates: list[Callable[[int], float]] = [
            partial(self._rate, factor=factor, total=total) for factor in by_layer
        ]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int, factor: float, total: int) -> float:
        return factor * self._non_finite.rate * self.schedule.factor(step, total)

    # Memory ----------------------------------------------------------------------------------------------------------

    def _release_tokenizer(self) -> None:
        """Before the first step: texts are tokens by now; a bundle asks for the tokenizer after the last."""
        if self.encoder.release_tokenizer():
            heap.give_back()

    # What a fit goes on with -----------------------------------------------------------------------------------------

    def steps_state(self) -> dict[str, Any]:
        """State of the steps beside weights and optimiser, as plain data."""
        return {
            "tokens_per_pass": self._smaller.tokens,
            "non_finite": self._non_finite.state(),
            "events": list(self.events),
        }

    def take_steps_state(self, state: dict[str, Any] | None) -> None:
        """Go on from `steps_state`; None, of an older checkpoint, changes nothing."""
        if state is not None:
            self._smaller.tokens = state["tokens_per_pass"]
            self._non_finite.restore_state(state["non_finite"])
            self.events = list(state["events"])

    def _check_weights(self) -> None:
        """Refuse to save weights that are not finite.

        Raises:
            TrainingError: They are not.
        """
        if not all_finite(self.parameters()):
            raise TrainingError(
                f"The weights are not finite after optimiser step {self.global_step}, and are not saved. "
                f"{self._checkpoint_words()} Lower the learning rate, or use precision 32."
            )

    def _checkpoint_words(self) -> str:
        callback = getattr(self.trainer, "checkpoint_callback", None)
        paths = [getattr(callback, name, "") for name in ("last_model_path", "best_model_path")]
        saved = [path for path in paths if path and os.path.exists(path)]
        return f"The last checkpoint is good: {saved[0]}." if saved else "No checkpoint was saved before it."

    # The average of weights ------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Begin the average of weights, or go on with a checkpoint's; keep the first good state."""
        if self.ema_decay is not None:
            trained = ((name, p) for name, p in self.named_parameters() if p.requires_grad)
            self._average = AveragedWeights(trained, self.ema_decay)
            if self._average_state is not None:
                self._average.restore(self._average_state)
        self._average_state = None
        if self._non_finite.policy == "restore":
            weights = [p for p in self.parameters() if p.requires_grad]
            self._good = LastGood(weights, self.trainer.optimizers[0], self._average)
            self._good.keep(self.global_step)

    def on_train_end(self) -> None:
        """Leave the module with the averaged weights, where they are asked for."""
        self._good = None
        if self._average is not None:
            self._average.put_in_place()

    # One optimiser step ----------------------------------------------------------------------------------------------

    def _scale(self, weights: Tensor) -> Tensor:
        """What this rank's sums are multiplied with, given its own weights `(K,)` or `()`: world size / global weight.

        DDP averages gradients over ranks; the step wants their sum over the weight of all ranks.
        """
        total: Any = self.trainer.strategy.reduce(weights, reduce_op="sum")
        return self.trainer.world_size / torch.clamp(total, min=1e-12)

    def _backward_each(self, passes: Sequence[_Pass], loss_of: Callable[[_Pass], Tensor]) -> Tensor:
        """Forward and backward pass by pass; gradients are synchronised on the last. Returns the sum of the losses."""
        total = torch.zeros((), device=self.device)
        with self._small_gradients():
            for number, part in enumerate(passes):
                last = number == len(passes) - 1
                with nullcontext() if last else self._unsynchronised():
                    loss = loss_of(part)
                    self._synchronising |= last and self.trainer.world_size > 1
                    self.manual_backward(loss)
                    total += loss.detach()
                    del loss
                if number == 0 and len(passes) > 1 and self._alone():
                    put_side_by_side(self.parameters())
        return total

    def _alone(self) -> bool:
        """Whether gradients are one process's own, in the host's memory; DDP has them where it wants them.

        DDP is DDP with one process, too.
        """
        return isinstance(self.trainer.strategy, SingleDeviceStrategy) and self.device.type == "cpu"

    @contextmanager
    def _small_gradients(self) -> Iterator[None]:
        """Let passes keep the gradients of the rows that they met alone; after the block they are whole.

        A callback's `on_after_backward` sees them sparse between the passes.
        """
        tables = self._tables_in_use()
        for table in tables:
            # torch.compile cannot translate a gradient whose size hangs on the data, and torch adds up none in float16.
            compiled = getattr(self.encoder, "torch_compile", False)
            table.sparse_gradient = self._alone() and not compiled and table.weight.dtype != torch.float16
        try:
            yield
        finally:
            for table in tables:
                table.sparse_gradient = False
                table.dense_gradient()

    def _tables_in_use(self) -> list[RowsInUse]:
        return [module for module in self.encoder.modules() if isinstance(module, RowsInUse)]

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        blocked = getattr(self.trainer.strategy, "block_backward_sync", None)
        return nullcontext() if blocked is None else blocked()

    def _finish_step(self, total: Tensor, facts: StepFacts) -> bool:
        """Step the optimiser and the schedule, once gradients are there; refuse a loss that is not finite.

        Args:
            total: The step's loss on this rank, scaled by `_scale`.
            facts: What the step worked on.

        Returns:
            Whether the loss was finite.
        """
        optimizer: Any = self.optimizers()
        total = self.trainer.strategy.reduce(total, reduce_op="mean")
        self.last_step = facts
        self._refused = False
        if not bool(torch.isfinite(total)):
            self._refuse_step("loss", float(total))
            optimizer.zero_grad(set_to_none=True)
            return False
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not self._refused:
            self._non_finite.in_row = 0
            if self._average is not None:
                self._average.update()
            self._keep_good()
        schedule: Any = self.lr_schedulers()
        self.log("train/loss", total, prog_bar=True, batch_size=1)
        self.log("train/learning_rate", schedule.get_last_lr()[0], batch_size=1)
        schedule.step()
        if self._smaller.tokens is not None:
            self.log("train/tokens_per_pass", float(self._smaller.tokens), batch_size=1)
        return True

    def _keep_good(self) -> None:
        due = self._good is not None and self.global_step - self._good.step >= self._restore_steps
        if due and self._good is not None and not self._good.keep(self.global_step):
            self._refuse_step("weights", float("nan"))

    def _refuse_step(self, what: str, value: float) -> None:
        """Go back to the last good state where that is the policy; else stop, or skip the step."""
        self._refused = True
        if self._good is not None and self._non_finite.may_restore():
            self._put_back(what, value)
            return
        weights = "the weights are those before it." if all_finite(self.parameters()) else ""
        words = " ".join([weights or "the weights are not finite any more.", self._checkpoint_words()])
        self._non_finite.refuse(what, value, self.global_step, self._names_of_step(), words)

    def _put_back(self, what: str, value: float) -> None:
        assert self._good is not None
        step, policy = self.global_step, self._non_finite
        self._good.put_back()
        optimizer, schedule = self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler
        for group in optimizer.param_groups:
            group["lr"] *= policy.restored_rate
        # What is logged as the rate of the next step; torch's schedules have no way to set it.
        schedule._last_lr = [group["lr"] for group in optimizer.param_groups]
        self.events.append(
            {"kind": "restored", "step": step, "what": what, "to": self._good.step, "rate": policy.rate}
        )
        self.log("train/restores", float(policy.restores), batch_size=1)
        print(
            f"The {what} of optimiser step {step} is {value}: weights, optimiser and average are those after step "
            f"{self._good.step} again, the learning rate is {policy.rate:g} times the schedule's "
            f"({policy.restores} of at most {policy.max_restores} times).",
            flush=True,
        )

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clip the whole gradient, already unscaled, and record its norm before clipping."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        limit = float("inf") if self.gradient_clip is None else self.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        # A float16 scaler looks for infinities itself, and skips the step.
        if getattr(self.trainer.precision_plugin, "scaler", None) is None and not torch.isfinite(norm):
            self._refuse_step("gradient", float(norm))
            for parameter in parameters:
                parameter.grad = None  # the optimiser leaves weights without a gradient alone
        self.log("train/gradient_norm", norm, batch_size=1)
