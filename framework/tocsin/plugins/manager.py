"""Loads plugins one by one and keeps what they offer.

A broken plugin is switched off as a whole, with its cause kept, and the rest works: it is unregistered and
the classes it has already defined are made abstract, so that no short name resolves to them. There is no
global manager: whoever needs one calls `load_plugins` and passes the registry on.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import tocsin.plugins as door
from tocsin import __version__
from tocsin.arguments import CORE, Origin
from tocsin.errors import Interrupted, PluginError, did_you_mean
from tocsin.plugins import builtin, hookspecs
from tocsin.plugins.discovery import GROUP, Declared, declared, other_versions, selection
from tocsin.plugins.isolation import undisturbed
from tocsin.plugins.registry import SLOW_SECONDS, OffPlugin, OnPlugin, Registry, described, given, warn
from tocsin.plugins.roles import ROLES, TASKS
from tocsin.plugins.signatures import has_type

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
        before = _visible(wanted)
        try:
            plugin, offered = _load(registry, entry, wanted, before)
        except (KeyboardInterrupt, Interrupted):
            raise
        # SystemExit too: a plugin that calls sys.exit() must not end the program.
        except BaseException as error:
            others = [other for other in found if other is not entry]
            _hide(_visible(wanted) - before - _belonging(_visible(wanted), others), registry)
            _switch_off(registry, entry, described(error), strict=chosen.strict, error=error)
        else:
            registry._take(offered, entry.origin)
            registry.on.append(plugin)
            _report_slow(plugin)
    _settle(registry, wanted, found)
    return registry


def _load(
    registry: Registry, entry: Declared, roles: Sequence[str], before: set[type]
) -> tuple[OnPlugin, dict[str, list[type]]]:
    """Import a plugin and return it with what it offers; nothing of it stays registered when this raises."""
    if entry.fault:
        raise PluginError(entry.fault)
    with undisturbed(lambda what: warn(f"The plugin {entry.name} ({entry.origin}): {what}."), quiet=True):
        start = time.perf_counter()
        module = entry.entry_point.load()
        imported = time.perf_counter()
        hooks, offered = _admit(registry, module, f"{entry.distribution}:{entry.name}", roles, before)
        ended = time.perf_counter()
    plugin = OnPlugin(entry.name, entry.origin, hooks, imported - start, ended - imported)
    return plugin, offered


def _report_slow(plugin: OnPlugin) -> None:
    if plugin.slow:
        warn(
            f"The plugin {plugin} took {plugin.import_seconds:.1f} s to import (over {SLOW_SECONDS} s): every verb "
            "waits for that. Its authors can import heavy libraries, and role bases such as Head that bring torch, "
            "inside the functions that need them; TOCSIN_PLUGINS with the names of other plugins leaves it out."
        )


def _switch_off(
    registry: Registry, entry: Declared, cause: str, *, strict: bool, error: BaseException | None = None
) -> None:
    plugin = OffPlugin(entry.name, entry.origin, cause, error=error)
    if strict:
        raise PluginError(f"The plugin {plugin}") from error
    registry.off.append(plugin)


def _admit(
    registry: Registry, plugin: object, key: str, roles: Sequence[str], before: set[type] | None = None
) -> tuple[tuple[str, ...], dict[str, list[type]]]:
    """Register a plugin and return its hooks and what it offers, all or nothing; `before` are the role classes
    that were there before it was imported.
    """
    manager = registry._manager
    offered: dict[str, list[type]] = {}
    try:
        manager.register(plugin, name=key)
        hooks = _checked_hooks(registry, plugin)
        for role in roles:
            if ROLES[role].hook in hooks:
                offered[role] = _offered(registry, plugin, role)
        # After the hooks: they may have imported more than they offer.
        defined = set() if before is None else _visible(roles) - before
        for role in roles:
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
    _show(component)
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
    if not _importable(component):
        raise PluginError(
            f"{hook} returned {component.__name__}, which is not to be found as {component.__module__}."
            f"{component.__qualname__}: define it at the top of a module."
        )
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
        if not has_type(component, name):
            raise PluginError(
                f"{hook} returned {component.__name__}, whose argument {name} has the type {parameter.annotation!r}, "
                "which cannot be found at run time: import it outside `if TYPE_CHECKING`."
            )


def _importable(component: type) -> bool:
    """Whether a class is found where it says that it is defined, as the parser will look for it."""
    found: Any = sys.modules.get(component.__module__)
    for name in component.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is component


def _visible(roles: Iterable[str]) -> set[type]:
    """Return every class below the role bases, imported so far and not hidden."""
    found: set[type] = set()
    waiting: list[type] = [getattr(door, ROLES[role].base) for role in roles]
    while waiting:
        children: list[type] = waiting.pop().__subclasses__()
        for child in children:
            if child not in found:
                found.add(child)
                waiting.append(child)
    return {component for component in found if _HIDDEN not in vars(component)}


_HIDDEN = "__tocsin_hidden__"
"""The attribute of a hidden class that keeps what it had lacked before."""


def _hide(components: Iterable[type], registry: Registry) -> None:
    """Make classes abstract, so that no short name leads to them: the parser offers every concrete subclass.

    Our own and those that somebody offers stay as they are.
    """
    offered = set(registry.classes())
    for component in components:
        if component not in offered and not _within(component, CORE):
            setattr(component, _HIDDEN, getattr(component, "__abstractmethods__", frozenset()))
            component.__abstractmethods__ = frozenset({"refused"})  # type: ignore[attr-defined]


def _show(component: object) -> None:
    """Undo `_hide`, for a class that is offered after all."""
    if isinstance(component, type) and _HIDDEN in vars(component):
        component.__abstractmethods__ = vars(component)[_HIDDEN]  # type: ignore[attr-defined]
        delattr(component, _HIDDEN)


def _settle(registry: Registry, roles: Sequence[str], found: Iterable[Declared]) -> None:
    """Hide what would make a name mean two things: classes of refused plugins, and unoffered ones that bear a
    component's name.
    """
    broken = {(plugin.name, plugin.origin) for plugin in registry.off if plugin.broken}
    entries = [entry for entry in found if (entry.name, entry.origin) in broken]
    _hide(_belonging(_visible(roles), entries), registry)
    for role in roles:
        base = getattr(door, ROLES[role].base)
        components = registry.components(role)
        for other in _visible(roles):
            taken = components.get(other.__name__)
            foreign = taken is not None and taken is not other and issubclass(other, base)
            if foreign and not inspect.isabstract(other) and not _within(other, CORE):
                warn(
                    f"{other.__module__} defines a {other.__name__} that nobody offers, beside that of "
                    f"{registry.source(components[other.__name__])}; it cannot be named. Its authors should rename it."
                )
                _hide([other], registry)


def _belonging(components: Iterable[type], entries: Iterable[Declared]) -> set[type]:
    """Return the classes that are defined in the module of an entry point, or below it."""
    modules = [entry.module for entry in entries if entry.module]
    return {one for one in components if any(_within(one, module) for module in modules)}


def _within(component: type, module: str) -> bool:
    return component.__module__ == module or component.__module__.startswith(f"{module}.")
