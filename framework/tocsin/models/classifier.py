"""The LightningModule of multilabel classification. Axes: B messages, T tokens, D width, F features, L labels."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from tocsin.batches.cache import content_key
from tocsin.batches.passes import MessagePass, Step
from tocsin.batches.protocols import ServesMessages
from tocsin.errors import CheckpointError, ConfigError, TrainingError
from tocsin.labels.schemes import LabelScheme, check_same_labels
from tocsin.models.encoders import Encoder
from tocsin.models.frozen import compute_features, features_path
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.losses import BinaryCrossEntropy, Loss
from tocsin.models.native_head import NativeHead
from tocsin.models.optimizers import AdamW, Optimizer, parameter_groups
from tocsin.models.pooling import Pooling
from tocsin.models.probe import fit_probe
from tocsin.models.schedules import LinearWithWarmup, Schedule
from tocsin.models.vocabulary import RowsInUse
from tocsin.scores.metrics import evaluate
from tocsin.scores.table import ScoresTable

__all__ = ["MultilabelClassifier", "StepFacts"]

_CHECKPOINT_KEY = "tocsin"


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
        non_finite: What to do with an optimiser step whose loss is not finite: stop the fit, or skip the step (at most
            `max_skipped` in a row). The ids of its messages are shown in both cases.
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
            raise ConfigError(f"{type(head).__name__} reads a pooled vector: set model.init_args.pooling, such as MeanPooling.")
        if head.needs == "tokens" and pooling is not None:
            raise ConfigError(f"{type(head).__name__} reads token states itself: set model.init_args.pooling to null.")
        if isinstance(head, NativeHead) and encoder.prompt:
            raise ConfigError(
                f"NativeHead with the prompt {encoder.prompt!r}: transformers' pipeline, which loads such a bundle, adds no prompt and "
                "would score other texts. Set the encoder's prompt to an empty string, or use LinearHead."
            )
        if gradient_clip is not None and not gradient_clip > 0:
            raise ConfigError(f"gradient_clip is {gradient_clip}; wanted a norm above 0, or null for no clipping.")
        if start_from_probe and not isinstance(head, FeatureHead):
            raise ConfigError(f"start_from_probe needs a head that reads one vector a message; {type(head).__name__} does not.")
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
        self._configured = False
        self._restored = False
        self._skipped_in_row = 0
        self._collected: list[tuple[np.ndarray, np.ndarray]] = []
        self._loss_sums = torch.zeros(2, dtype=torch.float64)
        self._features: dict[str, Tensor] = {}
        self._feature_rows: dict[str, np.ndarray] = {}

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
        if self._configured:
            return
        self.build()
        self._configured = True
        data = self._messages()
        longest, wanted = self.encoder.max_tokens, getattr(data, "max_length", 0)
        if longest is not None and wanted > longest:
            raise ConfigError(f"max_length is {wanted} tokens, but the encoder has positions for {longest}; set it to at most that.")
        if data is not None and self._fitting():
            self.loss.prepare(data.targets(data.rows("train")))
            if self.rows_in_use:
                self.encoder.use_rows(data.pieces_in_use().tolist())
        # Buffers are the same on every rank and never change: broadcasting a 250,000-row table each step would cost more
        # than the step.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def _fitting(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == "fit"

    def _messages(self) -> ServesMessages | None:
        data = getattr(self._trainer, "datamodule", None) if self._trainer is not None else None
        if data is not None and hasattr(data, "labels"):
            check_same_labels(data.labels.names, self.label_names, where="the data's labels and the model's")
        return data if isinstance(data, ServesMessages) else None

    def configure_optimizers(self) -> dict[str, Any]:
        """One optimiser, one schedule sized from the real number of optimiser steps; both are stepped by us."""
        groups = parameter_groups(self, self.optimizer.weight_decay, self.encoder.embedding_parameters())
        if not groups:
            raise ConfigError("No weight is trained: the encoder is frozen and the head has none.")
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        optimizer = self.optimizer.build(groups, scaled_gradients=scaled)
        total = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule.factor(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Forward ---------------------------------------------------------------------------------------------------------

    def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Logits `(B, L)` for token ids `(B, T)` and a 0/1 mask `(B, T)`."""
        hidden_BTD = self.encoder(input_ids_BT, mask_BT)
        vector_BD = None if self.pooling is None else self.pooling(hidden_BTD, mask_BT)
        return self.head(hidden_BTD, mask_BT, vector_BD)

    def features(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """What a `FeatureHead` reads, `(B, F)`."""
        if not isinstance(self.head, FeatureHead):
            raise ConfigError(f"{type(self.head).__name__} reads all tokens; it has no features to compute once.")
        hidden_BTD = self.encoder(input_ids_BT, mask_BT)
        vector_BD = None if self.pooling is None else self.pooling(hidden_BTD, mask_BT)
        return self.head.features(hidden_BTD, mask_BT, vector_BD)

    def _logits(self, part: MessagePass, split: str) -> Tensor:
        cached = self._features.get(split)
        if cached is None:
            return self(part.input_ids_BT, part.mask_BT)
        assert isinstance(self.head, FeatureHead)
        rows = np.searchsorted(self._feature_rows[split], part.rows_B.clamp(min=0).cpu().numpy())
        rows = np.minimum(rows, len(cached) - 1)  # a filler has no row of its own, and no weight
        return self.head.classify(cached[torch.from_numpy(rows)].to(self.device))

    # What does not change is computed once ---------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Compute a frozen encoder's features, and start the head from a probe, where asked for."""
        if self.loss.couples_rows:
            raise ConfigError(
                f"{type(self.loss).__name__} depends on all rows of a step at once, but a step is cut into passes. Use a loss "
                "whose rows are independent."
            )
        # transformers gives models in evaluation mode, and Lightning leaves modes as they are.
        self.train()
        data = self._messages()
        if data is None:
            if self.start_from_probe:
                raise ConfigError("start_from_probe needs a DataModule that serves messages, such as LabelledMessages.")
            return
        frozen = self.encoder.frozen and isinstance(self.head, FeatureHead)
        if frozen:
            for split in ("train", "validation"):
                self._cache_features(data, split)
        if self.start_from_probe and not self._restored:
            self._start_from_probe(data)
        if not frozen:
            self._features.clear()

    def on_fit_end(self) -> None:
        """Forget the features of this fit."""
        self._features.clear()

    def _cache_features(self, data: ServesMessages, split: str) -> Tensor:
        rows = data.rows(split)
        if split not in self._features:
            key = content_key(
                encoder=self.encoder.digest,
                pooling=[type(self.pooling).__qualname__, type(self.head).__qualname__],
                tokens=data.tokens_key(),
                rows=content_key(rows=rows.tolist()),
            )
            self.eval()

            def compute() -> np.ndarray:
                return compute_features(
                    features_path(key),
                    rows,
                    lambda: data.passes(rows),
                    lambda part: self.features(part.input_ids_BT.to(self.device), part.mask_BT.to(self.device)),
                    show=self.trainer.is_global_zero,
                )

            # Rank 0 first: the others then find its file, or compute it where folders are not shared.
            if self.trainer.is_global_zero:
                compute()
            self.trainer.strategy.barrier("features")
            self._features[split] = torch.from_numpy(np.array(compute()))
            self._feature_rows[split] = rows
            self.train()
        return self._features[split]

    def _start_from_probe(self, data: ServesMessages) -> None:
        assert isinstance(self.head, FeatureHead)
        features_NF = self._cache_features(data, "train").to(self.device)
        targets = data.targets(self._feature_rows["train"])
        known = ~np.isnan(targets)
        self.head.open_for_probe()
        with torch.no_grad():
            penultimate_NF = self.head.penultimate(features_NF)
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
        weight = torch.stack([self.loss.weight(part.targets_BL, part.known_BL) for part in batch.passes]).sum()
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
            self._refuse_step(batch, float(total))
            optimizer.zero_grad(set_to_none=True)
            return
        self._skipped_in_row = 0
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
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

    def _refuse_step(self, batch: Step, value: float) -> None:
        rows = np.concatenate([part.rows_B.cpu().numpy() for part in batch.passes])
        data = self._messages()
        ids = [str(i) for i in data.describe(rows[rows >= 0])["ids"]] if data is not None else [str(row) for row in rows]
        self._skipped_in_row += 1
        shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
        if self.non_finite == "stop" or self._skipped_in_row > self.max_skipped:
            raise TrainingError(
                f"The loss of optimiser step {self.global_step} is {value}; the weights are those before it, and the last "
                f"checkpoint is good. Messages of the step: {shown}. Lower the learning rate, use precision 32, or set non_finite: "
                "skip."
            )
        self.print(f"Skipped an optimiser step whose loss is {value}. Its messages: {shown}")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clip the whole gradient, already unscaled, and record its norm before clipping."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        limit = float("inf") if self.gradient_clip is None else self.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        self.log("train/gradient_norm", norm, batch_size=1)

    # Evaluation ------------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Begin a new table."""
        self._begin()

    def on_test_epoch_start(self) -> None:
        """Begin a new table."""
        self._begin()

    def _begin(self) -> None:
        self._collected = []
        self._loss_sums = torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: MessagePass, batch_idx: int) -> None:
        """Collect logits of one pass."""
        self._collect(batch, "validation")

    def test_step(self, batch: MessagePass, batch_idx: int) -> None:
        """Collect logits of one pass, in float32 whatever the fit's precision: these are the figures that ship."""
        with torch.autocast(self.device.type, enabled=False):
            self._collect(batch, "test")

    def _collect(self, part: MessagePass, split: str) -> None:
        logits_BL = self._logits(part, split).float()
        loss, weight = self.loss(logits_BL, part.targets_BL, part.known_BL)
        self._loss_sums += torch.stack([loss, weight]).double().cpu()
        self._collected.append((part.rows_B.cpu().numpy(), logits_BL.cpu().numpy()))

    def on_validation_epoch_end(self) -> None:
        """Score the whole validation split."""
        if not self.trainer.sanity_checking:
            self._score("validation")

    def on_test_epoch_end(self) -> None:
        """Score the whole test split."""
        self._score("test")

    def _score(self, split: str) -> None:
        rows, logits_NL = self._gather()
        if not len(rows):
            return
        data = self._messages()
        sums = self.trainer.strategy.reduce(self._loss_sums.to(self.device, torch.float32), reduce_op="sum").cpu()
        self.log(f"{split}/loss", float(sums[0] / sums[1].clamp(min=1e-12)), batch_size=1)
        if data is None:
            return
        expected = data.rows(split)
        loaders = self.trainer.num_test_batches if split == "test" else self.trainer.num_val_batches
        whole = self.trainer.limit_test_batches if split == "test" else self.trainer.limit_val_batches
        if len(np.unique(rows)) != len(rows) or (whole == 1.0 and not np.array_equal(rows, expected)):
            raise TrainingError(
                f"The {split} split has {len(expected)} messages; {len(rows)} were scored, {len(np.unique(rows))} of them distinct, in "
                f"{loaders} passes. Each must be scored once: is another distributed sampler in use?"
            )
        described = data.describe(rows)
        prior = data.corpus().prior() if hasattr(data, "corpus") else None
        table = ScoresTable(
            ids=described["ids"],
            labels=self.label_names,
            logits_NL=logits_NL,
            targets_NL=data.targets(rows),
            langs=described["langs"],
            slices=described["slices"],
            metadata={
                "split": split,
                "optimizer_steps": str(self.global_step),
                **({} if prior is None else {"train_prevalence": json.dumps([None if np.isnan(p) else float(p) for p in prior])}),
            },
        )
        self.scores[split] = table
        figures = evaluate(table).flat()
        for name, value in figures.items():
            self.log(f"{split}/{name}", value, prog_bar=name == "macro_roc_auc", batch_size=1)

    def _gather(self) -> tuple[np.ndarray, np.ndarray]:
        labels = len(self.label_names)
        rows = np.concatenate([r for r, _ in self._collected] or [np.zeros(0, dtype=np.int64)])
        logits = np.concatenate([values for _, values in self._collected] or [np.zeros((0, labels), dtype=np.float32)])
        self._collected = []
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, (rows, logits))
            rows = np.concatenate([r for r, _ in gathered])
            logits = np.concatenate([values for _, values in gathered])
        order = np.argsort(rows, kind="stable")
        return rows[order], logits[order]

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def _from_source(self) -> list[str]:
        """Names of weights that the encoder's source holds as they are, because nothing trains them."""
        return [f"encoder.{name}" for name, p in self.encoder.named_parameters() if not p.requires_grad]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record labels, in order; leave out weights that the encoder's source holds unchanged."""
        for name in self._from_source():
            checkpoint["state_dict"].pop(name, None)
        checkpoint[_CHECKPOINT_KEY] = {
            "format": 1,
            "labels": list(self.label_names),
            "labels_digest": self.labels.digest,
            "encoder": type(self.encoder).__name__,
            "head": type(self.head).__name__,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare labels, take the rows in use, and put back what the encoder's source holds.

        Raises:
            CheckpointError: Made by something else, or for another encoder or head.
            LabelError: Other labels, or another order of them.
        """
        facts = checkpoint.get(_CHECKPOINT_KEY)
        if not isinstance(facts, dict) or facts.get("format") != 1:
            raise CheckpointError("This checkpoint was not written by MultilabelClassifier (no label names in it).")
        check_same_labels(facts["labels"], self.label_names, where="the checkpoint's labels and this model's")
        for role in ("encoder", "head"):
            mine = type(getattr(self, role)).__name__
            if facts[role] != mine:
                raise CheckpointError(f"The checkpoint was made with the {role} {facts[role]}, this model has {mine}.")
        self.build()
        state = checkpoint["state_dict"]
        ids = next((value for name, value in state.items() if name.endswith(".piece_ids")), None)
        if ids is not None:
            self.encoder.use_rows(ids.tolist())
        elif any(isinstance(module, RowsInUse) for module in self.encoder.modules()):
            raise CheckpointError("The checkpoint trained the whole embedding table; set rows_in_use: false to go on with it.")
        if state.get("loss.pos_weight_L") is not None:
            self.loss.pos_weight_L = state["loss.pos_weight_L"].clone()
        own = self.state_dict()
        for name in self._from_source():
            state.setdefault(name, own[name])
        self._restored = True
