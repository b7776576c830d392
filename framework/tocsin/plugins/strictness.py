"""What jsonargparse lets through and we do not: undeclared arguments of a class, and null where no null is meant."""

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from jsonargparse import Namespace

from tocsin.plugins.docstrings import meaning
from tocsin.plugins.signatures import Option, admits_null, parameters_of, type_words

__all__ = ["loose_ends"]


def loose_ends(config: Namespace, plain: Mapping[str, Any], trainer: type | None) -> Iterator[str]:
    """Yield a sentence for each thing in a parsed configuration that its classes do not declare.

    Args:
        config: As the parser returned it.
        plain: The type of each top-level key that holds one value.
        trainer: The class whose options stand under `trainer`; None when there is none.
    """
    for key, value in vars(config).items():
        if key in plain:
            yield from _null(key, value, Option(key, plain[key], inspect.Parameter.empty), "")
        elif key == "trainer" and trainer is not None:
            if isinstance(value, Namespace):
                yield from _class(key, trainer, value)
            else:
                yield f"trainer is {'null' if value is None else value}; a mapping of the Trainer's options is wanted."
        else:
            yield from _walk(key, value)


def _walk(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _walk(f"{path}[{position}]", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}", item)
    elif isinstance(value, Namespace) and "class_path" in vars(value):
        if vars(value).get("dict_kwargs"):
            # What a class does with them is written nowhere: WandbLogger hands them to a program that takes the
            # path of another program among its settings.
            yield f"{path}.dict_kwargs may not be given: a class takes the options it declares, in init_args."
        module, name = value["class_path"].rsplit(".", 1)
        component = getattr(import_module(module), name, None)
        given = vars(value).get("init_args")
        if isinstance(component, type) and isinstance(given, Namespace):
            yield from _class(f"{path}.init_args", component, given)


def _class(path: str, component: type, given: Namespace) -> Iterator[str]:
    options = parameters_of(component)
    for name, value in vars(given).items():
        if name in options:
            yield from _null(f"{path}.{name}", value, options[name], meaning(component, name))
        yield from _walk(f"{path}.{name}", value)


def _null(path: str, value: Any, option: Option, described: str) -> Iterator[str]:
    # The parser checks no null: it stands for "not given" there.
    if value is None and option.default is not None and not admits_null(option.annotation):
        yield f"{path} is null; wanted: {type_words(option.annotation)}.{described}"
