"""Every way to spoil one key of a complete configuration, and what the refusal must name."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Union

import yaml

from tocsin.cli.parser import Config
from tocsin.plugins.diagnosis import PLAIN
from tocsin.plugins.signatures import parameters_of
from tocsin.plugins.strict_yaml import strict_dump, strict_load
from tocsin.training.trainer import Trainer

Path = tuple[Any, ...]
MAPPING = {"stray": [1]}  # of no option's type


@dataclass(frozen=True)
class Spoilt:
    """A configuration with one fault, and the texts of which the refusal must hold one."""

    fault: str
    path: Path
    content: dict[str, Any] | str
    named: tuple[str, ...]

    @property
    def text(self) -> str:
        """The configuration as it stands in a file."""
        return self.content if isinstance(self.content, str) else strict_dump(self.content)

    def __str__(self) -> str:
        return f"{self.fault} at {dotted(self.path)}"


def dotted(path: Path) -> str:
    """Write a path as our messages do: trainer.callbacks[0].init_args.monitor."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def keys(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each key of a nested mapping."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        if isinstance(tree, dict):
            yield (*path, key)
        yield from keys(value, (*path, key))


def at(tree: Any, path: Path) -> Any:
    """Return what stands at a path."""
    for step in path:
        tree = tree[step]
    return tree


def annotation_of(tree: dict[str, Any], path: Path) -> Any:
    """Return the type that an option's constructor declares; None for a key that is no option."""
    parent = at(tree, path[:-1])
    if len(path) == 1:
        return PLAIN.get(path[0])
    if path[:-1] == ("trainer",):
        return parameters_of(Trainer)[path[-1]].annotation
    if path[-2] != "init_args" or not isinstance(parent, dict):
        return None
    module, name = at(tree, path[:-2])["class_path"].rsplit(".", 1)
    option = parameters_of(getattr(import_module(module), name)).get(path[-1])
    return typing.Any if option is None else option.annotation


def parts_of(annotation: Any) -> list[Any]:
    """Return the alternatives of a type."""
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    return list(typing.get_args(annotation)) if union else [annotation]


def required(tree: dict[str, Any], path: Path) -> bool:
    """Whether a configuration without this key lacks something."""
    if path[-1] == "class_path" or path in (("labels",), ("model",), ("data",)):
        return True
    if path[-2:-1] != ("init_args",):
        return False
    module, name = at(tree, path[:-2])["class_path"].rsplit(".", 1)
    option = parameters_of(getattr(import_module(module), name)).get(path[-1])
    return option is not None and option.required


def _changed(tree: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(tree)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def _renamed(tree: dict[str, Any], path: Path, name: str) -> dict[str, Any]:
    changed = copy.deepcopy(tree)
    mapping = at(changed, path[:-1])
    entries = [(name if key == path[-1] else key, value) for key, value in mapping.items()]
    mapping.clear()
    mapping.update(entries)
    return changed


def values(tree: dict[str, Any], path: Path) -> Iterator[Spoilt]:
    """Yield the configurations in which the value of one key is wrong, or the key itself."""
    here, parent = dotted(path), path[:-1]

    def spoilt(fault: str, changed: dict[str, Any], *named: str) -> Spoilt:
        return Spoilt(fault, path, changed, named or (here,))

    annotation, key = annotation_of(tree, path), path[-1]
    if {typing.Any, object} & set(parts_of(annotation)):  # any value may stand there, so none is wrong
        return
    free = annotation is None and key not in ("class_path", "init_args") and len(path) > 1
    if free:  # a mapping that is itself a value
        return
    misspelt = f"{key}x"
    yield spoilt("misspelt key", _renamed(tree, path, misspelt), dotted((*parent, misspelt)), here, misspelt)
    if key != "init_args" and not isinstance(at(tree, path), dict):
        yield spoilt("wrong type", _changed(tree, path, MAPPING), f"{here}.stray", here)
    if required(tree, path):
        without = copy.deepcopy(tree)
        del at(without, parent)[key]
        yield spoilt("missing key", without)
    if key == "class_path":
        name = at(tree, path)
        where = dotted(parent)
        yield spoilt("misspelt name", _changed(tree, path, f"{name.rsplit('.', 1)[1]}x"), where)
        yield spoilt("misspelt path", _changed(tree, path, f"{name}x"), where)
        yield spoilt("unknown path", _changed(tree, path, "evil.Thing"), where)
        yield spoilt("a number for a name", _changed(tree, path, 3))
        yield spoilt("null", _changed(tree, path, None))
    elif key == "init_args" or annotation is None:
        yield spoilt("a number for a mapping", _changed(tree, path, 3))
        yield spoilt("null", _changed(tree, path, None))
    else:
        parts = parts_of(annotation)
        plain = all(part in (int, float, bool, type(None)) for part in parts)
        if plain or all(typing.get_origin(part) is typing.Literal for part in parts):
            yield spoilt("text for another type", _changed(tree, path, "###"))
        if type(None) not in parts:
            yield spoilt("null", _changed(tree, path, None))
    if isinstance(at(tree, path), dict):
        stray = _changed(tree, (*path, "stray_key"), 1)
        yield spoilt("stray key", stray, f"{here}.stray_key", here)


def lines(tree: dict[str, Any], path: Path) -> Iterator[Spoilt]:
    """Yield the texts that are not YAML, or say one key twice, in the line of one key."""
    text = strict_dump(tree)
    mark = _mark(text, path)
    rows = text.splitlines()
    row, column = mark.line, mark.column
    head, tail = rows[row][:column], rows[row][column:]

    def spoilt(fault: str, new: list[str], *numbers: int) -> Spoilt:
        changed = "\n".join([*rows[:row], *new, *rows[row + 1 :]]) + "\n"
        where = dotted(path[:-1])  # where what is left is still YAML
        named = [f"line {number + 1}:" for number in numbers] + (
            [where] if fault == "no colon" and where else []
        )
        return Spoilt(fault, path, changed, tuple(named))

    twice = [f"{head}{tail.split(':')[0]}: 1", f"{' ' * column}{tail}"]
    yield spoilt("key twice", twice, row + 1)
    yield spoilt("tab", [f"\t{rows[row]}"], row, row - 1, row + 1)
    indented = spoilt("indentation", [f" {rows[row]}"], *range(len(rows)))
    try:
        strict_load(indented.text)
    except yaml.YAMLError:
        yield indented
    if len(path) > 1:
        yield spoilt("no colon", [f"{head}{tail.replace(':', '', 1)}"], *range(len(rows)))


def _mark(text: str, path: Path) -> Any:
    """Return where a key stands in the text."""
    node: Any = yaml.compose(text)
    mark = node.start_mark
    for step in path:
        if isinstance(step, int):
            node = node.value[step]
        else:
            mark, node = next((key.start_mark, value) for key, value in node.value if key.value == step)
    return mark


def complete(call: Config) -> dict[str, Any]:
    """Return a parsed configuration with all its defaults, as plain data."""
    tree: dict[str, Any] = strict_load(call.text())
    return tree
