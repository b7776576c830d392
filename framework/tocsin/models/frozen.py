"""Features of messages under an encoder that does not change: computed once, kept in a content-addressed cache.

Axes: n messages, F features.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tocsin.batches.passes import MessagePass
from tocsin.text.folders import cache_folder, whole_file
from tocsin.text.progress import progress_bar

__all__ = ["compute_features", "features_path"]


def features_path(key: str) -> Path:
    """Where features of that content key are kept."""
    return cache_folder("vectors") / f"{key}.npy"


def compute_features(
    path: Path,
    rows: np.ndarray,
    passes: Callable[[], Iterable[MessagePass]],
    features_of: Callable[[MessagePass], Tensor],
    show: bool = True,
) -> np.ndarray:
    """Features of `rows`, from the cache or by one pass through the encoder.

    Args:
        path: From `features_path`; its key must name the encoder's weights, the texts and what is picked as features.
        rows: Row numbers in the corpus, ascending, `(n,)`.
        passes: Gives passes that cover `rows`.
        features_of: One pass to `(B, F)`.
        show: Whether to show a progress bar.

    Returns:
        `(n, F)` float32 in the order of `rows`, memory-mapped, read-only.
    """
    if not path.exists():
        store: np.ndarray | None = None
        with progress_bar("reading vectors off the frozen encoder", len(rows), unit="messages", show=show) as advance:
            with torch.no_grad():
                for part in passes():
                    features = features_of(part).float().cpu().numpy()
                    if store is None:
                        store = np.empty((len(rows), features.shape[1]), dtype=np.float32)
                    store[np.searchsorted(rows, part.rows_B.cpu().numpy())] = features
                    advance(len(features))
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.empty((0, 0), dtype=np.float32) if store is None else store)
    return np.load(path, mmap_mode="r", allow_pickle=False)
