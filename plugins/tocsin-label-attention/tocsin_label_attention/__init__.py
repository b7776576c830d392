"""A head that attends to a message's tokens separately for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tocsin.plugins import hookimpl

if TYPE_CHECKING:
    from tocsin.plugins import Head

__all__ = ["tocsin_heads"]


@hookimpl
def tocsin_heads() -> list[type[Head]]:
    """Attention a label; imported here, so that finding the plugin does not import torch."""
    from tocsin_label_attention.head import LabelAttentionHead

    return [LabelAttentionHead]
