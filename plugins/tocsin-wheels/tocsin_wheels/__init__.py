"""Encoders whose weights travel inside Python packages, for machines that reach no model hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tocsin.plugins import hookimpl

if TYPE_CHECKING:
    from tocsin.plugins import Encoder

__all__ = ["tocsin_encoders"]


@hookimpl
def tocsin_encoders() -> list[type[Encoder]]:
    """MiniLM for English, E5 for about a hundred languages."""
    from tocsin_wheels.encoders import E5SmallMultilingual, MiniLmEnglish

    return [MiniLmEnglish, E5SmallMultilingual]
