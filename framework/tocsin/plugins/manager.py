"""Loads plugins one by one and keeps what they offer.

A broken plugin is switched off as a whole, with its cause kept, and the rest works: it is unregistered and
the classes it has already defined are made abstract, so that no short name resolves to them. There is no
global manager: whoever needs one calls `load_plugins` and passes the registry on.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pluggy

import tocsin.plugins as door
from tocsin.errors import ConfigError, PluginError, did_you_mean
from tocsin.plugins import builtin, hookspecs
from tocsin.plugins.discovery import GROUP, Declared, declared, other_versions, selection

__all__ = ["ROLES", "TASKS", "OffPlugin", "OnPlugin", "Registry", "load_plugins"]

CORE = "tocsin"


@dataclass(frozen=True)
class Role:
    """How a role is offered: its hook, and its base class's name at the door."""

    hook: str
    base: str


ROLES: dict[str, Role] = {
    "reader": Role("tocsin_readers", "Reader"),
    "cleaner": Role("tocsin_cleaners", "Cleaner"),
    "splitter": Role("tocsin_splitters", "Splitter"),
    "label_scheme": Role("tocsin_label_schemes", "LabelScheme"),
    "encoder": Role("tocsin_encoders", "Encoder"),
    "pooling": Role("tocsin_poolings", "Pooling"),
    "head": Role("tocsin_heads", "Head"),
    "loss": Role("tocsin_losses", "Loss"),
    "optimizer": Role("tocsin_optimizers", "Optimizer"),
    "schedule": Role("tocsin_schedules", "Schedule"),
    "calibrator": Role("tocsin_calibrators", "Calibrator"),
    "ensembler": Role("tocsin_ensemblers", "Ensembler"),
    "decision_rule": Role("tocsin_decision_rules", "DecisionRule"),
}

TASKS = {"model": "models", "data": "data_modules"}
"""Roles without a hook, because only the core fills them, and the core's function that lists them."""


