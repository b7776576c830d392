"""The LightningModule of multilabel classification. Axes: B messages, T tokens, D width, F features, L labels."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from tocsin.batches.cache import content_key
from tocsin.batches.passes import MessagePass, Step
from tocsin.batches.protocols import ServesMessages
from tocsin.errors import ConfigError, TrainingError
from tocsin.labels.schemes import LabelScheme, check_same_labels
from tocsin.models import checkpointing, network
from tocsin.models.encoders import Encoder
from tocsin.models.frozen import FrozenFeatures
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.losses import BinaryCrossEntropy, Loss
from tocsin.models.native_head import NativeHead
from tocsin.models.optimizers import AdamW, Optimizer, parameter_groups
from tocsin.models.pooling import Pooling
from tocsin.models.probe import fit_probe
from tocsin.models.schedules import Constant, LinearWithWarmup, Schedule
from tocsin.models.scoring import LogitCollector, scores_table
from tocsin.scores.metrics import evaluate
from tocsin.scores.table import ScoresTable

__all__ = ["MultilabelClassifier", "StepFacts"]


@dataclass
class StepFacts:
    """What the last optimiser step worked on, over this rank.

    Args:
        messages: Messages.
        tokens: Real tokens.
        padded_tokens: Tokens with padding.
        passes: Passes.
    """

    messages: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    passes: int = 0


class MultilabelClassifier(LightningModule):
    """Fine-tunes an encoder with a head for labels that do not exclude one another.

    Args:
        labels: The label scheme (linked from the top-level `labels` of a config).
        encoder: Gives token states.
        head: Turns them, or their pooled vector, into logits.
        loss: Over known labels; null: BinaryCrossEntropy.
        pooling: Token states to one vector; null for heads that read tokens (NativeHead).
        optimizer: null: AdamW with its defaults.
        schedule: Of the learning rate; null: LinearWithWarmup.
        gradient_clip: Largest norm of the whole gradient; null for no clipping.
        rows_in_use: Train only the rows of the embedding table whose pieces occur in the training texts; the result is
            that of training the whole table, without its cost.
        start_from_probe: Start the head from a linear probe fitted on the vectors of the encoder as it is.
        probe_l2: Strength of the probe's penalty on standardised features (1/C of a logistic regression).
        non_finite: What to do with an optimiser step whose loss or gradient is not finite: stop the fit, or skip it (at
            most `max_skipped` in a row). The ids of its messages are shown in both cases.
        max_skipped: Steps that may be skipped in a row before the fit stops all the same.
    """

    def __init__(
        self,
        labels: LabelScheme,
        encoder: Encoder,
        head: Head,
        loss: Loss | None = None,
        pooling: Pooling | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        gradient_clip: float | None = 1.0,
        rows_in_use: bool = True,
        start_from_probe: bool = False,
        probe_l2: float = 10.0,
        non_finite: Literal["stop", "skip"] = "stop",
        max_skipped: int = 10,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if head.needs == "vector" and pooling is None:
            raise ConfigError(
                f"{type(head).__name__} reads a pooled vector: set model.init_args.pooling, such as MeanPooling."
            )
        if head.needs == "tokens" and pooling is not None:
            raise ConfigError(
                f"{type(head).__name__} reads token states itself: set model.init_args.pooling to null."
            )
        if isinstance(head, NativeHead) and encoder.prompt:
            raise ConfigError(
                f"NativeHead with the prompt {encoder.prompt!r}: transformers' pipeline, which loads such "
                "a bundle, adds no prompt and "
                "would score other texts. Set the encoder's prompt to an empty string, or use LinearHead."
            )
        if gradient_clip is not None and not gradient_clip > 0:
            raise ConfigError(
                f"gradient_clip is {gradient_clip}; wanted a norm above 0, or null for no clipping."
            )
        if pooling is not None and next(pooling.parameters(), None) is not None:
            raise ConfigError(
                f"{type(pooling).__name__} has weights of its own; a bundle holds those of encoder and "
                "head alone. Make it part "
                "of a head that reads tokens."
            )
        if start_from_probe and not isinstance(head, FeatureHead):
            raise ConfigError(
                f"start_from_probe needs a head that reads one vector a message; {type(head).__name__} does not."
            )
        if not probe_l2 > 0:
            raise ConfigError(f"probe_l2 is {probe_l2}; wanted a strength above 0.")
        self.labels = labels
        self.encoder = encoder
        self.pooling = pooling
        self.head = head
        self.loss = loss or BinaryCrossEntropy()
        self.optimizer = optimizer or AdamW()
        self.schedule = schedule or LinearWithWarmup()
        self.gradient_clip = gradient_clip
        self.rows_in_use = rows_in_use
        self.start_from_probe = start_from_probe
        self.probe_l2 = probe_l2
        self.non_finite = non_finite
        self.max_skipped = max_skipped
        self.scores: dict[str, ScoresTable] = {}
        self.last_step = StepFacts()
        self._built = False
        self._step = Step([])
        self._source: str | None = None
        self._restored = False
        self._skipped_in_row = 0
        self._collector = LogitCollector(len(self.label_names))
        self._frozen: FrozenFeatures | None = None

    # Building --------------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        """The encoder's tokenizer; the DataModule asks for it."""
        return self.encoder.tokenizer

    @property
    def prompt(self) -> str:
        """Put before every message; the DataModule asks for it."""
        return self.encoder.prompt

    @property
    def label_names(self) -> tuple[str, ...]:
        """L names in the order of the logits."""
        return tuple(self.labels.names)

    def build(self) -> None:
        """Read the encoder's weights and make the head's; doing it twice does nothing."""
        if self._built:
            return
        self.encoder.load()
        self.head.build(self.encoder.config, len(self.label_names), self.encoder.pooler)
        self._built = True

    def configure_model(self) -> None:
        """Build, and put the rows in use in place of the embedding table."""
        self.build()
        self._source = None
        # transformers gives models in evaluation mode, and Lightning leaves modes as they are.
        self.train()
        data = self._messages()
        longest, wanted = self.encoder.max_tokens, getattr(data, "max_length", 0)
        if longest is not None and wanted > longest:
            raise ConfigError(
                f"max_length is {wanted} tokens, but the encoder has positions for {longest}; set it to at most that."
            )
        if data is not None and self._fitting():
            self.loss.prepare(data.targets(data.rows("train")))
            if self.rows_in_use:
                self.encoder.use_rows(data.pieces_in_use().tolist())
        # Buffers are the same on every rank and never change: broadcasting a table of 250,000 rows each step
        # would cost more than the step.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def _fitting(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == "fit"

    def _messages(self) -> ServesMessages | None:
        data = getattr(self._trainer, "datamodule", None) if self._trainer is not None else None
        if data is not None and hasattr(data, "labels"):
            check_same_labels(data.labels.names, self.label_names, where="the data's labels and the model's")
        return data if isinstance(data, ServesMessages) else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimiser, one schedule sized from the real number of optimiser steps; both are stepped by us."""
        groups = parameter_groups(self, self.optimizer.weight_decay, self.encoder.embedding_parameters())
        if not groups:
            raise ConfigError("No weight is trained: the encoder is frozen and the head has none.")
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        optimizer = self.optimizer.build(groups, scaled_gradients=scaled)
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf") and not isinstance(self.schedule, Constant):
            raise ConfigError(
                f"{type(self.schedule).__name__} has to know how long the fit is: set trainer.max_epochs or "
                "trainer.max_steps, or use the schedule Constant."
            )
        total = 1 if steps == float("inf") else max(1, int(steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.schedule.factor(step, total)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Forward ---------------------------------------------------------------------------------------------------------

    def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Logits `(B, L)` for token ids `(B, T)` and a 0/1 mask `(B, T)`."""
        return network.logits(self.encoder, self.pooling, self.head, input_ids_BT, mask_BT)

    def _logits(self, part: MessagePass, split: str) -> Tensor:
        cached = None if self._frozen is None else self._frozen.of(part, split)
        if cached is None:
            return self(part.input_ids_BT, part.mask_BT)
        assert isinstance(self.head, FeatureHead)
        return self.head.classify(cached.to(self.device))

    # What does not change is computed once ---------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Compute a frozen encoder's features, and start the head from a probe, where asked for."""
        if self.loss.couples_rows:
            raise ConfigError(
                f"{type(self.loss).__name__} depends on all rows of a step at once, but a step is cut into "
                "passes. Use a loss "
                "whose rows are independent."
            )
        self.train()
        data = self._messages()
        if data is None:
            if self.start_from_probe:
                raise ConfigError(
                    "start_from_probe needs a DataModule that serves messages, such as LabelledMessages."
                )
            return
        keep = self.encoder.frozen and isinstance(self.head, FeatureHead)
        start = self.start_from_probe and not self._restored
        if keep or start:
            features = self._frozen_features(data)
            # Rank 0 first: the others then find its files, or compute them where folders are not shared.
            for turn in (True, False):
                if self.trainer.is_global_zero == turn:
                    self.eval()
                    for split in ("train", "validation") if keep else ("train",):
                        features.compute(split)
                    self.train()
                self.trainer.strategy.barrier("features")
            self._frozen = features if keep else None
            if start:
                self._start_from_probe(data, features.compute("train"))

    def on_fit_end(self) -> None:
        """Forget the features of this fit."""
        self._frozen = None

    def _frozen_features(self, data: ServesMessages) -> FrozenFeatures:
        parts = [
            [type(part).__module__, type(part).__qualname__, part.arguments]
            for part in (self.pooling, self.head)
            if part is not None
        ]
        return FrozenFeatures(
            data,
            content_key(encoder=self.encoder.digest, parts=parts),
            self._features_of,
            show=self.trainer.is_global_zero,
        )

    def _features_of(self, part: MessagePass) -> Tensor:
        ids_BT, mask_BT = part.input_ids_BT.to(self.device), part.mask_BT.to(self.device)
        return network.features(self.encoder, self.pooling, self.head, ids_BT, mask_BT)

    def _start_from_probe(self, data: ServesMessages, features_NF: Tensor) -> None:
        assert isinstance(self.head, FeatureHead)
        targets = data.targets(data.rows("train"))
        known = ~np.isnan(targets)
        self.head.open_for_probe()
        with torch.no_grad():
            penultimate_NF = self.head.penultimate(features_NF.to(self.device))
        weight, bias = fit_probe(
            penultimate_NF,
            torch.from_numpy(np.where(known, targets, 0.0).astype(np.float32)).to(self.device),
            torch.from_numpy(known.astype(np.float32)).to(self.device),
            self.loss,
            self.probe_l2,
        )
        # One rank's numbers for all: L-BFGS need not end on the same bits on different machines.
        state = self.trainer.strategy.broadcast([weight.cpu(), bias.cpu()])
        self.head.set_output(state[0].to(self.device), state[1].to(self.device))

    # One optimiser step ----------------------------------------------------------------------------------------------

    def training_step(self, batch: Step, batch_idx: int) -> None:
        """Forward and backward pass by pass; clip, step and schedule once."""
        optimizer: Any = self.optimizers()
        self._step = batch
        weight = torch.stack(
            [self.loss.weight(part.targets_BL, part.known_BL) for part in batch.passes]
        ).sum()
        weight = self.trainer.strategy.reduce(weight, reduce_op="sum")
        # DDP averages gradients over ranks; the step wants their sum over the weight of all ranks.
        scale = self.trainer.world_size / torch.clamp(weight, min=1e-12)
        total = torch.zeros((), device=self.device)
        for number, part in enumerate(batch.passes):
            with nullcontext() if number == len(batch.passes) - 1 else self._unsynchronised():
                loss, _ = self.loss(self._logits(part, "train"), part.targets_BL, part.known_BL)
                scaled = loss * scale
                self.manual_backward(scaled)
                total += scaled.detach()
        total = self.trainer.strategy.reduce(total, reduce_op="mean")
        self._note(batch)
        if not bool(torch.isfinite(total)):
            self._refuse_step("loss", float(total))
            optimizer.zero_grad(set_to_none=True)
            return
        skipped = self._skipped_in_row
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self._skipped_in_row == skipped:
            self._skipped_in_row = 0
        schedule: Any = self.lr_schedulers()
        self.log("train/loss", total, prog_bar=True, batch_size=1)
        self.log("train/learning_rate", schedule.get_last_lr()[0], batch_size=1)
        schedule.step()

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        blocked = getattr(self.trainer.strategy, "block_backward_sync", None)
        return nullcontext() if blocked is None else blocked()

    def _note(self, batch: Step) -> None:
        facts = StepFacts(passes=len(batch.passes))
        for part in batch.passes:
            facts.messages += int((part.rows_B >= 0).sum())
            facts.tokens += int(part.mask_BT.sum())
            facts.padded_tokens += part.mask_BT.numel()
        self.last_step = facts

    def _refuse_step(self, what: str, value: float) -> None:
        rows = np.concatenate([part.rows_B.cpu().numpy() for part in self._step.passes])
        data = self._messages()
        ids = (
            [str(i) for i in data.describe(rows[rows >= 0])["ids"]]
            if data is not None
            else [str(row) for row in rows]
        )
        self._skipped_in_row += 1
        shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
        if self.non_finite == "stop" or self._skipped_in_row > self.max_skipped:
            raise TrainingError(
                f"The {what} of optimiser step {self.global_step} is {value}; the weights are those before it, and the "
                f"last checkpoint is good. Messages of the step: {shown}. Lower the learning rate, use precision 32, "
                "or set non_finite: skip."
            )
        print(f"Skipped an optimiser step whose {what} is {value}. Its messages: {shown}", flush=True)

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

    # Evaluation ------------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Begin a new table."""
        self._collector = LogitCollector(len(self.label_names))

    def on_test_epoch_start(self) -> None:
        """Begin a new table."""
        self._collector = LogitCollector(len(self.label_names))

    def validation_step(self, batch: MessagePass, batch_idx: int) -> None:
        """Collect logits of one pass."""
        self._collect(batch, "validation")

    def test_step(self, batch: MessagePass, batch_idx: int) -> None:
        """Collect logits of one pass, in float32 whatever the fit's precision: these are the figures that ship."""
        with torch.autocast(self.device.type, enabled=False):
            self._collect(batch, "test")

    def _collect(self, part: MessagePass, split: str) -> None:
        logits_BL = self._logits(part, split).float()
        self._collector.add(part.rows_B, logits_BL, *self.loss(logits_BL, part.targets_BL, part.known_BL))

    def on_validation_epoch_end(self) -> None:
        """Score the whole validation split."""
        if not self.trainer.sanity_checking:
            self._score("validation", _is_whole(self.trainer.limit_val_batches))

    def on_test_epoch_end(self) -> None:
        """Score the whole test split."""
        self._score("test", _is_whole(self.trainer.limit_test_batches))

    def _score(self, split: str, whole: bool) -> None:
        rows, logits_NL, loss = self._collector.gather(self.trainer.world_size)
        self._collector = LogitCollector(len(self.label_names))
        data = self._messages()
        if len(rows):
            self.log(f"{split}/loss", loss, batch_size=1)
        if len(rows) and data is not None:
            table = scores_table(
                data, split, rows, logits_NL, self.label_names, whole=whole, steps=self.global_step
            )
            self.scores[split] = table
            for name, value in evaluate(table).flat().items():
                self.log(f"{split}/{name}", value, prog_bar=name == "macro_roc_auc", batch_size=1)

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record labels, in order; leave out weights that the encoder's source holds unchanged."""
        checkpointing.complete(checkpoint, self.encoder, self.head, self.labels, self._source_digest())

    def _source_digest(self) -> str:
        # It does not change during a fit, and a large table takes a while to hash.
        if self._source is None:
            self._source = checkpointing.source_digest(self.encoder)
        return self._source

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare labels, take the rows in use, and put back what the encoder's source holds.

        Raises:
            CheckpointError: Made by something else, or for another encoder or head.
            LabelError: Other labels, or another order of them.
        """
        checkpointing.check(checkpoint, self.encoder, self.head, self.labels)
        self.build()
        state = checkpoint["state_dict"]
        checkpointing.take_rows_in_use(state, self.encoder)
        checkpointing.check_source(checkpoint, self._source_digest())
        for name, value in state.items():
            # What `prepare` made of the training targets; before a fit the buffer is there, without a value.
            buffer = name.removeprefix("loss.")
            if buffer != name and buffer in self.loss._buffers and self.loss._buffers[buffer] is None:
                setattr(self.loss, buffer, value.clone())
        own = self.state_dict()
        for name in checkpointing.names_from_source(self.encoder):
            state.setdefault(name, own[name])
        self._restored = True


def _is_whole(limit: int | float) -> bool:
    """Whether a Trainer's limit is the share 1.0, not one batch."""
    return isinstance(limit, float) and limit == 1.0
