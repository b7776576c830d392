"""Functions that plugins add beside components: verbs (`tocsin.v1.commands`) and data sets (`tocsin.v1.datasets`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from tocsin.errors import Interrupted, PluginError
from tocsin.plugins.discovery import COMMANDS, DATASETS, Declared, declared, selection
from tocsin.plugins.registry import described

__all__ = ["KINDS", "functions", "load_function", "switched_off"]

KINDS = {COMMANDS: "verb", DATASETS: "data set"}
"""What the functions of a group are to a user."""


def functions(group: str, environ: Mapping[str, str] = os.environ) -> dict[str, Declared]:
    """Return a group's functions, name -> entry point, from metadata alone; of two with one name, the first.

    What `TOCSIN_PLUGINS` switches off is left out.
    """
    chosen = selection(environ)
    found: dict[str, Declared] = {}
    for entry in declared(group):
        if entry in chosen:
            found.setdefault(entry.name, entry)
    return found


def switched_off(group: str, name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Say, with a leading space, that `TOCSIN_PLUGINS` switches off a function of that name, or return ""."""
    chosen = selection(environ)
    for entry in declared(group):
        if entry.name == name and entry not in chosen:
            return f" {entry.origin} offers one, which TOCSIN_PLUGINS switches off."
    return ""


def load_function(entry: Declared) -> Callable[..., Any]:
    """Import a plugin's function.

    Raises:
        PluginError: It cannot be imported, or is no function; names the distribution.
    """
    what = f"The {KINDS[entry.entry_point.group]} {entry.name!r} of {entry.origin}"
    if entry.fault:
        raise PluginError(f"{what} cannot be loaded: {entry.fault}")
    try:
        function: Callable[..., Any] = entry.entry_point.load()
    except (KeyboardInterrupt, Interrupted):
        raise
    # SystemExit too: who asks for a list of plugins must not be thrown out by one of them.
    except BaseException as error:
        raise PluginError(f"{what} cannot be loaded: {described(error)}") from error
    if not callable(function):
        raise PluginError(f"{what} is {function!r:.60}; a function is wanted.")
    return function
