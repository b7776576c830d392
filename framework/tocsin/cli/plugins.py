"""`tocsin plugins`: what is installed, from metadata alone; `--check` loads each."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from tocsin.plugins.discovery import COMMANDS, DATASETS, GROUP, declared, other_versions, selection

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """List installed plugins. Returns 0, or 1 when `--check` finds one that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="tocsin plugins", description="List installed plugins, from their metadata alone."
    )
    parser.add_argument(
        "--check", action="store_true", help="load each, and show what it offers or why it fails"
    )
    options = parser.parse_args(list(argv))
    return _check() if options.check else _list()


def _list() -> int:
    found = declared(GROUP)
    chosen = selection(os.environ, found)
    rows = [
        (
            entry.name,
            f"{entry.distribution} {entry.version}",
            GROUP,
            "on" if entry in chosen else "off (TOCSIN_PLUGINS)",
        )
        for entry in found
    ]
    rows += [
        (
            entry.name,
            f"{entry.distribution} {entry.version}",
            entry.entry_point.group,
            f"off (this Tocsin has {GROUP})",
        )
        for entry in other_versions()
    ]
    rows += [
        (entry.name, f"{entry.distribution} {entry.version}", GROUP, kind)
        for group, kind in ((COMMANDS, "verb"), (DATASETS, "data set"))
        for entry in declared(group)
    ]
    if not rows:
        print("No plugins are installed.")
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]))
    return 0


def _check() -> int:
    from tocsin.plugins.manager import ROLES, load_plugins

    registry = load_plugins()
    for plugin in registry.on:
        print(f"ok      {plugin.name} ({plugin.distribution} {plugin.version})")
        for role in ROLES:
            names = [
                n for n, c in registry.components(role).items() if registry.source(c) == plugin.distribution
            ]
            if names:
                print(f"          {role}: {', '.join(names)}")
    for off in registry.off:
        print(f"off     {off}")
    return 1 if registry.off else 0
