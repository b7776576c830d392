"""A component's options as its constructor declares them, and their types in a user's words."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from dataclasses import dataclass
from typing import Any, Union

__all__ = ["Option", "admits_null", "has_type", "parameters_of", "type_words", "union_parts"]

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


def has_type(component: type, name: str) -> bool:
    """Whether a constructor's argument has a type that can be evaluated at run time."""
    owner = next(base for base in component.__mro__ if "__init__" in vars(base))
    return name in _hints(vars(owner)["__init__"])


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
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(annotation.__members__)
    if origin is list and inner:
        return f"a list of {type_words(inner[0])}"
    if origin is dict and inner:
        return f"a mapping of {type_words(inner[0])} to {type_words(inner[1])}"
    try:
        return _WORDS[annotation]
    except (KeyError, TypeError):
        return getattr(annotation, "__name__", str(annotation))


def _hints(function: Any) -> dict[str, Any]:
    """Return the types of a function's arguments, without those that cannot be evaluated."""
    function = inspect.unwrap(function)
    try:
        return typing.get_type_hints(function)
    except Exception:
        return {
            name: hint
            for name, annotation in getattr(function, "__annotations__", {}).items()
            if (hint := _evaluated(function, annotation)) is not None
        }


def _evaluated(function: Any, annotation: Any) -> Any:
    alone = types.SimpleNamespace(__annotations__={"it": annotation}, __globals__=function.__globals__)
    try:
        return typing.get_type_hints(alone, function.__globals__)["it"]
    except Exception:  # imported for type checkers alone, or misspelt
        return None
