"""The data set behind the loaders: an item is a whole pass, because lengths decide what belongs together."""

from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from tocsin.batches.cache import TokenStore
from tocsin.batches.passes import MessagePass, Step, collate

__all__ = ["SplitRows", "StepLoader"]


class SplitRows(Dataset[np.ndarray]):
    """Rows of one split, by position.

    Args:
        tokens: Of the whole corpus.
        rows: Row numbers in the corpus, ascending, `(N,)`.
        targets_NL: Of these rows, NaN where unknown.
        pad_id: The tokenizer's padding id.
    """

    def __init__(self, tokens: TokenStore, rows: np.ndarray, targets_NL: np.ndarray, pad_id: int) -> None:
        self.tokens, self.rows, self.targets_NL, self.pad_id = tokens, rows, targets_NL, pad_id
        self.lengths = tokens.lengths[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        return chosen

    def message_pass(self, chosen: np.ndarray) -> MessagePass:
        """The pass of these positions; -1 is a filler."""
        rows = np.where(chosen >= 0, self.rows[chosen], -1)
        # A filler borrows the tokens of the first message; its row number keeps its labels out of the loss.
        real = np.maximum(chosen, 0)
        return collate([self.tokens[self.rows[i]] for i in real], self.targets_NL[real], rows, self.pad_id)

    def step(self, chosen: list[np.ndarray]) -> Step:
        """All passes of an optimiser step."""
        return Step([self.message_pass(part) for part in chosen])

    def only_pass(self, chosen: list[np.ndarray]) -> MessagePass:
        """The one pass of an evaluation batch."""
        return self.message_pass(chosen[0])


class StepLoader(DataLoader[Any]):
    """Tells Lightning, which looks for these two methods, that a fit can be resumed within an epoch.

    The position itself is state of the DataModule, counted from the steps that were trained.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing of its own."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to put back."""
