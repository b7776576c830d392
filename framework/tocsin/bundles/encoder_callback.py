"""Writes the bundle of the encoder after a distillation, from the best checkpoint."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from tocsin.arguments import Origin, fault_of_arguments
from tocsin.bundles.callback import checkpoint_facts, take_best, where_there_is_room
from tocsin.bundles.encoder import save_encoder_bundle
from tocsin.bundles.encoder_card import encoder_card
from tocsin.errors import ConfigError
from tocsin.models.distiller import Distiller

__all__ = ["EncoderBundleWriter"]

_LENGTH = 128  # tokens, of a DataModule that does not tell its own


class EncoderBundleWriter(Callback):
    """After a distillation, takes the best checkpoint's weights and writes the student's bundle.

    Args:
        folder: Where the bundle goes; must not exist.
        name: Heading of the model card.
        origin: Tells the distribution that offers a component, for the bundle to note; see `save_encoder_bundle`.
    """

    def __init__(
        self, folder: str, name: str = "encoder", origin: Callable[[type], Origin] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.name = name
        self.origin = origin

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse, before anything is trained, a pooling that no bundle could build again.

        Raises:
            ConfigError: An argument of the pooling is no plain data.
        """
        if stage == "fit" and isinstance(pl_module, Distiller) and pl_module.pooling is not None:
            fault = fault_of_arguments(pl_module.pooling)
            if fault:
                raise ConfigError(f"No bundle could be written after this fit: {fault}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the bundle on rank 0; the module is left with the best checkpoint's weights."""
        if not isinstance(pl_module, Distiller) or trainer.interrupted or not trainer.is_global_zero:
            return
        history = pl_module.history
        step = take_best(trainer, pl_module)
        pl_module.history = history
        data: Any = getattr(trainer, "datamodule", None)
        positions = pl_module.encoder.max_tokens
        length = int(getattr(data, "max_length", min(_LENGTH, positions or _LENGTH)))
        facts = data.provenance() if hasattr(data, "provenance") else {}
        device = pl_module.device
        model = pl_module.cpu()

        def save(folder: Path) -> None:
            save_encoder_bundle(
                folder,
                model,
                max_length=length,
                card=encoder_card(self.name, model, facts, max_length=length, step=step),
                version=version("tocsin"),
                origin=self.origin,
                facts=checkpoint_facts(trainer, step),
            )

        self.folder = where_there_is_room(self.folder, save)
        pl_module.to(device)
