"""`tocsin components`: what a YAML file may name, and each component's options."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from tocsin.cli.options import OptionParser
from tocsin.errors import ConfigError, did_you_mean
from tocsin.escaping import print_lines
from tocsin.plugins.roles import ROLES, TASKS

if TYPE_CHECKING:
    from tocsin.plugins.registry import Registry
    from tocsin.plugins.signatures import Option

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """List roles and their components, one role's components, or one component's options."""
    from tocsin.plugins.manager import load_plugins

    parser = OptionParser(
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
        _print_component(registry, component, shown)
    return 0


def _print_role(registry: Registry, role: str) -> None:
    from tocsin.plugins.docstrings import short_description

    components = registry.components(role)
    print_lines(f"{role}:")
    if not components:
        print_lines("  (none)")
    width = max(map(len, components), default=0)
    for name, component in components.items():
        source = registry.source(component)
        offered = "" if source == "tocsin" else f" [{source}]"
        print_lines(f"  {name:<{width}}  {short_description(component)}{offered}")


def _print_off(registry: Registry) -> None:
    if registry.off:
        print_lines("\nPlugins that are off:")
        for plugin in registry.off:
            print_lines(f"  {plugin}")


def _print_component(registry: Registry, component: type, role: str) -> None:
    from tocsin.plugins.docstrings import argument_descriptions, description
    from tocsin.plugins.signatures import parameters_of, type_words

    origin = registry.origin(component)
    print_lines(f"{component.__name__}  ({role.replace('_', ' ')}, from {origin}; {component.__module__})\n")
    for paragraph in description(component).split("\n\n"):
        # A list keeps its lines, running text is filled.
        listed = paragraph.lstrip().startswith(("1.", "- ")) or "\n    " in paragraph
        print_lines(f"{paragraph if listed else _filled(paragraph)}\n")
    options = parameters_of(component)
    if role in TASKS:
        options.pop("labels", None)  # filled from the top-level key
    print_lines("Options:" if options else "It has no options.")
    meanings = argument_descriptions(component)
    for name, option in options.items():
        default = "required" if option.required else f"default: {_yaml(option.default)}"
        print_lines(f"  {name}: {type_words(option.annotation)}; {default}")
        if meanings.get(name):
            print_lines(_filled(meanings[name], indent=" " * 6))
    place = _place(registry, role)
    if place is not None:
        print_lines(f"\nIn a YAML file, at {'.'.join(place)}:")
        print_lines(f"  {_spec(place[-1], component.__name__, options)}")
        if getattr(component, "needs", None) == "tokens":
            print_lines("  pooling: null")
        first = next(iter(options.values()), None)
        if first is not None:
            value = "VALUE" if first.required else _yaml(first.default)
            flag = f"--{'.'.join([*place, 'init_args', first.name])} {shlex.quote(value)}"
            print_lines(f"On the command line, after --{'.'.join(place)} {component.__name__}:\n  {flag}")


def _filled(text: str, indent: str = "") -> str:
    width = min(shutil.get_terminal_size((110, 24)).columns, 110)
    return textwrap.fill(" ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent)


def _place(registry: Registry, role: str) -> list[str] | None:
    """Return the keys under which a fit's YAML names a component of a role; None where it names none."""
    import tocsin.plugins as door
    from tocsin.plugins.signatures import parameters_of, union_parts

    if role in TASKS:
        return [role]
    if role == "label_scheme":
        return ["labels"]
    base = getattr(door, ROLES[role].base)
    for task in TASKS:
        for owner in registry.components(task).values():
            for name, option in parameters_of(owner).items():
                if base in union_parts(option.annotation):
                    return [task, "init_args", name]
    return None


def _spec(key: str, name: str, options: dict[str, Option]) -> str:
    """Return a component as one line of YAML, with what it wants and its first option."""
    shown = [option for option in options.values() if option.required] or list(options.values())[:1]
    if not shown:
        return f"{key}: {name}"
    arguments = ", ".join(
        f"{option.name}: {'…' if option.required else _yaml(option.default)}" for option in shown
    )
    return f"{key}: {{class_path: {name}, init_args: {{{arguments}}}}}"


def _yaml(value: Any) -> str:
    import json

    if isinstance(value, Enum):
        return value.name
    # JSON is YAML; a bare word reads better without its quotes
    plain = isinstance(value, str) and value.isidentifier()
    return str(value) if plain else json.dumps(value, ensure_ascii=False, default=str)
