"""`tocsin components`: what a YAML file may name, and each component's options."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from typing import Any

from tocsin.errors import ConfigError, did_you_mean

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """List roles and their components, one role's components, or one component's options."""
    from tocsin.plugins.manager import load_plugins
    from tocsin.plugins.roles import ROLES, TASKS

    parser = argparse.ArgumentParser(
        prog="tocsin components",
        description="List what a YAML file may name, by role; with a component's name, its options.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="ROLE|NAME", help="a role (head) or a component (LinearHead)"
    )
    name = parser.parse_args(list(argv)).name
    roles = [*TASKS, *ROLES]
    role = next((role for role in roles if name in (role, f"{role}s")), None)
    registry = load_plugins(roles=None if role is None else [role])
    if name is None or role is not None:
        for shown in roles if role is None else [role]:
            _print_role(registry, shown)
        _print_off(registry)
        return 0
    found = [
        (shown, registry.components(shown)[name]) for shown in roles if name in registry.components(shown)
    ]
    if not found:
        known = roles + [component for shown in roles for component in registry.components(shown)]
        off = "".join(f"\n  {plugin}" for plugin in registry.off)
        raise ConfigError(
            f"There is no role and no component {name!r}.{did_you_mean(name, known)} "
            "`tocsin components` lists them." + (f"\nPlugins that are off:{off}" if off else "")
        )
    for shown, component in found:
        _print_component(component, shown, registry.source(component))
    return 0


def _print_role(registry: Any, role: str) -> None:
    from tocsin.plugins.docstrings import short_description

    components = registry.components(role)
    print(f"{role}:")
    if not components:
        print("  (none)")
    width = max(map(len, components), default=0)
    for name, component in components.items():
        source = registry.source(component)
        offered = "" if source == "tocsin" else f" [{source}]"
        print(f"  {name:<{width}}  {short_description(component)}{offered}")


def _print_off(registry: Any) -> None:
    if registry.off:
        print("\nPlugins that are off:")
        for plugin in registry.off:
            print(f"  {plugin}")


def _print_component(component: type, role: str, source: str) -> None:
    from tocsin.plugins.docstrings import argument_descriptions, description
    from tocsin.plugins.signatures import parameters_of, type_words

    print(f"{component.__name__}  ({role.replace('_', ' ')}, from {source}; {component.__module__})\n")
    print(description(component))
    options = parameters_of(component)
    if role in ("model", "data"):
        options.pop("labels", None)  # filled from the top-level key
    print("\nOptions:" if options else "\nIt has no options.")
    meanings = argument_descriptions(component)
    for name, option in options.items():
        required = option.default is inspect.Parameter.empty
        default = "required" if required else f"default: {_yaml(option.default)}"
        print(f"  {name}: {type_words(option.annotation)}; {default}")
        if meanings.get(name):
            print(f"      {meanings[name]}")


def _yaml(value: Any) -> str:
    plain = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return plain[value]
    return str(value)
