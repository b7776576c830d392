"""What our parsers share: strict YAML, an allow-list for `class_path`, and errors in one sentence."""

import warnings
from typing import Any, NoReturn

import yaml
from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    _loaders_dumpers,
    _paths,
    set_dumper,
    set_loader,
    set_parsing_settings,
)

from tocsin.errors import ConfigError, TocsinError
from tocsin.plugins.allowed import KINDS, allowed_paths, offered
from tocsin.plugins.diagnosis import PLAIN, Diagnosis
from tocsin.plugins.packages import missing_package
from tocsin.plugins.registry import Registry, described
from tocsin.plugins.strict_yaml import PARSER_MODE, ValueLoader, read_config_text, strict_dump, strict_load
from tocsin.plugins.strictness import loose_ends

__all__ = ["PARSER_MODE", "PlainSpeaking", "instantiate", "instantiate_with_names", "prepare"]


def prepare(registry: Registry) -> None:
    """Let a `class_path` name the registry's components and what `allowed.py` lists; read YAML strictly.

    jsonargparse imports the module of a `class_path` before it looks at the class, so a config could run any
    module's code. These settings are the process's: they hold for every jsonargparse parser used later.
    """
    set_loader(PARSER_MODE, strict_load, (yaml.YAMLError,))
    set_dumper(PARSER_MODE, strict_dump)
    # Whatever its mode, jsonargparse reads a text given for a number or a boolean by its own loader, in which `no` is
    # false and 12:30 is 750.
    _loaders_dumpers.yaml_default_loader = ValueLoader  # type: ignore[assignment]
    # Before any loader it reads numbers itself, among them 1e400 as infinity.
    _loaders_dumpers.load_basic = lambda value: _loaders_dumpers.not_loaded
    # A value may be the path of a file, which it would read whole, in whatever encoding the system prefers.
    _paths.Path.read_text = _read_text  # type: ignore[method-assign]
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=allowed_paths(registry.classes()),
        instantiate_subclass_spec_in_any=False,
        config_read_mode_urls_enabled=False,
        config_read_mode_fsspec_enabled=False,
    )


def _read_text(self: _paths.Path) -> str:
    return read_config_text(self.absolute)


class PlainSpeaking(ArgumentParser):
    """A parser whose mistakes raise ConfigError in words, instead of printing usage and the values it tried.

    Attributes:
        diagnosis: Finds what is wrong in the given arguments; None in the parsers of nested classes.
    """

    diagnosis: Diagnosis | None = None

    def parse_args(self, *arguments: Any, **options: Any) -> Any:
        """Parse; raises ConfigError for what jsonargparse lets through and we do not, too."""
        if self.diagnosis is not None:
            self.diagnosis.check_files()
        with warnings.catch_warnings():
            # A class of a refused plugin that stands nowhere by its name; it is no choice.
            warnings.filterwarnings("ignore", r"\s*Hit failing import", UserWarning)
            try:
                parsed = super().parse_args(*arguments, **options)
            except (TocsinError, ArgumentError):
                raise
            except Exception as error:
                # Infinity for a whole number, a NUL in a path: what the parser raises of such values is not declared.
                if not self.exit_on_error:
                    raise
                self.error(f"The configuration cannot be used: {described(error)}.", error)
        if self.diagnosis is not None:
            loose = list(loose_ends(parsed, PLAIN, self.diagnosis.trainer))
            if loose:
                raise ConfigError("\n".join(self.diagnosis.faults() or loose))
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ConfigError with the diagnosis of the arguments, or else the first lines of jsonargparse's
        message.
        """
        if not self.exit_on_error:  # the parser of a nested class: the outer one says where it stands
            super().error(message, ex)
        faults = self.diagnosis.faults() if self.diagnosis else []
        raise ConfigError("\n".join(faults) if faults else _shortened(message)) from ex


def _shortened(message: str) -> str:
    """Return the parser's message in a line or two: where it begins, and the innermost of what it lists."""
    lines = [line for line in message.strip().splitlines() if line.strip()]
    if len(lines) <= 2:
        return " ".join(line.strip() for line in lines)
    listed = [
        line.strip() for line in lines if line.strip().startswith("- ") and not line.rstrip().endswith(":")
    ]
    said = " ".join(dict.fromkeys(listed[:3])) or " ".join(line.strip() for line in lines[1:4])
    return f"{lines[0].strip()} {said} (TOCSIN_TRACEBACK=1 shows all that the parser tried.)"


def instantiate(parser: Any, config: Any, registry: Registry) -> Any:
    """Build what a parsed configuration names.

    Raises:
        TocsinError: The first that a component's constructor raised; jsonargparse wraps it in errors of its own.
        ConfigError: A component's constructor raised anything else; names the component and its distribution.
    """
    try:
        return parser.instantiate(config)
    except Exception as error:
        cause: BaseException = error
        while not isinstance(cause, TocsinError) and (inner := cause.__cause__ or cause.__context__):
            cause = inner
        if isinstance(cause, TocsinError):
            raise cause from None
        component = _built(cause, registry)
        source = registry.source(component) if component in registry.classes() else ""
        if isinstance(cause, ImportError) and (missing := missing_package(cause, filter(None, [source]))):
            what = "a component" if component is None else component.__name__
            raise ConfigError(f"{what} cannot be built: {missing}") from error
        if component is None:
            raise
        where = registry.origin(component) if source else component.__module__.partition(".")[0]
        raise ConfigError(f"{component.__name__} ({where}) cannot be built: {described(cause)}.") from error


def instantiate_with_names(parser: Any, config: Any, registry: Registry) -> Any:
    """Build what a configuration names; label names that are found in the train files are written into it first.

    So the saved configuration, and every copy of the scheme, holds the names in their order.

    Args:
        parser: The parser of the configuration.
        config: What it parsed, with `labels` linked into `data` and, in a fit, `model`; changed in place.
        registry: The components on offer.

    Raises:
        TocsinError: As `instantiate`; a train file cannot be read, or holds no labels.
    """
    built = instantiate(parser, config, registry)
    find = getattr(built.get("data"), "find_label_names", None)
    if find is None or not find():
        return built
    for place in ("labels", "data.init_args.labels", "model.init_args.labels"):
        if place in config:
            _write_names(config[place], built.data.labels)
    return instantiate(parser, config, registry)


def _write_names(given: Any, scheme: Any) -> None:
    for part, inner in zip(
        given.init_args.get("schemes", None) or [], getattr(scheme, "schemes", ()), strict=False
    ):
        _write_names(part, inner)
    if "names" in given.init_args:
        given.init_args.names = list(scheme.names)


def _built(error: BaseException, registry: Registry) -> type | None:
    """Return the class that a configuration may name whose constructor raised an error, None where it was none's."""
    classes = {*registry.classes(), *(found for kind in KINDS for found in offered(kind).values())}
    found = None
    trace = error.__traceback__
    while trace is not None:
        built = type(trace.tb_frame.f_locals.get("self"))
        if built in classes and trace.tb_frame.f_code.co_name in ("__init__", "__post_init__"):
            found = built
        trace = trace.tb_next
    return found
