"""The half of a distiller that validates. Axes: B sentences, N pairs, D width."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tocsin.batches.protocols import ServesPairs
from tocsin.batches.sentences import SentencePass
from tocsin.errors import ConfigError
from tocsin.models.matching import Figures, SideCollector, figures
from tocsin.models.stepping import StepsByHand, StepSettings
from tocsin.models.teacher import Teacher
from tocsin.models.teacher_vectors import TeacherVectors

__all__ = ["EvaluatesPairs"]


class EvaluatesPairs(StepsByHand):
    """Matches held-out pairs by their vectors; a distiller gives the vectors.

    Attributes:
        history: What each validation found, the student before the fit first.
        monitored: The metric by which the best checkpoint is chosen.
    """

    monitored = "validation/matching"

    def __init__(self, settings: StepSettings, teacher: Teacher) -> None:
        super().__init__(settings)
        # Not a module: a teacher in the state would be saved, and trained by whoever asks for all parameters.
        self._teacher = teacher
        self._targets: TeacherVectors | None = None
        self._collector = SideCollector()
        self.history: list[Figures] = []

    @abstractmethod
    def vectors(self, part: SentencePass) -> Tensor:
        """The student's vectors `(B, D)` of a pass."""

    def _pairs(self) -> ServesPairs:
        data = getattr(self._trainer, "datamodule", None) if self._trainer is not None else None
        if not isinstance(data, ServesPairs):
            raise ConfigError(
                "A Distiller needs a DataModule that serves pairs of sentences, such as ParallelSentences; "
                f"got {type(data).__name__ if data is not None else 'none'}."
            )
        return data

    # The teacher's vectors -------------------------------------------------------------------------------------------

    def _compute_targets(self, *splits: str) -> TeacherVectors:
        """Have the teacher's vectors of these splits at hand; its weights are in memory meanwhile alone."""
        if self._targets is not None:
            return self._targets
        targets = TeacherVectors(self._pairs(), self._teacher, show=self.trainer.is_global_zero)
        # Rank 0 first: the others then find its files, or compute them where folders are not shared.
        for turn in (True, False):
            if self.trainer.is_global_zero == turn:
                targets.prepare(splits, self.device)
            self.trainer.strategy.barrier("teacher")
        self._targets = targets
        return targets

    def on_fit_end(self) -> None:
        """Let go what belonged to this fit."""
        self._targets = None
        self._average_state = None

    # Validation ------------------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Have the teacher's vectors at hand, where a fit has not brought them."""
        self._compute_targets("validation")

    def on_validation_end(self) -> None:
        """Let go what belonged to a validation without a fit: a fit needs other sentences, too."""
        if not self._fitting():
            self._targets = None

    def on_validation_epoch_start(self) -> None:
        """Begin anew; the averaged weights are those to be scored."""
        if self._average is not None:
            self._average.put_in_place()
        self._collector = SideCollector()

    def validation_step(self, batch: SentencePass, batch_idx: int) -> None:
        """Collect the vectors of one pass, of either side."""
        self._evaluate_within_memory(batch, lambda part: self._collector.add(part, self.vectors(part)))

    def on_validation_epoch_end(self) -> None:
        """Match the pairs of each language."""
        if not self.trainer.sanity_checking:
            limit = self.trainer.limit_val_batches
            found = self._figures(
                self._collector, self.trainer.world_size, isinstance(limit, float) and limit == 1.0
            )
            if found.matching:
                self.history = [*(kept for kept in self.history if kept.step != found.step), found]
                for name, value in found.scalars().items():
                    self.log(name, value, prog_bar=name == self.monitored, batch_size=1)
        self._collector = SideCollector()
        if self._average is not None and self._fitting():
            self._average.take_back()

    def _figures(self, collector: SideCollector, world_size: int, whole: bool) -> Figures:
        text, english = collector.gather("text", world_size), collector.gather("english", world_size)
        pairs = self._pairs().validation_pairs()
        numbers = pairs["english"].to_numpy()
        assert self._targets is not None
        teacher_ND = self._targets.of(torch.from_numpy(numbers[text[0]].astype(np.int64))).numpy()
        langs = np.asarray(pairs["lang"].to_pylist(), dtype=object)
        return figures(self.steps_of_weights, langs, numbers, text, english, teacher_ND, whole=whole)

    @torch.no_grad()
    def _score_untrained(self) -> None:
        """Score the student as it is before the first step, on rank 0, as step 0 of the curves."""
        data, trainer = self._pairs(), self.trainer
        if trainer.is_global_zero and len(data.validation_pairs()) and trainer.limit_val_batches != 0:
            self.eval()
            collector = SideCollector()
            for side in ("text", "english"):
                for part in data.sentence_passes("validation", side):
                    moved = SentencePass(*(tensor.to(self.device) for tensor in part))
                    with trainer.precision_plugin.forward_context():
                        collector.add(moved, self.vectors(moved))
            self.train()
            found = self._figures(collector, 1, whole=True)
            self.history = [found]
            for logger in trainer.loggers:
                logger.log_metrics(found.scalars(), step=0)
        trainer.strategy.barrier("untrained")

    def _take_history(self, plain: list[dict[str, Any]]) -> None:
        self.history = [Figures(**found) for found in plain]
