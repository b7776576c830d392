"""What is on offer: components by role and short name, where each comes from, and which plugins are off and why."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

from tocsin.arguments import Origin
from tocsin.errors import ConfigError, Interrupted, PluginError, did_you_mean
from tocsin.escaping import print_lines
from tocsin.plugins import hookspecs
from tocsin.plugins.isolation import undisturbed
from tocsin.plugins.roles import ROLES, TASKS, in_words

if TYPE_CHECKING:
    from tocsin.scores.sections import Section
    from tocsin.scores.table import ScoresTable

__all__ = ["SLOW_SECONDS", "OffPlugin", "OnPlugin", "PluginWarning", "Registry", "described", "warn"]

SLOW_SECONDS = 0.5
"""A plugin whose module takes longer to import is named: every verb that needs components pays for it."""


class PluginWarning(UserWarning):
    """A plugin is slow, or failed where that ends nothing."""


@dataclass(frozen=True)
class OnPlugin:
    """A plugin that works.

    Attributes:
        name: Its entry point's name.
        origin: Its distribution and version.
        hooks: The hooks that it implements.
        import_seconds: How long its module took to import, 0 where it had been imported before.
        offer_seconds: How long its offering hooks took.
    """

    name: str
    origin: Origin
    hooks: tuple[str, ...] = ()
    import_seconds: float = 0.0
    offer_seconds: float = 0.0

    @property
    def slow(self) -> bool:
        """Whether its module took longer than `SLOW_SECONDS` to import."""
        return self.import_seconds > SLOW_SECONDS

    def __str__(self) -> str:
        return f"{self.name} ({self.origin})"


@dataclass(frozen=True)
class OffPlugin:
    """A plugin that is not in use, and why.

    Attributes:
        name: Its entry point's name.
        origin: Its distribution and version.
        cause: Why, as a sentence.
        broken: Whether it failed; False where the user switched it off.
        error: The exception behind the cause, for a traceback.
    """

    name: str
    origin: Origin
    cause: str
    broken: bool = True
    error: BaseException | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.origin}): {self.cause}"


class Registry:
    """The components on offer, by role and name, and the plugins that offer them.

    `tocsin.plugins.manager.load_plugins` fills it; nobody else adds to it.

    Attributes:
        on: The plugins in use, the core not among them, in the order of their loading.
        off: The plugins that are not in use, each with its cause.
    """

    def __init__(self) -> None:
        self.on: list[OnPlugin] = []
        self.off: list[OffPlugin] = []
        self._manager = pluggy.PluginManager("tocsin")
        self._manager.add_hookspecs(hookspecs)
        self._components: dict[str, dict[str, type]] = {role: {} for role in (*TASKS, *ROLES)}
        self._origins: dict[type, Origin] = {}

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
        hint = did_you_mean(name, known)
        listed = f"Known {in_words(role, plural=True)}: {', '.join(known) or 'none'}."
        return f"No {in_words(role)} is called {name!r}.{hint} {listed}{self.told_off()}"

    def told_off(self) -> str:
        """Return the plugins that are off, one a line, as the end of a message; "" where none is."""
        return "\nPlugins that are off:" + "".join(f"\n  {plugin}" for plugin in self.off) if self.off else ""

    def origin(self, component: type) -> Origin:
        """Return the distribution that offers a component, "tocsin" for our own; KeyError for a stranger."""
        return self._origins[component]

    def source(self, component: type) -> str:
        """Return the name of the distribution that offers a component."""
        return self.origin(component).distribution

    def classes(self) -> list[type]:
        """Return every component's class."""
        return list(self._origins)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call an observing hook, each plugin alone; one that raises is named in a warning."""
        for _ in self._observed(hook, arguments):
            pass

    def report_sections(self, scores: ScoresTable) -> list[Section]:
        """Return the sections that plugins add to the report of a scores table, in the order of their loading.

        A plugin that raises or returns something else is named in a warning, and its sections are left out.
        """
        from tocsin.scores.sections import Section

        found: list[Section] = []
        for plugin, answer in self._observed("tocsin_report_sections", {"scores": scores}):
            if not isinstance(answer, Sequence) or not all(isinstance(part, Section) for part in answer):
                self._warn(plugin, f"tocsin_report_sections returned {given(answer)}; Sections are wanted")
                continue
            found.extend(answer)
        return found

    def _observed(self, hook: str, arguments: Mapping[str, Any]) -> Iterator[tuple[OnPlugin, Any]]:
        """Call a hook of each plugin alone and yield what it returned, None left out."""
        for plugin in self.on:
            if hook not in plugin.hooks:
                continue
            try:
                with undisturbed(lambda what, plugin=plugin: self._warn(plugin, f"in {hook} {what}")):  # type: ignore[misc]
                    answers = self._only(hook, self._manager.get_plugin(_key(plugin)))(**arguments)
            except (KeyboardInterrupt, Interrupted):
                raise
            # SystemExit too: a watcher must not end the run that it watches.
            except BaseException as error:
                self._warn(plugin, f"it failed in {hook}: {described(error)}")
                continue
            for answer in answers:
                yield plugin, answer

    def _only(self, hook: str, plugin: object) -> pluggy.HookCaller:
        """Return the caller of one plugin's hook, nobody else's."""
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        return self._manager.subset_hook_caller(hook, remove_plugins=others)

    @staticmethod
    def _warn(plugin: OnPlugin, what: str) -> None:
        warn(f"The plugin {plugin}: {what}.")

    def _take(self, offered: Mapping[str, Sequence[type]], origin: Origin) -> None:
        for role, classes in offered.items():
            for component in classes:
                self._components[role][component.__name__] = component
                self._origins[component] = origin


def warn(text: str) -> None:
    """Give a PluginWarning; what makes errors of warnings must not end a run here."""
    try:
        warnings.warn(text, PluginWarning, stacklevel=4)
    except PluginWarning:
        print_lines(f"warning: {text}", stderr=True)


def _key(plugin: OnPlugin) -> str:
    """Return the name under which pluggy knows a plugin: entry points of two distributions may share theirs."""
    return f"{plugin.origin.distribution}:{plugin.name}"


def described(error: BaseException) -> str:
    """Return one line: a plugin's own complaint as it is, anything else with its type."""
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, SystemExit):
        code = error.code
        return f"it called sys.exit({code!r})" if isinstance(code, int | str | None) else "it called sys.exit"
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    try:
        text = str(error)
    except Exception:
        text = ""  # an error that cannot even say itself
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # pluggy says on its last line which argument of a hook is wrong
    said = " ".join(lines) if isinstance(error, pluggy.PluginValidationError) else "".join(lines[:1])
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def given(value: object) -> str:
    """Return a value in an error's words: its type and how it prints."""
    try:
        shown = f", {value!r:.60}"
    except Exception:
        shown = ""  # it cannot print itself
    return "None" if value is None else f"a {type(value).__name__}{shown}"
