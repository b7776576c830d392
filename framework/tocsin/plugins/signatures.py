"""A component's options as its constructor declares them, and their types in a user's words."""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass
from typing import Any, Union

__all__ = ["Option", "admits_null", "parameters_of", "type_words", "union_parts"]

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}


@dataclass(frozen=True)
class Option:
    """One constructor argument; `default` is `inspect.Parameter.empty` where a value is required."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty


def parameters_of(component: type) -> dict[str, Option]:
    """Return a constructor's arguments, with those of a base class that takes its `**kwargs`; unknown types
    are Any.
    """
    options: dict[str, Option] = {}
    for base in component.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is None:
            continue
        given = list(inspect.signature(constructor).parameters.values())[1:]
        hints = _hints(constructor)
        for parameter in given:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                option = Option(parameter.name, hints.get(parameter.name, Any), parameter.default)
                options.setdefault(parameter.name, option)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in given):
            break
    return options


def union_parts(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union, or the annotation alone."""
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def admits_null(annotation: Any) -> bool:
    """Whether null is a value of a type."""
    return any(part in (None, type(None), Any) for part in union_parts(annotation))


def type_words(annotation: Any) -> str:
    """Say a type in a user's words: `list[str] | None` is "a list of text or null"."""
    parts = union_parts(annotation)
    if len(parts) > 1:
        return " or ".join(type_words(part) for part in parts)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin is list and inner:
        return f"a list of {type_words(inner[0])}"
    if origin is dict and inner:
        return f"a mapping of {type_words(inner[0])} to {type_words(inner[1])}"
    try:
        return _WORDS[annotation]
    except (KeyError, TypeError):
        return getattr(annotation, "__name__", str(annotation))


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # an annotation that cannot be evaluated: the parser has its say
        return {}
