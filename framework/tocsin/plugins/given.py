"""What configuration files and options say together, read as plain data and checked for nothing but form."""

from collections.abc import Collection, Sequence
from typing import Any

import yaml

from tocsin.errors import ConfigError
from tocsin.plugins.strict_yaml import read_yaml, strict_load

__all__ = ["config_files", "read_arguments", "words_of"]

_CONFIG = ("-c", "--config")
_FLAGS = ("-h", "--help", "--print_config")
_TYPED = ("class_path", "init_args")


def read_arguments(
    arguments: Sequence[str], components: Collection[str]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Merge configuration files and options as the parser does.

    Args:
        arguments: What follows the verb on the command line.
        components: The top-level keys that hold a component: below them `init_args` may be left out.

    Returns:
        What was given; the faults of form, each a sentence (then nothing else is worth looking at); and
        the words that belong to no option.
    """
    given: dict[str, Any] = {}
    stray: list[str] = []
    waiting = list(arguments)
    while waiting:
        option = waiting.pop(0)
        name, equals, value = option.partition("=")
        if not option.startswith("-"):
            stray.append(option)
            continue
        if name in _FLAGS:
            continue
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                return {}, [f"{option} wants a value behind it."], stray
            value = waiting.pop(0)
        if name in _CONFIG:
            loaded, fault = _file(value)
            if fault:
                return {}, [fault], stray
            _merge(given, loaded)
        else:
            try:
                plain = strict_load(value)
            except yaml.YAMLError:
                plain = value
            _assign(given, name.lstrip("-").split("."), plain, components)
    return given, [], stray


def config_files(arguments: Sequence[str]) -> list[str]:
    """Return what stands behind each `--config` on the command line."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    named = [
        value if equals else following
        for name, equals, value, following in (
            (*option.partition("="), following) for option, following in pairs
        )
        if name in _CONFIG
    ]
    return [name for name in named if name]


def words_of(value: Any) -> str:
    """Say a given value: as it is when it is short, by its kind when it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if len(repr(value)) <= 60:
        return repr(value)
    kinds: dict[type, str] = {dict: "a mapping", list: "a list", str: "a text"}
    return f"{kinds.get(type(value), f'a {type(value).__name__}')} of {len(value)}"


def _file(name: str) -> tuple[dict[str, Any], str]:
    try:
        loaded = read_yaml(name)
    except ConfigError as error:
        return {}, str(error)
    if not isinstance(loaded, dict):
        return {}, f"{name}: a mapping with labels, data and model is wanted, not {words_of(loaded)}."
    return loaded, ""


def _merge(given: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict):
            _merge(given[key], value)
        else:
            given[key] = value


def _assign(given: dict[str, Any], path: list[str], value: Any, components: Collection[str]) -> None:
    """Set a dotted path; `+` behind the last step appends to a list, and a step into a list means its last item."""
    append = path[-1].endswith("+")
    steps = [*path[:-1], path[-1].removesuffix("+")]
    node = given
    for position, key in enumerate(steps[:-1]):
        below = node.get(key)
        if isinstance(below, list) and below:
            if not isinstance(below[-1], dict):
                below[-1] = {"class_path": below[-1]}
            node = below[-1]
        else:
            node[key] = below if isinstance(below, dict) else {} if below is None else {"class_path": below}
            node = node[key]
        following = steps[position + 1]
        typed = "class_path" in node or (steps[0] in components and key != "init_args")
        if typed and key != "init_args" and following not in _TYPED:
            node = _mapping(node, "init_args")
    last = steps[-1]
    earlier = node.get(last)
    if append:
        items = earlier if isinstance(earlier, list) else [] if earlier is None else [earlier]
        node[last] = [*items, *value] if isinstance(value, list) else [*items, value]
    elif isinstance(earlier, dict) and "class_path" in earlier and isinstance(value, str):
        earlier["class_path"] = value
    elif isinstance(earlier, dict) and isinstance(value, dict):
        _merge(earlier, value)
    else:
        node[last] = value


def _mapping(node: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(node.get(key), dict):
        node[key] = {}
    below: dict[str, Any] = node[key]
    return below
