"""The LightningModule of multilabel classification. Axes: B messages, T tokens, D width, F features, L labels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tocsin.batches.passes import MessagePass, Step
from tocsin.batches.protocols import ServesMessages
from tocsin.errors import ConfigError
from tocsin.labels.schemes import LabelScheme
from tocsin.models import checkpointing, network
from tocsin.models.encoders import Encoder
from tocsin.models.evaluation import EvaluatesMessages
from tocsin.models.facts import StepFacts
from tocsin.models.frozen import FrozenFeatures, network_key
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.losses import BinaryCrossEntropy, Loss
from tocsin.models.non_finite import NonFinite
from tocsin.models.optimizers import AdamW, Optimizer
from tocsin.models.pooling import Pooling
from tocsin.models.probe import start_at_probe
from tocsin.models.schedules import LinearWithWarmup, Schedule
from tocsin.models.settings import check_parts, check_start
from tocsin.models.stepping import StepSettings

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
        non_finite: What to do with an optimiser step whose loss or gradient is not finite: stop the fit, skip the step
            (at most `max_skipped` in a row), or restore: go back to the last good state, halve the learning rate and go
            on with the next messages. The ids of its messages are shown where it stops or skips.
        max_skipped: Steps that may be skipped in a row before the fit stops all the same.
        restore_steps: Steps between two copies of the good state that `restore` keeps in the host's memory, which takes
            as much as weights, optimiser and average do.
        max_restores: Times that `restore` goes back before the fit stops all the same.
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
        non_finite: NonFinite = "stop",
        max_skipped: int = 10,
        restore_steps: int = 100,
        max_restores: int = 3,
    ) -> None:
        super().__init__(
            StepSettings(
                optimizer=optimizer or AdamW(),
                schedule=schedule or LinearWithWarmup(),
                layer_decay=layer_decay,
                ema_decay=ema_decay,
                gradient_clip=gradient_clip,
                non_finite=non_finite,
                max_skipped=max_skipped,
                restore_steps=restore_steps,
                max_restores=max_restores,
            )
        )
        check_parts(encoder, pooling, head)
        check_start(head, start_from_probe=start_from_probe, probe_l2=probe_l2)
        self.labels = labels
        self.encoder = encoder
        self.pooling = pooling
        self.head = head
        self.loss = loss or BinaryCrossEntropy()
        self.rows_in_use = rows_in_use
        self.start_from_probe = start_from_probe
        self.probe_l2 = probe_l2
        self._built = False
        self._step = Step([])
        self._source: str | None = None
        self._restored = False
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
        self._release_tokenizer()
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
        batch = self._step = self._smaller_passes(batch)
        weights = [self.loss.weight(part.targets_BL, part.known_BL) for part in batch.passes]
        scale = self._scale(torch.stack(weights).sum())

        def loss_of(part: MessagePass) -> Tensor:
            return self.loss(self._logits(part, "train"), part.targets_BL, part.known_BL)[0] * scale

        total, batch = self._within_memory(batch, lambda step: self._backward_each(step.passes, loss_of))
        self._finish_step(total, StepFacts.of(batch, self.encoder.packs(self.device)))

    def _names_of_step(self) -> list[str]:
        rows = np.concatenate([part.rows_B.cpu().numpy() for part in self._step.passes])
        data = self._messages()
        if data is None:
            return [str(row) for row in rows]
        return [str(i) for i in data.describe(rows[rows >= 0])["ids"]]

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record labels, in order; leave out weights that the encoder's source holds unchanged.

        With averaging, the state is that of the averaged weights; what training goes on from is kept beside it.
        """
        self._check_weights()
        checkpointing.complete(
            checkpoint, self.encoder, self.pooling, self.head, self.labels, self._source_digest()
        )
        checkpoint["tocsin"]["steps"] = self.steps_state()
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
        self._steps_of_weights = int(checkpoint.get("global_step", 0))
        self.take_steps_state(checkpoint["tocsin"].get("steps"))
        # These weights replace an average of before; a fit that goes on takes the checkpoint's.
        self._average = None
        self._average_state = (
            checkpointing.average_of(checkpoint, self.ema_decay) if self._fitting() else None
        )
