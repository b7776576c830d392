"""Loads plugins one by one and keeps what they offer.

A broken plugin is switched off as a whole, with its cause kept, and the rest works: it is unregistered and
the classes it has already defined are made abstract, so that no short name resolves to them. There is no
global manager: whoever needs one calls `load_plugins` and passes the registry on.
"""

from __future__ import annotations

import inspect
import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import tocsin.plugins as door
from tocsin import __version__
from tocsin.arguments import CORE, Origin
from tocsin.errors import PluginError, did_you_mean
from tocsin.plugins import builtin, hookspecs
from tocsin.plugins.discovery import GROUP, Declared, declared, other_versions, selection
from tocsin.plugins.registry import (
    SLOW_SECONDS,
    OffPlugin,
    OnPlugin,
    PluginWarning,
    Registry,
    described,
    given,
)
from tocsin.plugins.roles import ROLES, TASKS

__all__ = ["load_plugins"]

OURS = Origin(CORE, __version__)


def load_plugins(
    environ: Mapping[str, str] = os.environ,
    *,
    roles: Iterable[str] | None = None,
    core: ModuleType = builtin,
) -> Registry:
    """Load the core's components and every selected plugin's.

    A plugin whose module takes longer than `SLOW_SECONDS` to import is named in a warning.

    Args:
        environ: Where `TOCSIN_PLUGINS` is looked up: unset (all), `off`, `strict`, or names with commas.
        roles: The roles to ask for; None for all. Fewer roles cost fewer imports.
        core: The module that offers the core's components.

    Returns:
        The registry; its `off` names each plugin that could not be used, and why.

    Raises:
        PluginError: `TOCSIN_PLUGINS=strict` and a plugin is broken, or a name in it is not installed.
    """
    asked = [*TASKS, *ROLES] if roles is None else list(roles)
    wanted = [role for role in asked if role in ROLES]
    registry = Registry()
    _, offered = _admit(registry, core, CORE, wanted)
    registry._take(offered, OURS)
    registry._take({role: getattr(core, TASKS[role])() for role in asked if role in TASKS}, OURS)
    chosen = selection(environ)
    for entry in other_versions():
        group = entry.entry_point.group
        cause = (
            f"it is made for the hooks {group}, this Tocsin has {GROUP}; install a version of it for {GROUP}"
        )
        _switch_off(registry, entry, cause, strict=chosen.strict)
    found = declared(GROUP)
    for entry in found:
        if entry not in chosen:
            registry.off.append(
                OffPlugin(entry.name, entry.origin, "switched off by TOCSIN_PLUGINS", broken=False)
            )
            continue
        before = _role_classes(wanted)
        try:
            plugin, offered = _load(registry, entry, wanted, before)
        except KeyboardInterrupt:
            raise
        # SystemExit too: a plugin that calls sys.exit() must not end the program.
        except BaseException as error:
            _hide(before, wanted, entry, found)
            _switch_off(registry, entry, described(error), strict=chosen.strict, error=error)
        else:
            registry._take(offered, entry.origin)
            registry.on.append(plugin)
            _report_slow(plugin)
    return registry


def _load(
    registry: Registry, entry: Declared, roles: Sequence[str], before: set[type]
) -> tuple[OnPlugin, dict[str, list[type]]]:
    """Import a plugin and return it with what it offers; nothing of it stays registered when this raises."""
    start = time.perf_counter()
    module = entry.entry_point.load()
    imported = time.perf_counter()
    defined = _role_classes(roles) - before
    key = f"{entry.distribution}:{entry.name}"
    hooks, offered = _admit(registry, module, key, roles, defined)
    ended = time.perf_counter()
    plugin = OnPlugin(entry.name, entry.origin, hooks, imported - start, ended - imported)
    return plugin, offered


def _report_slow(plugin: OnPlugin) -> None:
    if plugin.slow:
        warnings.warn(
            f"The plugin {plugin} took {plugin.import_seconds:.1f} s to import (over {SLOW_SECONDS} s): every verb "
            "waits for that. Its authors can import heavy libraries inside the functions that need them; "
            "TOCSIN_PLUGINS with the names of other plugins leaves it out.",
            PluginWarning,
            stacklevel=3,
        )


def _switch_off(
    registry: Registry, entry: Declared, cause: str, *, strict: bool, error: BaseException | None = None
) -> None:
    plugin = OffPlugin(entry.name, entry.origin, cause, error=error)
    if strict:
        raise PluginError(f"The plugin {plugin}") from error
    registry.off.append(plugin)


def _admit(
    registry: Registry, plugin: object, key: str, roles: Iterable[str], defined: Iterable[type] = ()
) -> tuple[tuple[str, ...], dict[str, list[type]]]:
    """Register a plugin and return its hooks and what it offers, all or nothing; `defined` are the classes
    that came with it.
    """
    manager = registry._manager
    offered: dict[str, list[type]] = {}
    try:
        manager.register(plugin, name=key)
        hooks = _checked_hooks(registry, plugin)
        for role in roles:
            if ROLES[role].hook in hooks:
                offered[role] = _offered(registry, plugin, role)
            _check_names(registry, role, defined)
    except BaseException:
        if manager.has_plugin(key):
            manager.unregister(name=key)
        raise
    return hooks, offered


