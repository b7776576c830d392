"""Components remember what they were built with, so that a bundle can name them as plain data and build them again."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

__all__ = ["CORE", "Origin", "RemembersArguments"]

CORE = "tocsin"
"""The distribution of our own components."""


@dataclass(frozen=True)
class Origin:
    """The distribution that offers a component, so that somebody without it can be told what to install."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


class RemembersArguments:
    """Base of roles whose components go into a bundle: `arguments` holds the constructor's arguments by name.

    Only plain data is worth remembering (numbers, strings, lists, booleans, null); the constructor sees no difference.
    """

    arguments: dict[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = _remembering(cls.__init__)  # type: ignore[method-assign]

    def __new__(cls, *_: Any, **__: Any) -> Any:  # noqa: D102 - object's own
        made = super().__new__(cls)
        object.__setattr__(made, "arguments", {})
        return made


def _remembering(constructor: Any) -> Any:
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def wrapper(self: Any, *given: Any, **named: Any) -> None:
        # A subclass calls its base's constructor too: the outermost call is the one that the YAML wrote.
        if not self.arguments.get("__building__"):
            object.__setattr__(self, "arguments", {"__building__": True})
            try:
                constructor(self, *given, **named)
            finally:
                object.__setattr__(self, "arguments", {})
            bound = signature.bind(self, *given, **named)
            bound.apply_defaults()
            object.__setattr__(self, "arguments", dict(list(bound.arguments.items())[1:]))
        else:
            constructor(self, *given, **named)

    return wrapper
