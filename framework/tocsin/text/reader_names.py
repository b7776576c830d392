"""One way to name a reader: a short text on a command line, or a mapping in YAML and in a bundle."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import yaml

from tocsin.arguments import is_plain
from tocsin.errors import ConfigError, did_you_mean
from tocsin.text.readers import ArrowReader, CsvReader, JsonLinesReader, ParquetReader
from tocsin.text.reading import Reader

__all__ = ["make_reader", "reader_record"]

_OURS: tuple[type[Reader], ...] = (CsvReader, JsonLinesReader, ParquetReader, ArrowReader)
_SHORT = {
    "csv": "CsvReader",
    "tsv": "CsvReader",
    "json": "JsonLinesReader",
    "jsonl": "JsonLinesReader",
    "parquet": "ParquetReader",
    "arrow": "ArrowReader",
}
_FORM = "NAME, NAME:option=value,option=value, or a mapping {class_path: NAME, init_args: {option: value}}"
_COMMA = re.compile(r",(?=\s*\w+\s*=)")  # a comma that begins the next option; any other belongs to a value


def make_reader(spec: str | Mapping[str, Any], known: Mapping[str, type[Reader]] | None = None) -> Reader:
    r"""Return the reader that a short text or a mapping names. Nothing is imported by name.

    Args:
        spec: `CsvReader`, `CsvReader:encoding=cp1252,delimiter=;`, `tsv:quotes=false`, or the mapping that a config
            and `reader_record` hold: `{"class_path": "CsvReader", "init_args": {"quotes": False}}`. Names are those of
            classes, or csv, tsv, json, jsonl, parquet and arrow. Values are YAML: `column_names=[id, text]`.
        known: Further readers by name, such as those of plugins.

    Raises:
        ConfigError: The form is another one, no reader has this name, or it has no such option.
    """
    name, arguments = _parsed(spec) if isinstance(spec, str) else _mapped(spec)
    classes = {kind.__name__: kind for kind in _OURS} | dict(known or {})
    kind = classes.get(_SHORT.get(name.lower(), name.rpartition(".")[2]))
    if kind is None:
        raise ConfigError(
            f"there is no reader {name!r}.{did_you_mean(name, [*classes, *_SHORT])} "
            f"Readers: {', '.join([*classes, *_SHORT])}"
        )
    if name.lower() == "tsv":
        arguments = {"delimiter": "\t", **arguments}
    constructor = kind.__init__
    options = [] if constructor is object.__init__ else list(inspect.signature(constructor).parameters)[1:]
    for option in arguments:
        if option not in options:
            raise ConfigError(
                f"{kind.__name__} has no option {option!r}.{did_you_mean(option, options)} "
                f"Options: {', '.join(options) or 'none'}"
            )
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{kind.__name__}: {error}") from None


def reader_record(reader: Reader) -> dict[str, Any]:
    """Return a reader as plain data: what `make_reader` takes, and a config or a bundle can hold."""
    return {"class_path": type(reader).__name__, "init_args": dict(reader.arguments)}


def _mapped(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, arguments = spec.get("class_path"), spec.get("init_args") or {}
    extra = [key for key in spec if key not in ("class_path", "init_args")]
    if not isinstance(name, str) or not isinstance(arguments, Mapping) or extra:
        raise ConfigError(f"a reader is given as {dict(spec)!r:.200}; wanted was {_FORM}")
    if not is_plain(dict(arguments)):
        raise ConfigError(f"{name}: its options must be plain data")
    return name, dict(arguments)


def _parsed(spec: str) -> tuple[str, dict[str, Any]]:
    name, colon, rest = spec.strip().partition(":")
    if not re.fullmatch(r"[\w.]+", name) or (colon and not rest.strip()):
        raise ConfigError(f"a reader is given as {spec!r}; wanted was {_FORM}")
    arguments: dict[str, Any] = {}
    for part in _COMMA.split(rest) if colon else ():
        option, equals, value = part.partition("=")
        if not equals or not option.strip().isidentifier():
            raise ConfigError(
                f"a reader is given as {spec!r}; {part!r} is no option=value. Wanted was {_FORM}"
            )
        arguments[option.strip()] = _value(value)
    return name, arguments


def _value(text: str) -> Any:
    """Return a value as YAML reads it; a sign such as , ; | or \\ that is no YAML is taken as it stands."""
    if len(text.strip()) < 2:  # one sign, a lone tab among them
        return text.strip() or text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if is_plain(value) else text
