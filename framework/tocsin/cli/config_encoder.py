"""The encoder that a fit's YAML names, as it is before any training, for comparison with what came out of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tocsin.bundles.sentences import SentenceModel
    from tocsin.models.encoders import Encoder
    from tocsin.models.pooling import Pooling
    from tocsin.plugins.registry import Registry

__all__ = ["ROLES", "ConfigEncoder", "encoder_of_config", "is_config"]

ROLES = ("encoder", "pooling")
"""Roles of the components that such an encoder is made of."""

_ENDINGS = (".yaml", ".yml")
_TEACHER = ":teacher"


@dataclass(frozen=True)
class ConfigEncoder:
    """An encoder that is not loaded.

    Args:
        encoder: Cut and prompted as the config says.
        pooling: None: a `SentenceEncoder`'s own with all that follows it in its folder, else the mean of token states.
        max_length: Tokens a text keeps at most in the fit; None where the config does not say.
    """

    encoder: Encoder
    pooling: Pooling | None
    max_length: int | None

    def open(self, device: str, max_length: int | None = None) -> SentenceModel:
        """Read the weights.

        Args:
            device: Where to compute.
            max_length: In place of the config's.

        Raises:
            ConfigError: As `SentenceModel`.
        """
        from tocsin.bundles.sentences import SentenceModel

        length = max_length if max_length is not None else self.max_length
        return SentenceModel(self.encoder, self.pooling, max_length=length, device=device)


def is_config(name: str) -> bool:
    """Whether a name given as an encoder is that of a configuration file, or of its teacher."""
    return name.removesuffix(_TEACHER).endswith(_ENDINGS)


def encoder_of_config(name: str, registry: Registry | None = None) -> ConfigEncoder:
    """Build the encoder that a fit's YAML names; no weights are read.

    Of a classifier or a student: the encoder under the pooling, as short as the data's `max_length`, without head or
    projection, which a fit makes. Of a teacher: the vectors that its student learns.

    Args:
        name: FILE.yaml for the model's `encoder`, FILE.yaml:teacher for a Distiller's `teacher`.
        registry: Offers encoders and poolings; None loads them.

    Raises:
        ConfigError: The file cannot be read, or names no such encoder.
    """
    from tocsin.errors import ConfigError
    from tocsin.models.pooling import MeanPooling
    from tocsin.models.sentence_encoder import SentenceEncoder
    from tocsin.models.teacher import Teacher
    from tocsin.plugins.manager import load_plugins

    file = Path(name.removesuffix(_TEACHER)).expanduser()
    teacher = name.endswith(_TEACHER)
    given = _read(file)
    model = _arguments(given.get("model"))
    which = "teacher" if teacher else "encoder"
    if model.get(which) is None:
        raise ConfigError(
            f"{file}: model.init_args.{which} is missing; "
            + ("only a Distiller has a teacher." if teacher else "a model with an encoder is wanted.")
        )
    try:
        encoder, pooling = _build(
            model[which],
            model.get("teacher_pooling" if teacher else "pooling"),
            load_plugins(roles=ROLES) if registry is None else registry,
        )
    except ConfigError as error:
        raise ConfigError(f"{file}, model.init_args: {error}") from error
    if teacher:
        length = model.get("teacher_max_length")
        return ConfigEncoder(encoder, pooling, Teacher(encoder, pooling, _number(length)).max_length)
    if pooling is None:
        # What follows the pooling in a student's folder is no part of the student.
        pooling = encoder.own_pooling() if isinstance(encoder, SentenceEncoder) else MeanPooling()
    return ConfigEncoder(encoder, pooling, _number(_arguments(given.get("data")).get("max_length")))


def _read(file: Path) -> dict[str, Any]:
    from tocsin.errors import ConfigError
    from tocsin.plugins.strict_yaml import read_yaml

    given = read_yaml(file)
    if not isinstance(given, dict):
        raise ConfigError(f"{file}: a mapping with data and model is wanted.")
    return given


def _arguments(component: object) -> Mapping[str, Any]:
    """The init_args of a component as a YAML names it."""
    found = component.get("init_args") if isinstance(component, dict) else None
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _build(encoder: object, pooling: object, registry: Registry) -> tuple[Encoder, Pooling | None]:
    from tocsin.plugins import Encoder, Pooling
    from tocsin.plugins.diagnosis import Diagnosis
    from tocsin.plugins.parsing import PARSER_MODE, PlainSpeaking, instantiate, prepare
    from tocsin.plugins.strict_yaml import strict_dump

    sections = {"encoder": encoder} | ({} if pooling is None else {"pooling": pooling})
    prepare(registry)
    parser = PlainSpeaking(parser_mode=PARSER_MODE)
    words = [word for key, given in sections.items() for word in (f"--{key}", strict_dump(given))]
    parser.diagnosis = Diagnosis(words, registry, {key: key for key in sections})
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(Encoder, "encoder")
    if pooling is not None:
        parser.add_subclass_arguments(Pooling, "pooling")
    parsed = parser.parse_args(["--config", strict_dump(sections)])
    built = instantiate(parser, parsed, registry)
    return built.encoder, built.pooling if pooling is not None else None
