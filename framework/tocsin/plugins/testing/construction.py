"""What every component must hold whatever its role: its class, its arguments and their documentation."""

from __future__ import annotations

import inspect
import json
from typing import Any

import tocsin.plugins as door
from tocsin.plugins.docstrings import argument_descriptions, short_description
from tocsin.plugins.roles import ROLES
from tocsin.plugins.signatures import parameters_of
from tocsin.plugins.testing.findings import Findings

__all__ = ["begin", "build", "check_construction"]


def begin(component: Any, role: str, arguments: dict[str, Any]) -> tuple[Findings, bool]:
    """Check what all components share, and say whether the component can be built and looked at further.

    Args:
        component: The class, as a hook would return it.
        role: A key of `ROLES`.
        arguments: Constructor arguments by name.
    """
    base = getattr(door, ROLES[role].base)
    if not isinstance(component, type):
        shown = type(component).__name__
        findings = Findings(type(component), role.replace("_", " "))
        hint = f" Give the class, without (): check_{role}({shown})." if isinstance(component, base) else ""
        findings.add(f"A class is wanted, and an object of {shown} was given.{hint}")
        return findings, False
    findings = Findings(component, role.replace("_", " "))
    if not findings.expect(
        issubclass(component, base),
        f"It is not a subclass of tocsin.plugins.{base.__name__}: write `class {component.__name__}({base.__name__})`.",
    ):
        return findings, False
    usable = check_construction(findings, component, arguments)
    return findings, usable


def check_construction(findings: Findings, component: type, arguments: dict[str, Any]) -> bool:
    """Check abstractness, documentation, the constructor's arguments, and that building is cheap and pure."""
    missing = sorted(getattr(component, "__abstractmethods__", ()))
    if missing:
        findings.add(
            f"It is abstract: it still lacks {', '.join(missing)}. Write them, with the base's arguments."
        )
    findings.expect(
        bool(short_description(component)),
        "The class has no docstring of its own: its first sentence is what `tocsin components` shows.",
    )
    _check_arguments(findings, component)
    if missing:
        return False
    required = [name for name, option in parameters_of(component).items() if option.required]
    without = [name for name in required if name not in arguments]
    if without:
        findings.add(
            f"It cannot be built: {', '.join(without)} has no default. Give the check a value: "
            f"check(…, {', '.join(f'{name}=…' for name in without)})."
        )
        return False
    return build(findings, component, arguments) is not None


def build(findings: Findings, component: type, arguments: dict[str, Any]) -> Any:
    """Build the component and return it; None and a fault where that fails."""
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return findings.attempt(
        f"{component.__name__}({shown})",
        lambda: component(**arguments),
        "The parser builds a component up to three times, on machines without data or network: keep the "
        "constructor cheap, and read files later.",
    )


def _check_arguments(findings: Findings, component: type) -> None:
    owner = next(base for base in component.__mro__ if "__init__" in vars(base))
    if owner is object or owner.__module__ == "torch.nn.modules.module":
        return  # no constructor of its own
    described = argument_descriptions(component)
    for name, parameter in list(inspect.signature(component.__init__).parameters.items())[1:]:  # type: ignore[misc]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            findings.add(
                f"The constructor takes {stars}{name}: a YAML could not be checked against it, and `tocsin components "
                f"{component.__name__}` could not list it. Name each argument."
            )
            continue
        findings.expect(
            parameter.annotation is not parameter.empty,
            f"The argument {name} has no type: the parser would hand over whatever stands in the YAML. Annotate "
            f"it, for instance {name}: float = 0.1.",
        )
        findings.expect(
            bool(described.get(name)),
            f"The argument {name} is not described: add `{name}: …` with its unit under Args: in the class's "
            "docstring, which is its help.",
        )
        if parameter.default is not parameter.empty:
            _check_default(findings, name, parameter.default)


def _check_default(findings: Findings, name: str, default: Any) -> None:
    try:
        json.dumps(default)
    except (TypeError, ValueError):
        findings.add(
            f"The default of {name} is {default!r:.60}, which a YAML cannot hold: use numbers, text, true, false, null, "
            "lists or mappings of them."
        )
