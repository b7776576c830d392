"""Features of messages under an encoder that does not change: computed once, kept in a content-addressed cache.

Axes: B messages in a pass, n messages, F features.
"""

import hashlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tocsin.batches.cache import content_key
from tocsin.batches.passes import MessagePass
from tocsin.batches.protocols import ServesMessages
from tocsin.cache_entries import cached_file
from tocsin.files import cache_folder, reserve
from tocsin.models.encoders import Encoder
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.pooling import Pooling
from tocsin.text.progress import progress_bar

__all__ = ["FrozenFeatures", "network_key"]


def network_key(encoder: Encoder, pooling: Pooling | None, head: Head) -> str:
    """Content key of everything between tokens and features: weights, prompt, pooling, head."""
    parts = [
        [type(part).__module__, type(part).__qualname__, part.arguments]
        for part in (pooling, head)
        if part is not None
    ]
    weights = {} if pooling is None else pooling.state_dict()
    learned = [
        [name, hashlib.sha256(value.detach().float().cpu().numpy().tobytes()).hexdigest()]
        for name, value in sorted(weights.items())
    ]
    # What a head takes from the encoder's configuration: two folders of equal weights may differ in it.
    reads = head.reads if isinstance(head, FeatureHead) else ""
    return content_key(encoder=encoder.digest, parts=parts, pooling=learned, reads=reads)


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
            key = content_key(
                network=self.network,
                tokens=self.data.tokens_key(),
                rows=hashlib.sha256(rows.tobytes()).hexdigest(),
            )
            path = cached_file(cache_folder("vectors") / f"{key}.npy", partial(self._run, rows))
            # Memory-mapped; "c" because torch wants memory that it could write to.
            self._features[split] = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
            self._rows[split] = rows
        return self._features[split]

    def _run(self, rows: np.ndarray, path: Path) -> None:
        values: np.ndarray | None = None
        with (
            progress_bar("encoding once", len(rows), unit="messages", show=self.show) as advance,
            torch.no_grad(),
        ):
            for part in self.data.passes(rows):
                features = self.features_of(part).float().cpu().numpy()
                if values is None:
                    shape = (len(rows), features.shape[1])
                    values = _new_array(path, shape)
                values[np.searchsorted(rows, part.rows_B.cpu().numpy())] = features
                advance(len(features))
        if values is None:
            with path.open("wb") as file:
                np.save(file, np.zeros((0, 1), dtype=np.float32))

    def of(self, part: MessagePass, split: str) -> Tensor | None:
        """Features `(B, F)` of a pass of that split; None for a split that was not computed."""
        if split not in self._features:
            return None
        at = np.searchsorted(self._rows[split], part.rows_B.clamp(min=0).cpu().numpy())
        # A filler has no row of its own, and no weight.
        return self._features[split][torch.from_numpy(np.minimum(at, len(self._rows[split]) - 1))]


def _new_array(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A memory-mapped .npy file that the disk has room for."""
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    reserve(path, len(header.getvalue()) + 4 * shape[0] * shape[1])
    with path.open("r+b") as file:
        file.write(header.getvalue())
    values: np.ndarray = np.lib.format.open_memmap(path, mode="r+")
    return values
