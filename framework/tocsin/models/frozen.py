"""Features of messages under an encoder that does not change: computed once, kept in a content-addressed cache.

Axes: B messages in a pass, n messages, F features.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tocsin.batches.cache import content_key
from tocsin.batches.passes import MessagePass
from tocsin.batches.protocols import ServesMessages
from tocsin.text.folders import cache_folder, whole_file
from tocsin.text.progress import progress_bar

__all__ = ["FrozenFeatures"]


class FrozenFeatures:
    """What a head reads of each message, by split.

    Args:
        data: Serves rows and passes.
        network: Digest of everything between tokens and features: weights, prompt, pooling, head.
        features_of: One pass to `(B, F)`, without gradient and dropout.
        show: Whether to show a progress bar.
    """

    def __init__(
        self, data: ServesMessages, network: str, features_of: Callable[[MessagePass], Tensor], show: bool
    ) -> None:
        self.data, self.network, self.features_of, self.show = data, network, features_of, show
        self._features: dict[str, Tensor] = {}
        self._rows: dict[str, np.ndarray] = {}

    def compute(self, split: str) -> Tensor:
        """Features `(n, F)` float32 of a split in the order of its rows, cached or by one run of the encoder."""
        if split not in self._features:
            rows = self.data.rows(split)
            key = content_key(network=self.network, tokens=self.data.tokens_key(), rows=rows.tolist())
            path = cache_folder("vectors") / f"{key}.npy"
            if not path.exists():
                values = self._run(rows)
                with whole_file(path) as part, part.open("wb") as file:
                    np.save(file, values)
            self._features[split] = torch.from_numpy(np.load(path, allow_pickle=False))
            self._rows[split] = rows
        return self._features[split]

    def _run(self, rows: np.ndarray) -> np.ndarray:
        values = np.zeros((len(rows), 0), dtype=np.float32)
        with (
            progress_bar("encoding once", len(rows), unit="messages", show=self.show) as advance,
            torch.no_grad(),
        ):
            for part in self.data.passes(rows):
                features = self.features_of(part).float().cpu().numpy()
                if not values.shape[1]:
                    values = np.empty((len(rows), features.shape[1]), dtype=np.float32)
                values[np.searchsorted(rows, part.rows_B.cpu().numpy())] = features
                advance(len(features))
        return values

    def of(self, part: MessagePass, split: str) -> Tensor | None:
        """Features `(B, F)` of a pass of that split; None for a split that was not computed."""
        if split not in self._features:
            return None
        at = np.searchsorted(self._rows[split], part.rows_B.clamp(min=0).cpu().numpy())
        # A filler has no row of its own, and no weight.
        return self._features[split][torch.from_numpy(np.minimum(at, len(self._rows[split]) - 1))]
