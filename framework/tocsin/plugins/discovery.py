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
_VALUE = re.compile(r"\w+(\.\w+)*(\s*:\s*\w+(\.\w+)*)?(\s*\[[^\]]*\])?\s*")


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
        fault: What is wrong with the metadata, so that nothing can be loaded; "" where nothing is.
    """

    name: str
    value: str
    distribution: str
    version: str
    summary: str
    entry_point: EntryPoint
    fault: str = ""

    @property
    def module(self) -> str:
        """The module that it points at."""
        return self.value.partition(":")[0].strip()

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
        own = {_normalized(entry.name), _normalized(entry.distribution)}
        return self.names is None or bool(own & set(map(_normalized, self.names)))


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
    normalized = set(map(_normalized, installed))
    for name in sorted(name for name in names if _normalized(name) not in normalized):
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
    return _normalized(getattr(distribution, "_normalized_name", None) or distribution.metadata["Name"] or "")


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared_by(distribution: Distribution) -> Iterator[Declared]:
    """Yield what one distribution declares; metadata that cannot be read is a fault of its own, never the end."""
    try:
        # The text is searched first: parsing every distribution's entry points takes longer than everything else.
        if "tocsin.v" not in (distribution.read_text("entry_points.txt") or ""):
            return
    except (UnicodeDecodeError, OSError):
        return  # whatever it declares, it declares it to nobody
    name = distribution.metadata["Name"]
    if not name:
        return
    version = distribution.version or "0"
    try:
        entries = list(distribution.entry_points)
    except Exception as error:
        fault = f"its entry_points.txt cannot be read ({error})"
        yield Declared(name, "", name, version, "", EntryPoint(name, "", GROUP), fault)
        return
    summary = distribution.metadata["Summary"] or ""
    for entry in entries:
        if entry.group.startswith("tocsin.v"):
            fault = ""
            if not _VALUE.fullmatch(entry.value):
                fault = f"its entry point says {entry.value!r}; wanted: module, or module:attribute"
            yield Declared(entry.name, entry.value, name, version, summary, entry, fault)
