"""From a bundle to another program's format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.arguments import RemembersArguments

if TYPE_CHECKING:
    from tocsin.bundles.load import Bundle

__all__ = ["Exporter"]


class Exporter(RemembersArguments, ABC):
    """Role: a loaded bundle -> files of another format. Chosen by `tocsin export --exporter NAME`."""

    @abstractmethod
    def export(self, bundle: Bundle, folder: Path) -> None:
        """Write the bundle into an existing, empty folder, which becomes visible when this returns.

        The files must give the bundle's probabilities, within a tolerance that the exporter's docstring states.

        Args:
            bundle: As `tocsin.load` gives it: `labels` in order, `clean`, `predict`, `encode`, `folder`.
            folder: Where the files go, and nowhere else.

        Raises:
            BundleError: This bundle cannot be put into that format; says why.
        """
