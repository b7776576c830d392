"""Writes the bundle after a fit, from the best checkpoint."""

import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from tocsin.arguments import CORE, Origin, RemembersArguments, fault_of_arguments
from tocsin.bundles.card import model_card
from tocsin.bundles.reading import SavedReading, saved_reading
from tocsin.bundles.save import save_bundle
from tocsin.errors import ConfigError, TrainingError
from tocsin.files import FullDiskWarning, fallback_folder, file_sha256, is_no_room
from tocsin.models.classifier import MultilabelClassifier
from tocsin.models.non_finite import all_finite
from tocsin.scores.table import ScoresTable
from tocsin.text.cleaners import Cleaner

__all__ = ["BundleWriter", "checkpoint_facts", "take_best", "where_there_is_room"]


class BundleWriter(Callback):
    """After a fit, takes the best checkpoint's weights and writes a bundle.

    Args:
        folder: Where the bundle goes; must not exist.
        name: Heading of the model card.
        scores: File of the validation scores at the best checkpoint; null takes those of the last validation.
        origin: Tells the distribution that offers a component, for the bundle to note; see `save_bundle`.
    """

    def __init__(
        self,
        folder: str,
        name: str = "model",
        scores: str | None = None,
        origin: Callable[[type], Origin] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.name = name
        self.scores = scores
        self.origin = origin

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse, before anything is trained, a component that no bundle could build again.

        Raises:
            ConfigError: An argument of cleaner, pooling or head is no plain data.
        """
        data: Any = getattr(trainer, "datamodule", None)
        cleaner = getattr(data, "cleaner", None)
        if stage != "fit" or cleaner is None or not isinstance(pl_module, MultilabelClassifier):
            return
        for part in self._parts(cleaner, pl_module):
            fault = fault_of_arguments(part)
            if fault:
                raise ConfigError(f"No bundle could be written after this fit: {fault}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the bundle on rank 0; the module is left with the best checkpoint's weights."""
        if (
            not isinstance(pl_module, MultilabelClassifier)
            or trainer.interrupted
            or not trainer.is_global_zero
        ):
            return
        facts = checkpoint_facts(trainer, take_best(trainer, pl_module))
        data: Any = getattr(trainer, "datamodule", None)
        if data is None or not hasattr(data, "cleaner"):
            rank_zero_info(
                "No bundle was written: the fit had no LabelledMessages, so cleaner and length are unknown."
            )
            return
        scores = Path(self.scores) if self.scores else None
        table = (
            ScoresTable.read(scores) if scores and scores.is_file() else pl_module.scores.get("validation")
        )
        if table is not None:
            table = _of_checkpoint(table, facts)
        if table is not None and "run" in table.metadata:
            facts["run"] = table.metadata["run"]
        card = model_card(
            self.name,
            pl_module,
            table,
            data.provenance(),
            max_length=data.max_length,
            cleaner=type(data.cleaner).__name__,
            plugins=self._plugins(data.cleaner, pl_module),
        )
        device = pl_module.device
        model = pl_module.cpu()

        def save(folder: Path) -> None:
            save_bundle(
                folder,
                model,
                cleaner=data.cleaner,
                max_length=data.max_length,
                card=card,
                version=version("tocsin"),
                origin=self.origin,
                facts=facts,
                reading=self._reading(data),
            )

        self.folder = where_there_is_room(self.folder, save)
        pl_module.to(device)

    def _reading(self, data: Any) -> SavedReading | None:
        """How the data was read; None of a plugin's data that does not say."""
        if not all(hasattr(data, name) for name in ("reader", "text", "id", "lang")):
            return None
        columns = {"text": data.text, "id": data.id, "lang": data.lang}
        return saved_reading(data.reader, data.provenance().get("files", {}), columns, self.origin)

    def _plugins(self, cleaner: Cleaner, model: MultilabelClassifier) -> list[Origin]:
        """Return the distributions, beside ours, that offer what the bundle will name."""
        if self.origin is None:
            return []
        origins = dict.fromkeys(self.origin(type(part)) for part in self._parts(cleaner, model))
        return [origin for origin in origins if origin.distribution != CORE]

    @staticmethod
    def _parts(cleaner: Cleaner, model: MultilabelClassifier) -> list[RemembersArguments]:
        """Return what the bundle will name."""
        return [part for part in (cleaner, model.pooling, model.head) if part is not None]


def where_there_is_room(folder: Path, save: Callable[[Path], None]) -> Path:
    """Save a bundle as `folder`; where its disk is full or read-only, below $TMPDIR, which is said.

    Returns:
        Where it lies.
    """
    try:
        save(folder)
        return folder
    except Exception as error:
        if not is_no_room(error):
            raise
        elsewhere = fallback_folder(folder.parent) / folder.name
        warnings.warn(
            f"The bundle {folder} cannot be written ({str(error).splitlines()[0]}); it goes to {elsewhere}.",
            FullDiskWarning,
            stacklevel=2,
        )
    elsewhere.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    save(elsewhere)
    return elsewhere


def take_best(trainer: Trainer, module: LightningModule) -> int | None:
    """Give the module the best checkpoint's weights; return its optimiser steps, None where there is no best.

    Raises:
        TrainingError: A weight that a bundle would ship is not finite.
    """
    best, steps = getattr(trainer.checkpoint_callback, "best_model_path", ""), None
    if best:
        checkpoint = trainer.strategy.checkpoint_io.load_checkpoint(best)
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
        steps = int(checkpoint["global_step"])
    if not all_finite(module.parameters()):
        raise TrainingError(
            "The weights are not finite, so that no bundle was written. Lower the learning rate, or use precision 32."
        )
    return steps


def checkpoint_facts(trainer: Trainer, step: int | None) -> dict[str, str]:
    """What a bundle notes of the checkpoint that it is made of: `checkpoint`, SHA-256 of the file, and its `step`."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    where = getattr(trainer.strategy.checkpoint_io, "where", Path)
    file = where(Path(best)) if best else None  # a full disk may have sent it elsewhere, or nowhere
    if file is None or not file.is_file():
        return {}
    return {"checkpoint": file_sha256(file), "step": str(step)}


def _of_checkpoint(table: ScoresTable, facts: dict[str, str]) -> ScoresTable | None:
    """The validation scores, if of the bundle's checkpoint or if they do not say; else None, with a warning."""
    told = table.metadata.get("checkpoint")
    # A best checkpoint that has no room on any disk has no digest here, and what lies there is of an earlier one.
    if told is None or told == facts.get("checkpoint"):
        return table
    rank_zero_warn(
        "The validation scores are of another checkpoint than the bundle is made of, so its model card shows no "
        "figures. Score again: tocsin validate."
    )
    return None
