"""Crisis messages for Tocsin: data sets that `tocsin fetch` brings, and the cleaning profile of crisis encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tocsin.plugins import hookimpl

if TYPE_CHECKING:
    from tocsin.plugins import Cleaner

__all__ = ["tocsin_cleaners"]


@hookimpl
def tocsin_cleaners() -> list[type[Cleaner]]:
    """The "crisis" profile; imported here, so that finding the plugin imports neither emoji nor ftfy."""
    from tocsin_crisis.cleaner import CrisisCleaner

    return [CrisisCleaner]