def _checked_hooks(registry: Registry, plugin: object) -> tuple[str, ...]:
    callers = registry._manager.get_hookcallers(plugin) or []
    known = sorted(name for name in vars(hookspecs) if name.startswith("tocsin_"))
    for caller in callers:
        if not caller.has_spec():
            hint = did_you_mean(caller.name, known)
            raise PluginError(f"It implements a hook that does not exist: {caller.name}.{hint}")
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin and (implementation.wrapper or implementation.hookwrapper):
                raise PluginError(
                    f"Its {caller.name} is a wrapper. A hook may offer or observe, never change what others "
                    "offer: leave out wrapper=True and hookwrapper=True."
                )
    if not callers:
        raise PluginError("It implements no hook. Have you forgotten @hookimpl?")
    return tuple(sorted(caller.name for caller in callers))


def _check_names(registry: Registry, role: str, defined: Iterable[type]) -> None:
    """Refuse a class that is not offered but bears a component's name: it would make that name ambiguous for
    all.
    """
    base = getattr(door, ROLES[role].base)
    components = registry.components(role)
    for other in defined:
        taken = components.get(other.__name__)
        if taken is not None and taken is not other and issubclass(other, base):
            raise PluginError(
                f"It defines {other.__name__}, a name already offered by {registry.source(taken)}. Rename it."
            )


def _offered(registry: Registry, plugin: object, role: str) -> list[type]:
    hook = ROLES[role].hook
    answers = registry._only(hook, plugin)()
    if not answers:  # pluggy leaves out None
        raise PluginError(f"{hook} returned None; a list of classes is wanted. Have you forgotten `return`?")
    (answer,) = answers
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise PluginError(f"{hook} returned {given(answer)}; a list of classes is wanted.")
    base = getattr(door, ROLES[role].base)
    taken = {name: registry.source(other) for name, other in registry.components(role).items()}
    for component in answer:
        _check_component(hook, component, base)
        if component.__name__ in taken:
            owner = taken[component.__name__]
            raise PluginError(
                f"{hook} returned {component.__name__}, a name already offered by {owner}. Rename it."
            )
        taken[component.__name__] = "this plugin itself"
    return list(answer)


def _check_component(hook: str, component: Any, base: type) -> None:
    if not isinstance(component, type):
        hint = " Have you called the class? Return it without ()." if isinstance(component, base) else ""
        raise PluginError(f"{hook} returned {given(component)}; classes are wanted.{hint}")
    if not issubclass(component, base):
        raise PluginError(
            f"{hook} returned {component.__name__}, which is not a subclass of {base.__name__}."
        )
    if inspect.isabstract(component):
        missing = ", ".join(sorted(getattr(component, "__abstractmethods__", ())))
        raise PluginError(f"{hook} returned {component.__name__}, which still lacks: {missing}.")
    _check_constructor(hook, component)


def _check_constructor(hook: str, component: type) -> None:
    """Refuse arguments that the parser cannot check."""
    owner = next(base for base in component.__mro__ if "__init__" in vars(base))
    if owner is object or owner.__module__ == "torch.nn.modules.module":
        return  # no constructor of its own; theirs take nothing that a YAML could give
    constructor = vars(owner)["__init__"]
    for name, parameter in list(inspect.signature(constructor).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise PluginError(
                f"{hook} returned {component.__name__}, whose constructor takes {stars}{name}: a YAML could not "
                "be checked against it. Name each argument."
            )
        if parameter.annotation is parameter.empty:
            raise PluginError(
                f"{hook} returned {component.__name__}, whose argument {name} has no type: a YAML could not be "
                f"checked against it. Annotate it, for instance {name}: float."
            )


def _role_classes(roles: Iterable[str]) -> set[type]:
    """Return every class below the role bases, imported so far."""
    found: set[type] = set()
    waiting: list[type] = [getattr(door, ROLES[role].base) for role in roles]
    while waiting:
        children: list[type] = waiting.pop().__subclasses__()
        for child in children:
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _hide(before: set[type], roles: Iterable[str], entry: Declared, others: Iterable[Declared]) -> None:
    """Make a refused plugin's classes abstract: the parser offers every concrete subclass.

    Classes that it imported from other plugins stay as they are.
    """
    own = _package(entry)
    theirs = {_package(other) for other in others} - {own}
    for component in _role_classes(roles):
        package = component.__module__.partition(".")[0]
        if package == own or (component not in before and package not in theirs | {"tocsin"}):
            component.__abstractmethods__ = frozenset({"refused"})  # type: ignore[attr-defined]


def _package(entry: Declared) -> str:
    return entry.entry_point.module.partition(".")[0]
