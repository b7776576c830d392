"""The LightningModule of multilabel classification. Axes: B messages, T tokens, D width, F features, L labels."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from tocsin.batches.passes import MessagePass, Step
from tocsin.batches.protocols import ServesMessages
from tocsin.errors import ConfigError
from tocsin.labels.schemes import LabelScheme
from tocsin.models import checkpointing, network
from tocsin.models.averaging import AveragedWeights
from tocsin.models.encoders import Encoder
from tocsin.models.evaluation import EvaluatesMessages
from tocsin.models.facts import StepFacts
from tocsin.models.frozen import FrozenFeatures, network_key
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.losses import BinaryCrossEntropy, Loss
from tocsin.models.non_finite import NonFiniteSteps
from tocsin.models.optimizers import AdamW, Optimizer, decay_by_layer, parameter_groups
from tocsin.models.pooling import Pooling
from tocsin.models.probe import start_at_probe
from tocsin.models.schedules import Constant, LinearWithWarmup, Schedule
from tocsin.models.settings import check_parts, check_training

__all__ = ["MultilabelClassifier", "StepFacts"]


class MultilabelClassifier(EvaluatesMessages):
    """Fine-tunes an encoder with a head for labels that do not exclude one another.

    Args:
        labels: The label scheme (linked from the top-level `labels` of a config).
        encoder: Gives token states.
        head: Turns them, or their pooled vector, into logits.
        loss: Over known labels; null: BinaryCrossEntropy.
        pooling: Token states to one vector; null for heads that read tokens (NativeHead).
        optimizer: null: AdamW with its defaults.
        schedule: Of the learning rate; null: LinearWithWarmup.
        layer_decay: Factor of the learning rate from one layer of the encoder to the layer below it, such as 0.9; the
            head learns at the base rate, the top layer at this factor of it, the embeddings lowest. Null: one rate.
        ema_decay: Average the trained weights over optimiser steps, keeping this share of the average at each (less in
            the first steps); the averaged weights are those that are validated and shipped. Null: no average.
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
        layer_decay: float | None = None,
        ema_decay: float | None = None,
        gradient_clip: float | None = 1.0,
        rows_in_use: bool = True,
        start_from_probe: bool = False,
        probe_l2: float = 10.0,
        non_finite: Literal["stop", "skip"] = "stop",
        max_skipped: int = 10,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        check_parts(encoder, pooling, head)
        check_training(
            head,
            layer_decay=layer_decay,
            ema_decay=ema_decay,
            gradient_clip=gradient_clip,
            start_from_probe=start_from_probe,
            probe_l2=probe_l2,
        )
        self.labels = labels
        self.encoder = encoder
        self.pooling = pooling
        self.head = head
        self.loss = loss or BinaryCrossEntropy()
        self.optimizer = optimizer or AdamW()
        self.schedule = schedule or LinearWithWarmup()
        self.layer_decay = layer_decay
        self.ema_decay = ema_decay
        self.gradient_clip = gradient_clip
        self.rows_in_use = rows_in_use
        self.start_from_probe = start_from_probe
        self.probe_l2 = probe_l2
        self.last_step = StepFacts()
        self._built = False
        self._step = Step([])
        self._source: str | None = None
        self._restored = False
        self._non_finite = NonFiniteSteps(non_finite, max_skipped)
        self._frozen: FrozenFeatures | None = None
        self._average_state: dict[str, Any] | None = None

    # Building --------------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        """The encoder's tokenizer; the DataModule asks for it."""
        return self.encoder.tokenizer

    @property
    def prompt(self) -> str:
        """Put before every message; the DataModule asks for it."""
        return self.encoder.prompt

    def build(self) -> None:
        """Read the encoder's weights and make the head's; doing it twice does nothing."""
        if self._built:
            return
        self.encoder.load()
        if self.pooling is not None:
            self.pooling.build(self.encoder.config)
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
        if self._fitting() and self.trainer.world_size > 1 and getattr(self.encoder, "torch_compile", False):
            raise ConfigError(
                f"torch_compile with {self.trainer.world_size} processes: that they do what one does has been shown "
                "without it alone. Set the encoder's torch_compile to false, or trainer.devices to 1."
            )
        if data is not None and self._fitting():
            self.loss.prepare(data.targets(data.rows("train")))
            if self.rows_in_use:
                self.encoder.use_rows(data.pieces_in_use().tolist())
        # Buffers are the same on every rank and never change: broadcasting a table of 250,000 rows each step
        # would cost more than the step.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimiser, one schedule sized from the real number of optimiser steps; both are stepped by us."""
        groups = parameter_groups(self, self.optimizer.weight_decay, self.encoder.embedding_parameters())
        if not groups:
            raise ConfigError("No weight is trained: the encoder is frozen and the head has none.")
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
        return factor * self.schedule.factor(step, total)

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
        # A pooling that learns gives other features after each step: then only the probe's start uses them.
        learns = self.pooling is not None and any(p.requires_grad for p in self.pooling.parameters())
        keep = self.encoder.frozen and isinstance(self.head, FeatureHead) and not learns
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
                assert isinstance(self.head, FeatureHead)
                targets_NL = data.targets(data.rows("train"))
                strategy = self.trainer.strategy
                start_at_probe(
                    self.head,
                    features.compute("train"),
                    targets_NL,
                    self.loss,
                    self.probe_l2,
                    strategy.broadcast,
                )

    def on_train_start(self) -> None:
        """Begin the average of weights, or go on with a checkpoint's."""
        if self.ema_decay is not None:
            trained = ((name, p) for name, p in self.named_parameters() if p.requires_grad)
            self._average = AveragedWeights(trained, self.ema_decay)
            if self._average_state is not None:
                self._average.restore(self._average_state)
        self._average_state = None

    def on_train_end(self) -> None:
        """Leave the module with the averaged weights, where they are asked for."""
        if self._average is not None:
            self._average.put_in_place()

    def on_fit_end(self) -> None:
        """Forget the features of this fit."""
        self._frozen = None
        self._average_state = None

    def _frozen_features(self, data: ServesMessages) -> FrozenFeatures:
        key = network_key(self.encoder, self.pooling, self.head)
        return FrozenFeatures(data, key, self._features_of, show=self.trainer.is_global_zero)

    def _features_of(self, part: MessagePass) -> Tensor:
        ids_BT, mask_BT = part.input_ids_BT.to(self.device), part.mask_BT.to(self.device)
        return network.features(self.encoder, self.pooling, self.head, ids_BT, mask_BT)

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
        self.last_step = StepFacts.of(batch)
        if not bool(torch.isfinite(total)):
            self._refuse_step("loss", float(total))
            optimizer.zero_grad(set_to_none=True)
            return
        skipped = self._non_finite.in_row
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self._non_finite.in_row == skipped:
            self._non_finite.in_row = 0
            if self._average is not None:
                self._average.update()
        schedule: Any = self.lr_schedulers()
        self.log("train/loss", total, prog_bar=True, batch_size=1)
        self.log("train/learning_rate", schedule.get_last_lr()[0], batch_size=1)
        schedule.step()

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        blocked = getattr(self.trainer.strategy, "block_backward_sync", None)
        return nullcontext() if blocked is None else blocked()

    def _refuse_step(self, what: str, value: float) -> None:
        rows = np.concatenate([part.rows_B.cpu().numpy() for part in self._step.passes])
        data = self._messages()
        ids = (
            [str(i) for i in data.describe(rows[rows >= 0])["ids"]]
            if data is not None
            else [str(row) for row in rows]
        )
        self._non_finite.refuse(what, value, self.global_step, ids)

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

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record labels, in order; leave out weights that the encoder's source holds unchanged.

        With averaging, the state is that of the averaged weights; what training goes on from is kept beside it.
        """
        checkpointing.complete(
            checkpoint, self.encoder, self.pooling, self.head, self.labels, self._source_digest()
        )
        if self._average is not None:
            checkpointing.add_average(checkpoint, self._average)

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
        checkpointing.check(checkpoint, self.encoder, self.pooling, self.head, self.labels)
        self.build()
        state = checkpoint["state_dict"]
        checkpointing.take_rows_in_use(state, self.encoder)
        checkpointing.check_source(checkpoint, self._source_digest())
        checkpointing.take_prepared(state, self.loss)
        own = self.state_dict()
        for name in checkpointing.names_from_source(self.encoder):
            state.setdefault(name, own[name])
        self._restored = True
        # These weights replace an average of before; a fit that goes on takes the checkpoint's.
        self._average = None
        self._average_state = (
            checkpointing.average_of(checkpoint, self.ema_decay) if self._fitting() else None
        )
