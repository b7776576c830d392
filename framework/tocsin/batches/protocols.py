"""What a DataModule asks of the model beside it, and what a model may ask of its DataModule."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

__all__ = ["ReadsTokens", "ServesMessages", "ServesPairs"]


@runtime_checkable
class ReadsTokens(Protocol):
    """A LightningModule whose tokenizer the DataModule uses (found as `trainer.lightning_module`)."""

    @property
    def tokenizer(self) -> Any:
        """A fast transformers tokenizer."""

    @property
    def prompt(self) -> str:
        """Put before every message; empty for none."""


@runtime_checkable
class ServesMessages(Protocol):
    """A DataModule that a MultilabelClassifier can train on."""

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, ascending, `(n,)`."""

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Targets `(n, L)` float32, NaN where unknown."""

    def prior(self) -> np.ndarray:
        """Share of positives of each label among known training labels, `(L,)`, NaN where none is known."""

    def pieces_in_use(self) -> np.ndarray:
        """Token ids that occur in the training split, sorted."""

    def passes(self, rows: np.ndarray) -> Any:
        """Iterate over `MessagePass` that cover these rows, each once."""

    def describe(self, rows: np.ndarray) -> dict[str, Any]:
        """`ids`, `langs` and `slices` of these rows, for the scores table."""

    def tokens_key(self) -> str:
        """Content key of the token cache."""


@runtime_checkable
class ServesPairs(Protocol):
    """A DataModule that a Distiller can train on: its training batches are `PairStep`.

    It may pass each step through the model's `before_transfer` while it is in the host's memory (`ParallelSentences`
    does, in `on_before_batch_transfer`), which spares a GPU some waiting; a step that did not is completed later.

    E is the number of distinct English sentences of all sources, languages and splits; each has one number.
    """

    def english(self) -> pa.ChunkedArray:
        """The distinct English sentences `(E,)`, memory-mapped, for the teacher."""

    def english_key(self) -> str:
        """Content key of `english()`: equal keys mean equal sentences in equal order."""

    def english_rows(self, split: str) -> np.ndarray:
        """Numbers of the English sentences a fit needs of a split ("train", "validation"), each once, ascending."""

    def pieces_in_use(self) -> np.ndarray:
        """Ids of the student's tokens that occur in the training split, sorted."""

    def validation_pairs(self) -> pa.Table:
        """The held-out pairs, a row each: `lang`, `source` and `text` (strings), `english` (int64 number).

        Their order does not change; the table is memory-mapped or small.
        """

    def sentence_passes(self, split: str, side: str) -> Any:
        """Iterate over `SentencePass` that cover the sentences of one side of a split, each once, longest first.

        `side` is "text" (`rows_B` are then row numbers of that split's pairs) or "english" (`rows_B` are then English
        numbers, each distinct sentence once). With "text" and "validation" the rows are those of `validation_pairs()`.
        """

    def first_passes(self) -> Any:
        """Iterate over the `SentencePass` of a fit's first epoch, whole steps of one process, from its beginning."""
