"""The half of a classifier that validates and tests. Axes: B messages, N messages, L labels."""

from abc import abstractmethod

import torch
from torch import Tensor

from tocsin.batches.passes import MessagePass
from tocsin.batches.protocols import ServesMessages
from tocsin.labels.schemes import LabelScheme, check_same_labels
from tocsin.models.losses import Loss
from tocsin.models.scoring import LogitCollector, scores_table
from tocsin.models.stepping import StepsByHand, StepSettings
from tocsin.scores.chain import Chain
from tocsin.scores.metrics import evaluate
from tocsin.scores.table import ScoresTable

__all__ = ["EvaluatesMessages"]


class EvaluatesMessages(StepsByHand):
    """Scores whole splits; a classifier gives the logits.

    Attributes:
        scores: The last scores table of each split.
        chain: Applied to the scores of the test split: the one that ships with these weights. None for raw scores.
    """

    labels: LabelScheme
    loss: Loss

    def __init__(self, settings: StepSettings) -> None:
        super().__init__(settings)
        self.scores: dict[str, ScoresTable] = {}
        self.chain: Chain | None = None
        self._collector = LogitCollector(0)

    @abstractmethod
    def _logits(self, part: MessagePass, split: str) -> Tensor:
        """Logits `(B, L)` of a pass of that split."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """L names in the order of the logits."""
        return tuple(self.labels.names)

    def _messages(self) -> ServesMessages | None:
        data = getattr(self._trainer, "datamodule", None) if self._trainer is not None else None
        if data is not None and hasattr(data, "labels"):
            check_same_labels(
                data.labels.names, self.label_names, where="the model", what="the data's labels"
            )
        return data if isinstance(data, ServesMessages) else None

    def on_validation_epoch_start(self) -> None:
        """Begin a new table; the averaged weights are those to be scored."""
        if self._average is not None:
            self._average.put_in_place()
        self._collector = LogitCollector(len(self.label_names))

    def on_test_epoch_start(self) -> None:
        """Begin a new table."""
        self._collector = LogitCollector(len(self.label_names))

    def validation_step(self, batch: MessagePass, batch_idx: int) -> None:
        """Collect logits of one pass."""
        self._evaluate_within_memory(batch, lambda part: self._collect(part, "validation"))

    def test_step(self, batch: MessagePass, batch_idx: int) -> None:
        """Collect logits of one pass, in float32 whatever the fit's precision: these are the figures that ship."""
        with torch.autocast(self.device.type, enabled=False):
            self._evaluate_within_memory(batch, lambda part: self._collect(part, "test"))

    def _collect(self, part: MessagePass, split: str) -> None:
        logits_BL = self._logits(part, split).float()
        self._collector.add(part.rows_B, logits_BL, *self.loss(logits_BL, part.targets_BL, part.known_BL))

    def on_validation_epoch_end(self) -> None:
        """Score the whole validation split."""
        if not self.trainer.sanity_checking:
            self._score("validation", _is_whole(self.trainer.limit_val_batches))
        if self._average is not None and self._fitting():
            self._average.take_back()

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
                data, split, rows, logits_NL, self.label_names, whole=whole, steps=self.steps_of_weights
            )
            if split == "test" and self.chain is not None:
                table = self.chain.apply(table)
            self.scores[split] = table
            for name, value in evaluate(table).flat().items():
                self.log(f"{split}/{name}", value, prog_bar=name == "macro_roc_auc", batch_size=1)


def _is_whole(limit: int | float) -> bool:
    """Whether a Trainer's limit is the share 1.0, not one batch."""
    return isinstance(limit, float) and limit == 1.0
