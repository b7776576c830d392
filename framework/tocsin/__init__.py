"""Tocsin: train, distil, calibrate and ship multilingual early-warning text classifiers from one YAML file.

``tocsin.load(folder)`` opens a bundle. Everything else lives in the rooms (``tocsin.text`` to
``tocsin.cli``); plugins import ``tocsin.plugins``. Importing this package imports neither torch nor
lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tocsin.bundles.encoder import EncoderBundle
    from tocsin.bundles.ensemble import EnsembleBundle
    from tocsin.bundles.load import Bundle

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def load(folder: str | Path, device: str = "cpu") -> Bundle | EnsembleBundle | EncoderBundle:
    """Open a bundle that ``tocsin fit`` or ``tocsin ensemble`` wrote.

    Args:
        folder: The bundle's folder.
        device: Where to compute, such as "cpu" or "cuda".

    Returns:
        The bundle: ``.labels``, ``.clean(text)``, ``.predict(texts)``, ``.encode(texts)``; of a distilled encoder
        ``.encode(texts)`` alone; an ensemble has no ``.encode``.

    Raises:
        BundleError: The folder is incomplete, altered, or needs a component that is not installed.
    """
    from pathlib import Path

    from tocsin.bundles.encoder import load_encoder_bundle
    from tocsin.bundles.ensemble import load_classifier
    from tocsin.bundles.load import ROLES
    from tocsin.bundles.manifest import kind_of
    from tocsin.plugins.manager import load_plugins

    if kind_of(Path(folder)) == "encoder":
        return load_encoder_bundle(folder, registry=load_plugins(roles=ROLES), device=device)
    return load_classifier(Path(folder), registry=load_plugins(roles=ROLES), device=device)
