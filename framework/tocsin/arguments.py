"""Components remember what they were built with, so that a bundle can name them as plain data and build them again."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Self

__all__ = ["CORE", "PLAIN", "Origin", "RemembersArguments", "default_of", "fault_of_arguments", "is_plain"]

CORE = "tocsin"
"""The distribution of our own components."""

PLAIN = "numbers, text, true, false, null, lists, or mappings with text as keys"
"""What an argument may be, in a user's words; see `is_plain`."""

# What a package index allows.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.!+_-]*[A-Za-z0-9])?")


@dataclasses.dataclass(frozen=True)
class Origin:
    """The distribution that offers a component, so that somebody without it can be told what to install."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def installable(self) -> bool:
        """Whether name and version are such that they may be printed behind `pip install`; metadata may lack them."""
        parts = ((self.distribution, _DISTRIBUTION), (self.version, _VERSION))
        return all(isinstance(text, str) and pattern.fullmatch(text) for text, pattern in parts)


class RemembersArguments:
    """Base of roles whose components go into a bundle: `arguments` holds the constructor's arguments by name.

    Defaults are among them. They are remembered before the constructor runs, which sees no difference.
    """

    arguments: dict[str, Any]

    # Every construction passes here with what its caller wrote, whoever made the constructor: the class itself,
    # @dataclass after the class statement, or a base that knows nothing of roles.
    def __new__(cls, /, *given: Any, **named: Any) -> Self:  # noqa: D102 - object's own
        if cls.__init__ is object.__init__ and (given or named):
            raise TypeError(f"{cls.__name__}() takes no arguments")
        made = super().__new__(cls)
        object.__setattr__(made, "arguments", _remembered(cls, given, named))
        return made


def is_plain(value: object) -> bool:
    """Whether JSON gives a value back as it was: finite numbers, text, booleans, None, lists, dicts with text keys."""
    if isinstance(value, list):
        return all(is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    # An enumeration's members may be text or numbers, too, but come back as those alone.
    return value is None or (isinstance(value, str | int) and not isinstance(value, Enum))


def fault_of_arguments(component: RemembersArguments) -> str:
    """Say which argument of a component no bundle can hold; "" where it can hold them all."""
    for name, value in component.arguments.items():
        if not is_plain(value):
            return (
                f"{type(component).__name__} was built with {name}={value!r:.60}, which a bundle cannot hold to build "
                f"it again. Wanted {PLAIN}; let the constructor make the object from these."
            )
    return ""


def default_of(component: type, name: str, default: Any) -> Any:
    """The default of a constructor's argument; of a dataclass's `default_factory`, what that makes."""
    if type(default).__module__ != "dataclasses":  # the mark that stands for a factory
        return default
    factories = {field.name: field.default_factory for field in dataclasses.fields(component)}
    return factories[name]()  # type: ignore[operator]


def _remembered(component: type, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    signature = inspect.signature(component.__init__)  # type: ignore[misc]
    try:
        bound = signature.bind(None, *given, **named).arguments
    except TypeError:
        # The constructor runs next and says it better; a copy is made without arguments and takes over the others'.
        return {}
    values: dict[str, Any] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            values |= bound.get(name, {})
        elif name in bound:
            values[name] = bound[name]
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            values[name] = default_of(component, name, parameter.default)
    # Copies, since a constructor may change a list that it was given.
    return {name: copy.deepcopy(value) if is_plain(value) else value for name, value in values.items()}
