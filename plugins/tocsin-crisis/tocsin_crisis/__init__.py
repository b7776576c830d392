"""Crisis messages for Tocsin: data sets that `tocsin fetch` brings, a cleaning profile, readers of parallel corpora."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tocsin.plugins import hookimpl

if TYPE_CHECKING:
    from tocsin.plugins import Cleaner, PairReader

__all__ = ["tocsin_cleaners", "tocsin_pair_readers"]


@hookimpl
def tocsin_cleaners() -> list[type[Cleaner]]:
    """The "crisis" profile; imported here, so that finding the plugin imports neither emoji nor ftfy."""
    from tocsin_crisis.cleaner import CrisisCleaner

    return [CrisisCleaner]


@hookimpl
def tocsin_pair_readers() -> list[type[PairReader]]:
    """Aligned files of OPUS, and the gettext catalogs of installed packages."""
    from tocsin_crisis.gettext_catalogs import GettextCatalogs
    from tocsin_crisis.moses import MosesPairs

    return [MosesPairs, GettextCatalogs]
