"""The LightningModule of distillation: a student learns a teacher's sentence vectors from parallel sentences.

Axes: B sentences, S sentences of a step, T tokens, D width of the student, E width of the vectors, K losses.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tocsin.batches.sentences import PairStep, SentencePass
from tocsin.errors import ConfigError
from tocsin.models import checkpointing
from tocsin.models.encoders import Encoder
from tocsin.models.facts import StepFacts
from tocsin.models.gradient_cache import PassesTwice, gather_rows
from tocsin.models.losses import MeanSquaredError, VectorLoss
from tocsin.models.losses.combined import checked_weights, names_of
from tocsin.models.non_finite import NonFinite
from tocsin.models.optimizers import AdamW, Optimizer
from tocsin.models.pair_evaluation import EvaluatesPairs
from tocsin.models.pooling import MeanPooling, Pooling
from tocsin.models.schedules import LinearWithWarmup, Schedule
from tocsin.models.sentence_encoder import SentenceEncoder
from tocsin.models.stepping import StepSettings
from tocsin.models.teacher import Teacher
from tocsin.models.vector_probe import RidgeRegression
from tocsin.text.progress import progress_bar

__all__ = ["Distiller"]


class Distiller(EvaluatesPairs):
    """Teaches an encoder the sentence vectors of another, in English and in the languages of translations.

    The method of Reimers and Gurevych (2020, arXiv 2004.09813): student(English) and student(translation) learn
    teacher(English). Where the widths differ, the student's vector goes through a linear layer that is trained with it;
    the teacher's never does, for a teacher that may move collapses.

    Args:
        encoder: The student.
        teacher: The teacher: any encoder; a SentenceEncoder brings its own pooling and length.
        losses: Added up with their weights; null: MeanSquaredError alone. Losses that compare sentences see whole
            steps, by cached gradients where a step has several passes or ranks: that costs one more forward.
        loss_weights: Factor of each of the losses, above 0, in their order; null: 1 each.
        pooling: Of the student, one that sentence-transformers knows; null: a SentenceEncoder's own, else MeanPooling.
        teacher_pooling: Of the teacher; null: a SentenceEncoder's own, with what follows it, else MeanPooling.
        teacher_max_length: Tokens that the teacher reads at most, special tokens included; null: what its folder says,
            else 128.
        project: Train a linear layer from the student's width to the teacher's where they differ; false refuses that.
        start_from_probe: Before the first step, fit that layer by ridge regression of the teacher's vectors on the
            untrained student's (linear probing, then fine-tuning); there is such a layer then even where the widths are
            equal. The student then starts in the teacher's space instead of walking there, which takes many steps.
        probe_sentences: Sentences of that regression, of both sides, those that the fit's first steps will see.
        probe_l2: Strength of its penalty, on standardised vectors; above 0.
        optimizer: null: AdamW with its defaults.
        schedule: Of the learning rate; null: LinearWithWarmup.
        layer_decay: Factor of the learning rate from one layer of the student to the layer below it, such as 0.9; null:
            one rate.
        ema_decay: Average the trained weights over optimiser steps, keeping this share of the average at each (less in
            the first steps); the averaged weights are those that are validated and shipped. Null: no average.
        gradient_clip: Largest norm of the whole gradient; null for no clipping. See MeanSquaredError's scaling.
        rows_in_use: Train only the rows of the embedding table whose pieces occur in the training sentences; the result
            is that of training the whole table, without its cost.
        validate_first: Score the student before its first step, too.
        non_finite: What to do with an optimiser step whose loss or gradient is not finite: stop the fit, skip the step
            (at most `max_skipped` in a row), or restore: go back to the last good state, halve the learning rate and go
            on with the next pairs.
        max_skipped: Steps that may be skipped in a row before the fit stops all the same.
        restore_steps: Steps between two copies of the good state that `restore` keeps in the host's memory, which takes
            as much as weights, optimiser and average do.
        max_restores: Times that `restore` goes back before the fit stops all the same.
    """

    counts = "pairs"

    def __init__(
        self,
        encoder: Encoder,
        teacher: Encoder,
        losses: list[VectorLoss] | None = None,
        loss_weights: list[float] | None = None,
        pooling: Pooling | None = None,
        teacher_pooling: Pooling | None = None,
        teacher_max_length: int | None = None,
        project: bool = True,
        start_from_probe: bool = False,
        probe_sentences: int = 8192,
        probe_l2: float = 100.0,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        layer_decay: float | None = None,
        ema_decay: float | None = None,
        gradient_clip: float | None = 1.0,
        rows_in_use: bool = True,
        validate_first: bool = True,
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
            ),
            Teacher(teacher, teacher_pooling, teacher_max_length),
        )
        if teacher_max_length is not None and teacher_max_length < 3:
            raise ConfigError(
                f"teacher_max_length is {teacher_max_length}; wanted at least 3 tokens, such as 128."
            )
        if start_from_probe and not project:
            raise ConfigError("start_from_probe starts a linear layer, which project: false refuses.")
        if not probe_l2 > 0 or probe_sentences < 1:
            raise ConfigError(
                f"probe_l2 is {probe_l2} and probe_sentences is {probe_sentences}; wanted a strength above 0 and at "
                "least 1 sentence."
            )
        if pooling is not None and pooling.sentence_transformers_mode is None:
            raise ConfigError(
                f"{type(pooling).__name__} is a pooling that sentence-transformers does not know, so that it could not "
                "load the student. Take MeanPooling, ClsPooling or MaxPooling."
            )
        terms: list[VectorLoss] = [MeanSquaredError()] if losses is None else losses
        self.encoder = encoder
        self.pooling: Pooling | None = pooling
        self.projection: nn.Linear | None = None
        self.loss_weights = checked_weights(terms, loss_weights)
        self.losses = nn.ModuleList(terms)
        self.loss_names = names_of(terms)
        self.project = project
        self.start_from_probe = start_from_probe
        self.probe_sentences = probe_sentences
        self.probe_l2 = probe_l2
        self.rows_in_use = rows_in_use
        self.validate_first = validate_first
        self._couples = any(loss.couples_rows for loss in terms)
        self._terms_K = torch.zeros(len(terms))
        self._factors_K = torch.tensor(self.loss_weights)
        self._built = False
        self._step = PairStep([], 0)
        self._source: str | None = None
        self._restored = False

    # Building --------------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        """The student's tokenizer; the DataModule asks for it."""
        return self.encoder.tokenizer

    @property
    def prompt(self) -> str:
        """Put before every sentence that the student reads; the DataModule asks for it."""
        return self.encoder.prompt

    @property
    def teacher(self) -> Teacher:
        """The teacher, not loaded."""
        return self._teacher

    def build(self) -> None:
        """Read the student's weights, make the projection where one is needed; doing it twice does nothing.

        Raises:
            ConfigError: The widths differ and `project` is false.
        """
        if self._built:
            return
        if self.pooling is None:
            own = self.encoder.own_pooling() if isinstance(self.encoder, SentenceEncoder) else None
            self.pooling = own or MeanPooling()
        self.encoder.load()
        self.pooling.build(self.encoder.config)
        width, wanted = self.encoder.width, self._teacher.width
        if width != wanted or self.start_from_probe:
            if not self.project:
                raise ConfigError(
                    f"The student's vectors have width {width}, the teacher's {wanted}. Set model.init_args.project to "
                    "true, which trains a linear layer from one to the other, or take a teacher of the student's width."
                )
            self.projection = nn.Linear(width, wanted)
            if width == wanted:
                # The untrained student is scored through it, as it is.
                nn.init.eye_(self.projection.weight)
                nn.init.zeros_(self.projection.bias)
        self._built = True

    def configure_model(self) -> None:
        """Build, and put the rows in use in place of the embedding table."""
        self.build()
        self._source = None
        # transformers gives models in evaluation mode, and Lightning leaves modes as they are.
        self.train()
        data = self._pairs()
        longest, wanted = self.encoder.max_tokens, getattr(data, "max_length", 0)
        if longest is not None and wanted > longest:
            raise ConfigError(
                f"max_length is {wanted} tokens, but the student has positions for {longest}; set it to at most that."
            )
        if self._fitting() and self.rows_in_use:
            self.encoder.use_rows(data.pieces_in_use().tolist())
        # Buffers are the same on every rank and never change: broadcasting a table of 250,000 rows each step
        # would cost more than the step.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    # Forward ---------------------------------------------------------------------------------------------------------

    def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Vectors `(B, E)` for token ids `(B, T)` and a 0/1 mask `(B, T)`."""
        assert self.pooling is not None
        vector_BD: Tensor = self.pooling(self.encoder(input_ids_BT, mask_BT), mask_BT)
        return vector_BD if self.projection is None else self.projection(vector_BD)

    def vectors(self, part: SentencePass) -> Tensor:
        """The student's vectors `(B, E)` of a pass."""
        return self(part.input_ids_BT, part.mask_BT)

    # One optimiser step ----------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Compute the teacher's vectors, or find them."""
        self._release_tokenizer()
        self.train()
        self._targets = None
        self._compute_targets("train", "validation")

    def on_train_start(self) -> None:
        """Score the untrained student, start it from a probe where asked for; begin the average of weights."""
        if self.validate_first and not self._restored:
            self._score_untrained()
        if self.start_from_probe and not self._restored:
            self._start_at_probe()
        super().on_train_start()

    @torch.no_grad()
    def _start_at_probe(self) -> None:
        """Set the projection to the regression of the teacher's vectors on the student's."""
        assert self.projection is not None
        trainer = self.trainer
        solved: list[Tensor] = []
        if trainer.is_global_zero:
            self.eval()
            projection, self.projection = self.projection, None
            probe = RidgeRegression(projection.in_features, projection.out_features)
            seen = 0
            with progress_bar("probing", self.probe_sentences, unit="sentences") as advance:
                for part in self._pairs().first_passes():
                    moved = SentencePass(*(tensor.to(self.device) for tensor in part))
                    with trainer.precision_plugin.forward_context():
                        probe.add(self.vectors(moved), self._teachers(moved.english_B), moved.weight_B)
                    advance(len(part.rows_B))
                    seen += len(part.rows_B)
                    if seen >= self.probe_sentences:
                        break
            self.projection = projection
            self.train()
            solved = [value.cpu() for value in probe.solve(self.probe_l2)]
        # One rank's numbers for all.
        weight, bias = trainer.strategy.broadcast(solved)
        self.projection.weight.copy_(weight)
        self.projection.bias.copy_(bias)

    def before_transfer(self, step: PairStep) -> PairStep:
        """Add the teacher's vectors and the counts; the DataModule asks for it before a step moves to a GPU.

        There, looking up and counting would wait for all that the GPU was asked for before.
        """
        return step._replace(
            teacher=[self._teachers(part.english_B) for part in step.passes],
            sides=round(sum(float(part.weight_B.sum()) for part in step.passes)),
            tokens=sum(int(part.mask_BT[part.weight_B > 0].sum()) for part in step.passes),
        )

    def training_step(self, batch: PairStep, batch_idx: int) -> None:
        """Forward and backward pass by pass; clip, step and schedule once."""
        if not batch.teacher:  # a DataModule that does not ask
            batch = self.before_transfer(batch)
        batch = self._step = self._smaller_passes(batch)
        self._factors_K = self._factors_K.to(self.device)
        scale_K = self._scale(self._weights(torch.cat([part.weight_B for part in batch.passes])))
        total, batch = self._within_memory(batch, lambda step: self._backward_of(step, scale_K))
        with_padding = sum(part.mask_BT.numel() for part in batch.passes)
        facts = StepFacts(
            messages=round(batch.sides / 2),
            tokens=batch.tokens,
            padded_tokens=batch.tokens if self.encoder.packs(self.device) else with_padding,
            passes=len(batch.passes),
        )
        if self._finish_step(total, facts):
            terms_K: Any = self.trainer.strategy.reduce(self._terms_K, reduce_op="mean")
            for name, value in zip(self.loss_names, terms_K, strict=True):
                self.log(f"train/loss/{name}", value, batch_size=1)

    def _backward_of(self, step: PairStep, scale_K: Tensor) -> Tensor:
        """Forward and backward of a step's passes; the loss, summed up."""
        self._terms_K = torch.zeros(len(self.losses), device=self.device)
        if self._couples and self._is_cut(step):
            self._synchronising = self.trainer.world_size > 1
            return self._coupled(step, scale_K)
        return self._backward_each(
            list(zip(step.passes, step.teacher, strict=True)), lambda pair: self._loss_of(*pair, scale_K)
        )

    def _is_cut(self, step: PairStep) -> bool:
        """Whether no pass holds the whole step."""
        return len(step.passes) > 1 or self.trainer.world_size > 1

    def _weights(self, weight_S: Tensor) -> Tensor:
        """The weight of each loss over these sentences, `(K,)`."""
        return torch.stack([loss.weight(weight_S) for loss in self.losses])  # type: ignore[operator]

    def _teachers(self, english_B: Tensor) -> Tensor:
        assert self._targets is not None
        return self._targets.of(english_B)

    def _loss_of(self, part: SentencePass, teacher_BE: Tensor, scale_K: Tensor) -> Tensor:
        """The loss of one pass alone."""
        return self._loss(self.vectors(part), teacher_BE, part.weight_B, part.english_B, scale_K)

    def _loss(
        self, student_BE: Tensor, teacher_BE: Tensor, weight_B: Tensor, english_B: Tensor, scale_K: Tensor
    ) -> Tensor:
        """The terms times their scales and weights, added up; each is noted for the logs."""
        sums_K = torch.stack([loss(student_BE, teacher_BE, weight_B, english_B)[0] for loss in self.losses])
        terms_K = sums_K * scale_K
        self._terms_K += terms_K.detach()
        return (terms_K * self._factors_K).sum()

    def _coupled(self, step: PairStep, scale_K: Tensor) -> Tensor:
        """The step under losses that compare its sentences, over all passes and ranks, by cached gradients."""
        world, passes = self.trainer.world_size, step.passes
        runs = PassesTwice(self.device)
        own = runs.first(passes, self.vectors)
        leaf_SE = torch.cat(own).requires_grad_()
        students = gather_rows(leaf_SE, world)
        students[self.trainer.global_rank] = leaf_SE
        weight_S = torch.cat(gather_rows(torch.cat([part.weight_B for part in passes]), world))
        english_S = torch.cat(gather_rows(torch.cat([part.english_B for part in passes]), world))
        teacher_SE = torch.cat(list(step.teacher)) if world == 1 else self._teachers(english_S)
        # Every rank computes the loss of the whole step, of which DDP takes the mean of the gradients.
        total = self._loss(torch.cat(students), teacher_SE, weight_S, english_S, scale_K / world)
        (gradient_SE,) = torch.autograd.grad(total, leaf_SE)
        parts = torch.split(gradient_SE * world, [len(vectors) for vectors in own])
        numbers = iter(range(len(passes)))

        def surrogate(part: SentencePass) -> Tensor:
            """A number whose gradient of the pass's vectors is that of the loss."""
            number = next(numbers)
            with runs.again(number):
                return (self.vectors(part).float() * parts[number]).sum()

        self._backward_each(passes, surrogate)
        return total.detach()

    def _names_of_step(self) -> list[str]:
        rows = torch.cat([part.rows_B for part in self._step.passes]).tolist()
        return [f"training pair {row}" for row in sorted({row for row in rows if row >= 0})]

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the components and keep the history; leave out weights that the student's source holds unchanged."""
        assert self.pooling is not None
        self._check_weights()
        if self._source is None:
            self._source = checkpointing.source_digest(self.encoder)
        checkpointing.complete_distiller(
            checkpoint, self.encoder, self.pooling, self._teacher.width, self._source
        )
        checkpoint["tocsin"]["history"] = [found.plain() for found in self.history]
        checkpoint["tocsin"]["steps"] = self.steps_state()
        if self._average is not None:
            checkpointing.add_average(checkpoint, self._average)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare the components, take the rows in use, and put back what the student's source holds.

        Raises:
            CheckpointError: Made by something else, or for another student.
        """
        self.build()
        assert self.pooling is not None
        checkpointing.check_distiller(checkpoint, self.encoder, self.pooling, self._teacher.width)
        state = checkpoint["state_dict"]
        checkpointing.take_rows_in_use(state, self.encoder)
        if self._source is None:
            self._source = checkpointing.source_digest(self.encoder)
        checkpointing.check_source(checkpoint, self._source)
        own = self.state_dict()
        for name in checkpointing.names_from_source(self.encoder):
            state.setdefault(name, own[name])
        self._take_history(checkpoint["tocsin"].get("history", []))
        self._steps_of_weights = int(checkpoint.get("global_step", 0))
        self.take_steps_state(checkpoint["tocsin"].get("steps"))
        self._restored = True
        # These weights replace an average of before; a fit that goes on takes the checkpoint's.
        self._average = None
        self._average_state = (
            checkpointing.average_of(checkpoint, self.ema_decay) if self._fitting() else None
        )
