"""The chain that ships with a checkpoint's weights."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from tocsin.bundles.load import BundleWarning, restore_chain
from tocsin.bundles.manifest import read_manifest
from tocsin.files import file_sha256
from tocsin.plugins.registry import Registry
from tocsin.scores.chain import Chain

__all__ = ["chain_beside"]


def chain_beside(checkpoint: Path, registry: Registry) -> Chain | None:
    """Return the chain of the bundle that was written of a run's best checkpoint.

    Args:
        checkpoint: `RUN/checkpoints/best.ckpt`; the bundle is `RUN/bundle`, or the latest of a run that was continued.
            Any other checkpoint has other weights, to which no chain was fitted.
        registry: Offers the steps.

    Returns:
        None where there is no such bundle, or it has no chain; with a warning, where it was made of another checkpoint,
        or its chain needs a plugin that is not in use here.

    Raises:
        BundleError: The bundle is damaged.
    """
    run = checkpoint.resolve().parent.parent
    if checkpoint.name != "best.ckpt" or not run.is_dir():
        return None
    written = {
        int(found[1] or 1): path
        for path in run.iterdir()
        if (found := re.fullmatch(r"bundle(?:-(\d+))?", path.name)) and (path / "tocsin.json").is_file()
    }
    if not written:
        return None
    folder = written[max(written)]
    manifest = read_manifest(folder)
    if manifest.chain is None:
        return None
    told = manifest.facts.get("checkpoint")
    if told is not None and told != file_sha256(checkpoint):
        warnings.warn(
            f"{folder} was made of another {checkpoint.name} than stands here now, so its chain {manifest.chain.name} "
            "is not applied: figures of this test are of raw scores, on from .5.",
            BundleWarning,
            stacklevel=2,
        )
        return None
    chain, fault = restore_chain(manifest.chain, registry, manifest.labels, folder)
    if fault:
        warnings.warn(
            f"{fault} Figures of this test are of raw scores, on from .5.", BundleWarning, stacklevel=2
        )
    return chain
