"""`tocsin plugins`: what is installed, from metadata alone; `--check` loads each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.options import OptionParser
from tocsin.escaping import json_escaped, print_lines
from tocsin.plugins.discovery import COMMANDS, DATASETS, GROUP, Declared, declared, other_versions, selection
from tocsin.plugins.roles import OBSERVERS, ROLES

if TYPE_CHECKING:
    from tocsin.plugins.registry import OffPlugin, OnPlugin, Registry

__all__ = ["checked_plugins", "main"]

_KINDS = {GROUP: "components", COMMANDS: "verb", DATASETS: "data set"}


@dataclass
class _Listed:
    """One entry point, as it is printed; the last five are known after `--check` alone."""

    name: str
    distribution: str
    version: str
    kind: str
    hook_api: str
    state: str
    cause: str | None = None
    where: str | None = None
    hooks: list[str] = field(default_factory=list)
    components: dict[str, list[str]] = field(default_factory=dict)
    import_seconds: float | None = None
    offer_seconds: float | None = None


def main(argv: Sequence[str]) -> int:
    """List installed plugins. Returns 0, or 1 when `--check` finds one that is broken."""
    parser = OptionParser(
        prog="tocsin plugins",
        description="List installed plugins, from their metadata alone: nothing of them is imported. "
        "TOCSIN_PLUGINS=off switches all off, TOCSIN_PLUGINS=a,b all but those, and with TOCSIN_PLUGINS=strict "
        "a broken one ends every verb.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load each; show its hooks, its components, how long that took, or why it fails",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(list(argv))
    listed = checked_plugins() if options.check else _declared()
    if options.json:
        facts = {"hook_api": GROUP, "plugins": [asdict(one) for one in listed]}
        print(json_escaped(json.dumps(facts, indent=2, ensure_ascii=False)))
    elif not listed:
        print_lines("No plugins are installed.")
    else:
        _print(listed)
    return int(options.check and any(one.state == "broken" for one in listed))


def checked_plugins() -> list[_Listed]:
    """Load every installed plugin, and return what each offers or why it fails."""
    listed = _declared()
    _load(listed)
    return listed


def _declared() -> list[_Listed]:
    """Return every entry point with what its metadata tells."""
    from tocsin.cli.verbs import CORE_VERBS

    chosen = selection(os.environ)
    found: list[_Listed] = []
    for group, kind in _KINDS.items():
        owners = dict.fromkeys(CORE_VERBS, "Tocsin itself") if group == COMMANDS else {}
        for entry in declared(group):
            one = _listed(entry, kind, "on")
            if entry.fault:
                one.state, one.cause = "broken", entry.fault
            elif entry not in chosen:
                one.state, one.cause = "off", "switched off by TOCSIN_PLUGINS"
            elif group != GROUP and entry.name in owners:
                one.state, one.cause = "broken", f"{owners[entry.name]} has a {kind} of that name"
            else:
                owners[entry.name] = entry.distribution
            found.append(one)
        for entry in other_versions(group):
            one = _listed(entry, kind, "broken")
            one.cause = f"it is made for other hooks; this Tocsin has {GROUP}"
            found.append(one)
    return found


def _listed(entry: Declared, kind: str, state: str) -> _Listed:
    api = ".".join(entry.entry_point.group.split(".")[:2])
    return _Listed(entry.name, entry.distribution, entry.version, kind, api, state)


def _load(listed: list[_Listed]) -> None:
    """Load what is on, and note what it offers or why it fails."""
    import warnings

    from tocsin.errors import PluginError
    from tocsin.plugins.functions import functions, load_function
    from tocsin.plugins.manager import load_plugins
    from tocsin.plugins.registry import PluginWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the list says itself what is slow
        # Here a broken plugin is what was asked for: "strict" would end with the first.
        strict = os.environ.get("TOCSIN_PLUGINS", "").strip() == "strict"
        registry = load_plugins({} if strict else os.environ)
    plugins: list[OnPlugin | OffPlugin] = [*registry.off, *registry.on]
    loaded = {(plugin.origin.distribution, plugin.name): plugin for plugin in plugins}
    verbs = {group: functions(group) for group in (COMMANDS, DATASETS)}
    for one in listed:
        if one.state != "on":
            continue
        if one.kind == _KINDS[GROUP]:
            _note(one, loaded[one.distribution, one.name], registry)
            continue
        group = COMMANDS if one.kind == _KINDS[COMMANDS] else DATASETS
        try:
            load_function(verbs[group][one.name])
        except PluginError as error:
            one.state, one.cause, one.where = "broken", str(error), _where(error.__cause__)
        else:
            one.state = "ok"


def _note(one: _Listed, plugin: OnPlugin | OffPlugin, registry: Registry) -> None:
    from tocsin.plugins.registry import OffPlugin

    if isinstance(plugin, OffPlugin):
        one.state, one.cause, one.where = "broken", plugin.cause, _where(plugin.error)
        return
    one.state = "slow" if plugin.slow else "ok"
    one.hooks = list(plugin.hooks)
    one.import_seconds = round(plugin.import_seconds, 3)
    one.offer_seconds = round(plugin.offer_seconds, 3)
    for role, entry in ROLES.items():
        if entry.hook in plugin.hooks:
            offered = registry.components(role).items()
            one.components[role] = [name for name, part in offered if registry.origin(part) == plugin.origin]


def _where(error: BaseException | None) -> str | None:
    """Return the line of the plugin's own code, or of what it called, where an exception came from."""
    import traceback

    from tocsin.errors import PluginError

    if error is None or isinstance(error, PluginError):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    door = Path(__file__).parents[1] / "plugins"
    inside = [
        frame
        for frame in frames
        if "importlib" not in frame.filename
        and "pluggy" not in frame.filename
        and not Path(frame.filename).is_relative_to(door)
    ]
    return f"{inside[-1].filename}, line {inside[-1].lineno}" if inside else None


def _print(listed: list[_Listed]) -> None:
    rows = [
        (one.state, one.name, f"{one.distribution} {one.version}", one.kind, f"hooks {one.hook_api}")
        for one in listed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for one, row in zip(listed, rows, strict=True):
        print_lines("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        indent = " " * (widths[0] + 2)
        if one.cause:
            for line in one.cause.splitlines():
                print_lines(indent + line)
        if one.where:
            print_lines(f"{indent}at {one.where}")
        for role, names in one.components.items():
            print_lines(f"{indent}{role}: {', '.join(names)}")
        observed = [hook for hook in one.hooks if hook in OBSERVERS]
        if observed:
            print_lines(f"{indent}observes: {', '.join(observed)}")
        if one.import_seconds is not None and one.offer_seconds is not None:
            slow = ", slow: every verb waits for it" if one.state == "slow" else ""
            print_lines(
                f"{indent}imported in {one.import_seconds:.2f} s, offered in {one.offer_seconds:.2f} s{slow}"
            )
