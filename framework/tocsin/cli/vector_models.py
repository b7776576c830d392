"""Which models the verbs about vectors compare: bundles, encoders, and encoders as a config names them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.privacy import with_shown_paths

if TYPE_CHECKING:
    from tocsin.bundles.sentences import Encodes

__all__ = ["Model", "Models", "check_early", "device_of", "models_of", "open_model"]


@dataclass(frozen=True)
class Model:
    """A model as the command line names it.

    Args:
        name: Its heading.
        kind: "bundle" or "encoder".
        place: A folder, an encoder's short name, or a config (see `config_encoder`).
    """

    name: str
    kind: str
    place: str


class Models(argparse.Action):
    """Keeps bundles and encoders in one list, in the order of the command line."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Add what stands behind one option, each with its kind."""
        given = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, [*given, *((str(self.const), value) for value in values)])


def shown_names(places: Sequence[str]) -> list[str]:
    """Return models' places, each given once, as reports may name them."""
    absolute = with_shown_paths({place: None for place in places if os.path.isabs(place)})
    rest = iter(absolute)
    return [next(rest) if os.path.isabs(place) else place for place in places]


def models_of(options: argparse.Namespace) -> list[Model]:
    """Return the models of a command line, each under a heading of its own.

    Raises:
        ConfigError: No model, one given twice, or names that do not fit.
    """
    from tocsin.errors import ConfigError

    given: list[tuple[str, str]] = options.models or []
    if not given:
        raise ConfigError(
            "No model is given. Give --bundle DIR, or --encoder NAME, folder or config, or several."
        )
    places = [place for _, place in given]
    # Two that lie in different folders may have one name; a number tells them apart. One given twice is refused.
    names = options.name or (places if len(set(places)) < len(places) else shown_names(places))
    if len(names) != len(given) or len(set(names)) != len(names):
        raise ConfigError(
            f"The models' names are {', '.join(names)}; a name of its own for each of the {len(given)} models is "
            "wanted (--name)."
        )
    return [Model(name, kind, place) for name, (kind, place) in zip(names, given, strict=True)]


def check_early(models: Sequence[Model], output: Path | None) -> None:
    """Refuse what would else be found out after an hour of encoding.

    Raises:
        BundleError: A bundle's folder does not exist.
        ConfigError: Nobody offers an encoder and no folder has its name, a config names none, or the output folder
            cannot be made.
    """
    from tocsin.cli.config_encoder import ROLES, encoder_of_config, is_config
    from tocsin.errors import BundleError, ConfigError
    from tocsin.plugins.manager import load_plugins

    registry = load_plugins(roles=ROLES) if any(model.kind == "encoder" for model in models) else None
    for model in models:
        if model.kind == "encoder" and is_config(model.place):
            encoder_of_config(model.place, registry)
            continue
        there = Path(model.place).expanduser().is_dir()
        if registry is None or model.kind == "bundle":
            if not there:
                raise BundleError(f"There is no folder {model.place!r}; a bundle is wanted.")
        elif not there and model.place not in registry.components("encoder"):
            unknown = registry.unknown("encoder", model.place)
            raise ConfigError(f"{unknown}\nNor is there a folder {model.place!r}.")
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"--output: the folder {output} cannot be made ({error.strerror or error})."
            ) from error


def device_of(name: str) -> str:
    """Return the device that "auto" stands for."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def open_model(model: Model, device: str, max_length: int | None) -> Encodes:
    """Read a model's weights.

    Raises:
        BundleError: A bundle that cannot be loaded.
        ConfigError: An encoder that cannot be opened.
    """
    if model.kind == "bundle":
        import tocsin

        return tocsin.load(model.place, device=device)
    from tocsin.bundles.sentences import open_encoder
    from tocsin.cli.config_encoder import ROLES, encoder_of_config, is_config
    from tocsin.plugins.manager import load_plugins

    registry = load_plugins(roles=ROLES)
    if is_config(model.place):
        return encoder_of_config(model.place, registry).open(device, max_length)
    return open_encoder(model.place, registry, device, max_length)
