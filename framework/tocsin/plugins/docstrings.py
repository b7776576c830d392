"""A component's docstring in parts: what it is, and what each option means."""

from __future__ import annotations

import functools
import inspect

from docstring_parser import parse

__all__ = ["argument_descriptions", "description", "meaning", "short_description"]


@functools.cache
def _described(component: type) -> dict[str, str]:
    return argument_descriptions(component)


def argument_descriptions(component: type) -> dict[str, str]:
    """Return an option's name -> its description on one line; what a base class says fills the gaps."""
    found: dict[str, str] = {}
    for base in component.__mro__:
        for text in (vars(base).get("__doc__"), getattr(vars(base).get("__init__"), "__doc__", None)):
            for parameter in parse(text or "").params:
                found.setdefault(parameter.arg_name, " ".join((parameter.description or "").split()))
    return found


def meaning(component: type, name: str) -> str:
    """Return an option's description in brackets with a space before, or "" where none can be read as it stands."""
    found = _described(component).get(name, "")
    markup = "``" in found or ":`" in found  # of another project's documentation pages
    return f" ({found})" if found and not markup else ""


def description(component: type) -> str:
    """Return a class's own docstring without its list of options."""
    parsed = parse(inspect.cleandoc(vars(component).get("__doc__") or ""))
    parts = [parsed.short_description or "", parsed.long_description or ""]
    return "\n\n".join(part for part in parts if part)


def short_description(component: type) -> str:
    """Return the first sentence of a class's own docstring, on one line."""
    parsed = parse(inspect.cleandoc(vars(component).get("__doc__") or ""))
    return " ".join((parsed.short_description or "").split())