@dataclass(frozen=True)
class OnPlugin:
    """A plugin that works."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True)
class OffPlugin:
    """A plugin that is not in use, and why."""

    name: str
    distribution: str
    version: str
    cause: str

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version}): {self.cause}"


class Registry:
    """The components on offer, by role and name, and the plugins that offer them.

    Attributes:
        on: The plugins in use, the core not among them.
        off: The plugins that are not in use, each with its cause.
    """

    def __init__(self) -> None:
        self.on: list[OnPlugin] = []
        self.off: list[OffPlugin] = []
        self._manager = pluggy.PluginManager("tocsin")
        self._manager.add_hookspecs(hookspecs)
        self._components: dict[str, dict[str, type]] = {role: {} for role in (*TASKS, *ROLES)}
        self._source: dict[type, str] = {}

    def components(self, role: str) -> dict[str, type]:
        """Return a role's components, short name -> class, the core's first.

        Raises:
            ConfigError: There is no such role.
        """
        if role not in self._components:
            roles = list(self._components)
            raise ConfigError(
                f"There is no role {role!r}.{did_you_mean(role, roles)} Roles: {', '.join(roles)}."
            )
        return dict(self._components[role])

    def find(self, role: str, name: str) -> type:
        """Return the component of that role and name.

        Raises:
            ConfigError: There is no such role, or nobody offers such a component.
        """
        components = self.components(role)
        if name not in components:
            raise ConfigError(self.unknown(role, name))
        return components[name]

    def unknown(self, role: str, name: str) -> str:
        """Say that a role has no component of that name: the closest name, the known ones, what is switched
        off and why.
        """
        known = sorted(self._components.get(role, {}))
        words = role.replace("_", " ")
        hint = did_you_mean(name, known)
        message = f"No {words} is called {name!r}.{hint} Known {words}s: {', '.join(known) or 'none'}."
        if self.off:
            message += "\nPlugins that are off:" + "".join(f"\n  {plugin}" for plugin in self.off)
        return message

    def source(self, component: type) -> str:
        """Return the distribution that offers a component, "tocsin" for our own."""
        return self._source[component]

    def classes(self) -> list[type]:
        """Return every component's class."""
        return list(self._source)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call an observer hook, each plugin alone; one that raises is reported in a warning."""
        for plugin in self._manager.get_plugins():
            try:
                self._only(hook, plugin)(**arguments)
            except Exception as error:
                name = self._manager.get_name(plugin)
                warnings.warn(f"The plugin {name} failed in {hook}: {_describe(error)}", stacklevel=2)

    def _only(self, hook: str, plugin: object) -> pluggy.HookCaller:
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        return self._manager.subset_hook_caller(hook, remove_plugins=others)

    def _admit(
        self, plugin: object, name: str, source: str, roles: Iterable[str], defined: Iterable[type] = ()
    ) -> None:
        """Register a plugin and take what it offers, all or nothing; `defined` are the classes that came
        with it.
        """
        offered: dict[str, list[type]] = {}
        try:
            self._manager.register(plugin, name=name)
            self._check_hooks(plugin)
            for role in roles:
                offered[role] = self._offered(plugin, role)
                self._check_names(role, defined)
        except BaseException:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise
        self._take(offered, source)

    def _take(self, offered: Mapping[str, Sequence[type]], source: str) -> None:
        for role, classes in offered.items():
            for component in classes:
                self._components[role][component.__name__] = component
                self._source[component] = source

    def _check_hooks(self, plugin: object) -> None:
        callers = self._manager.get_hookcallers(plugin) or []
        known = sorted(name for name in vars(hookspecs) if name.startswith("tocsin_"))
        for caller in callers:
            if not caller.has_spec():
                hint = did_you_mean(caller.name, known)
                raise PluginError(f"It implements a hook that does not exist: {caller.name}.{hint}")
        if not callers:
            raise PluginError("It implements no hook. Have you forgotten @hookimpl?")

    def _check_names(self, role: str, defined: Iterable[type]) -> None:
        """Refuse a class that is not offered but bears a component's name: it would make that name ambiguous
        for all.
        """
        base = getattr(door, ROLES[role].base)
        for other in defined:
            taken = self._components[role].get(other.__name__)
            if taken is not None and taken is not other and issubclass(other, base):
                raise PluginError(
                    f"It defines {other.__name__}, a name already offered by {self._source[taken]}."
                )

    def _offered(self, plugin: object, role: str) -> list[type]:
        hook = ROLES[role].hook
        answers = self._only(hook, plugin)()
        if not answers:
            return []
        (answer,) = answers
        if isinstance(answer, str) or not isinstance(answer, Sequence):
            raise PluginError(f"{hook} returned {_given(answer)}; a list of classes is wanted.")
        base = getattr(door, ROLES[role].base)
        names: set[str] = set()
        for component in answer:
            if not isinstance(component, type):
                hint = (
                    " Have you called the class? Return it without ()." if isinstance(component, base) else ""
                )
                raise PluginError(f"{hook} returned {_given(component)}; classes are wanted.{hint}")
            if not issubclass(component, base):
                raise PluginError(
                    f"{hook} returned {component.__name__}, which is not a subclass of {base.__name__}."
                )
            if inspect.isabstract(component):
                missing = ", ".join(sorted(getattr(component, "__abstractmethods__", ())))
                raise PluginError(f"{hook} returned {component.__name__}, which still lacks: {missing}.")
            taken = self._components[role].get(component.__name__)
            if taken is not None or component.__name__ in names:
                owner = "this plugin twice" if taken is None else self._source[taken]
                raise PluginError(f"{hook} returned {component.__name__}, a name already offered by {owner}.")
            names.add(component.__name__)
        return list(answer)


def load_plugins(
    environ: Mapping[str, str] = os.environ, *, roles: Iterable[str] | None = None, core: ModuleType = builtin
) -> Registry:
    """Load the core's components and every selected plugin's.

    Args:
        environ: Where `TOCSIN_PLUGINS` is looked up: unset (all), `off`, `strict`, or names with commas.
        roles: The roles to ask for; None for all. Fewer roles cost fewer imports.
        core: The module that offers the core's components.

    Returns:
        The registry; its `off` names each plugin that could not be used, and why.

    Raises:
        PluginError: `TOCSIN_PLUGINS=strict` and a plugin is broken, or a name in it is not installed.
    """
    asked = list(TASKS) + list(ROLES) if roles is None else list(roles)
    wanted = [role for role in asked if role in ROLES]
    registry = Registry()
    registry._admit(core, CORE, CORE, wanted)
    registry._take({role: getattr(core, TASKS[role])() for role in asked if role in TASKS}, CORE)
    found = declared(GROUP)
    chosen = selection(environ, found)
    for entry in other_versions():
        group = entry.entry_point.group
        cause = (
            f"it is made for the hooks {group}, this Tocsin has {GROUP}; install a version of it for {GROUP}"
        )
        _switch_off(registry, entry, cause, strict=chosen.strict)
    for entry in found:
        if entry not in chosen:
            registry.off.append(
                OffPlugin(entry.name, entry.distribution, entry.version, "switched off by TOCSIN_PLUGINS")
            )
            continue
        before = _role_classes(wanted)
        try:
            module = entry.entry_point.load()
            defined = _role_classes(wanted) - before
            registry._admit(module, f"{entry.distribution}:{entry.name}", entry.distribution, wanted, defined)
        except KeyboardInterrupt:
            raise
        # SystemExit too: a plugin that calls sys.exit() must not end the program.
        except BaseException as error:
            _hide(before, wanted, entry.entry_point.module)
            _switch_off(registry, entry, _describe(error), strict=chosen.strict, error=error)
        else:
            registry.on.append(OnPlugin(entry.name, entry.distribution, entry.version))
    return registry


def _switch_off(
    registry: Registry, entry: Declared, cause: str, *, strict: bool, error: BaseException | None = None
) -> None:
    plugin = OffPlugin(entry.name, entry.distribution, entry.version, cause)
    if strict:
        raise PluginError(f"The plugin {plugin}") from error
    registry.off.append(plugin)


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


def _hide(before: set[type], roles: Iterable[str], module: str) -> None:
    """Make a refused plugin's classes abstract: the parser offers every concrete subclass."""
    for component in _role_classes(roles):
        own = component.__module__ == module or component.__module__.startswith(f"{module}.")
        if component not in before or own:
            component.__abstractmethods__ = frozenset({"refused"})  # type: ignore[attr-defined]


def _describe(error: BaseException) -> str:
    """Return one line: a plugin's own complaint as it is, anything else with its type."""
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}) when it was loaded"
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # pluggy says on its last line which argument of a hook is wrong
    said = " ".join(lines) if isinstance(error, pluggy.PluginValidationError) else "".join(lines[:1])
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _given(value: object) -> str:
    return f"a {type(value).__name__}, {value!r:.60}"
