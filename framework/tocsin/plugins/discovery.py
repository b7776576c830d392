"""What installed distributions declare, read from their metadata alone: nothing here imports a plugin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

from tocsin.arguments import Origin
from tocsin.errors import PluginError, did_you_mean

__all__ = [
    "COMMANDS",
    "DATASETS",
    "GROUP",
    "Declared",
    "Selection",
    "declared",
    "other_versions",
    "selection",
]

GROUP = "tocsin.v1"
COMMANDS = "tocsin.v1.commands"
DATASETS = "tocsin.v1.datasets"


@dataclass(frozen=True)
class Declared:
    """One entry point and the distribution that declares it.

    Attributes:
        name: The entry point's name.
        value: Where it points, "module" or "module:attribute".
        distribution: The distribution's name.
        version: The distribution's version.
        summary: The distribution's one-line summary, possibly empty.
        entry_point: The entry point itself; its `load()` imports the plugin.
    """

    name: str
    value: str
    distribution: str
    version: str
    summary: str
    entry_point: EntryPoint

    @property
    def origin(self) -> Origin:
        """The distribution and its version."""
        return Origin(self.distribution, self.version)


def declared(group: str) -> list[Declared]:
    """Return a group's entry points, ordered by distribution and name; of one distribution found twice, the
    first.
    """
    return [entry for entry in _entries() if entry.entry_point.group == group]


def other_versions(group: str = GROUP) -> list[Declared]:
    """Return the entry points of a group made for another version of the hooks, which are never imported."""
    of_any_version = re.compile(r"tocsin\.v\d+" + re.escape(group.removeprefix(GROUP)))
    groups = ((entry, entry.entry_point.group) for entry in _entries())
    return [entry for entry, other in groups if other != group and of_any_version.fullmatch(other)]


@dataclass(frozen=True)
class Selection:
    """What `TOCSIN_PLUGINS` says.

    Attributes:
        names: Entry points or distributions to load; None for all.
        strict: Whether the first broken plugin ends the program.
    """

    names: frozenset[str] | None
    strict: bool = False

    def __contains__(self, entry: Declared) -> bool:
        return self.names is None or bool({entry.name, entry.distribution} & self.names)


def selection(environ: Mapping[str, str]) -> Selection:
    """Read `TOCSIN_PLUGINS`: unset (all), `off`, `strict` (all, and a broken one raises) or names of plugins
    (entry points or distributions) with commas.

    Raises:
        PluginError: A name in the list is no installed plugin's.
    """
    value = environ.get("TOCSIN_PLUGINS", "").strip()
    if not value:
        return Selection(None)
    if value == "off":
        return Selection(frozenset())
    if value == "strict":
        return Selection(None, strict=True)
    names = frozenset(name for name in (part.strip() for part in value.split(",")) if name)
    known = [entry for entry in _entries() if entry.entry_point.group in (GROUP, COMMANDS, DATASETS)]
    installed = sorted({entry.name for entry in known} | {entry.distribution for entry in known})
    for name in sorted(names.difference(installed)):
        raise PluginError(
            f"TOCSIN_PLUGINS names {name!r}, which is no installed plugin.{did_you_mean(name, installed)} "
            f"Installed: {', '.join(installed) or 'none'}. Other values: off, strict."
        )
    return Selection(names)


def _entries() -> list[Declared]:
    seen: set[str] = set()
    found: list[Declared] = []
    for distribution in distributions():
        key = _normalized_name(distribution)
        if not key or key in seen:
            continue
        seen.add(key)
        found.extend(_declared_by(distribution))
    return sorted(found, key=lambda entry: (entry.distribution.lower(), entry.name))


def _normalized_name(distribution: Distribution) -> str:
    """Return a distribution's name with hyphens alone and in lower case, "" where it has none."""
    # Read off the folder's name, which costs a fiftieth of parsing the metadata of all that is installed.
    name = getattr(distribution, "_normalized_name", None) or distribution.metadata["Name"] or ""
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared_by(distribution: Distribution) -> Iterator[Declared]:
    # The text is searched first: parsing every distribution's entry points takes longer than everything else.
    if "tocsin.v" not in (distribution.read_text("entry_points.txt") or ""):
        return
    name = distribution.metadata["Name"]
    if not name:
        return
    for entry in distribution.entry_points:
        if entry.group.startswith("tocsin.v"):
            summary = distribution.metadata["Summary"] or ""
            yield Declared(entry.name, entry.value, name, distribution.version, summary, entry)
