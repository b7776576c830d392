"""What a LabelledMessages DataModule asks of the model beside it, and what a model may ask of the DataModule."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["ReadsTokens", "ServesMessages"]


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
