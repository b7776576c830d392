"""Encoder, pooling and head in a row: how token ids become logits or features.

Axes: B messages, T tokens, F features, L labels.
"""

from torch import Tensor

from tocsin.errors import ConfigError
from tocsin.models.encoders import Encoder
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.pooling import Pooling

__all__ = ["features", "logits"]


def logits(
    encoder: Encoder, pooling: Pooling | None, head: Head, input_ids_BT: Tensor, mask_BT: Tensor
) -> Tensor:
    """Logits `(B, L)` for token ids `(B, T)` and a 0/1 mask `(B, T)`."""
    hidden_BTD = encoder(input_ids_BT, mask_BT)
    vector_BD = None if pooling is None else pooling(hidden_BTD, mask_BT)
    return head(hidden_BTD, mask_BT, vector_BD)


def features(
    encoder: Encoder, pooling: Pooling | None, head: Head, input_ids_BT: Tensor, mask_BT: Tensor
) -> Tensor:
    """What a `FeatureHead` reads, `(B, F)`.

    Raises:
        ConfigError: The head reads all tokens.
    """
    if not isinstance(head, FeatureHead):
        raise ConfigError(f"{type(head).__name__} reads all tokens; it has no features to compute once.")
    hidden_BTD = encoder(input_ids_BT, mask_BT)
    vector_BD = None if pooling is None else pooling(hidden_BTD, mask_BT)
    return head.features(hidden_BTD, mask_BT, vector_BD)
