"""The labelled corpus that a fit's YAML names, for tools that bring their own model."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningDataModule

from tocsin.batches.corpus import Corpus
from tocsin.errors import ConfigError
from tocsin.plugins import LabelScheme
from tocsin.plugins.diagnosis import Diagnosis
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.parsing import PARSER_MODE, PlainSpeaking, instantiate_with_names, prepare
from tocsin.plugins.registry import Registry
from tocsin.plugins.strict_yaml import read_yaml, strict_dump

__all__ = ["DEFAULT_SEED", "read_corpus"]

_ROLES = ("data", "label_scheme", "reader", "cleaner", "splitter")


DEFAULT_SEED = 42
"""What `seed_everything` is where a YAML says nothing."""


def read_corpus(
    config: str | Path, overrides: Sequence[str] = (), *, registry: Registry | None = None
) -> Corpus:
    """Read, clean and split the messages that a fit's YAML names, exactly as the fit does.

    Args:
        config: The YAML file; only its `labels` and `data` are read.
        overrides: Options as on the command line, for instance ["--data.text", "original"].
        registry: The components on offer; None loads them.

    Raises:
        ConfigError: The file or an override cannot be honoured.
        DataError: A message file or a row of it is faulty.
        LabelError: A label is missing from the files, or has a value that means nothing.
    """
    registry = load_plugins(roles=_ROLES) if registry is None else registry
    prepare(registry)
    parser = PlainSpeaking(parser_mode=PARSER_MODE)
    parser.diagnosis = Diagnosis(
        ["--config", str(config), *overrides], registry, {"labels": "label_scheme", "data": "data"}
    )
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(LabelScheme, "labels")
    parser.add_subclass_arguments(LightningDataModule, "data")
    parser.link_arguments("labels", "data.init_args.labels")
    given = read_yaml(config)
    if not isinstance(given, dict):
        raise ConfigError("\n".join(parser.diagnosis.faults()))
    _check_holds_messages(given.get("data"), registry)
    sections = {key: given[key] for key in ("labels", "data") if key in given}
    parsed = parser.parse_args(["--config", strict_dump(sections), *overrides])
    arguments = parsed.data.init_args
    if "seed" in arguments and arguments.seed is None:
        # `max_messages` draws by the fit's seed: another one would draw other messages.
        seed = given.get("seed_everything", DEFAULT_SEED)
        arguments.seed = seed if isinstance(seed, int) and not isinstance(seed, bool) else None
    corpus: Corpus = instantiate_with_names(parser, parsed, registry).data.corpus()
    return corpus


def _check_holds_messages(data: object, registry: Registry) -> None:
    """Refuse data of another task by name; what is wrong otherwise the parser says."""
    name = data.get("class_path") if isinstance(data, dict) else data
    component = registry.components("data").get(str(name).rsplit(".", 1)[-1])
    if component is not None and not hasattr(component, "corpus"):
        raise ConfigError(
            f"data is {component.__name__}, which holds no labelled messages; a config with LabelledMessages is wanted."
        )
