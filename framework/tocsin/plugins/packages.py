"""Says which package is missing, and what brings it, where something could not be imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires

__all__ = ["missing_package"]

_CORE = "tocsin"
# For those who work on Tocsin: an extra that a user needs is another one.
_OWN_EXTRAS = ("bench", "dev", "test")
# Lightning's loggers and strategies name no module, but say what to install.
_ADVICE = re.compile(r"pip install (?:-U |--upgrade )?['\"`]?([A-Za-z][\w.-]*)")


def missing_package(error: ImportError, distributions: Iterable[str] = ()) -> str:
    """Return one sentence that names the missing package and the command that installs it; "" where none is missing.

    Args:
        error: As it was raised.
        distributions: Whose extras are looked at beside Tocsin's own, for instance a plugin's.
    """
    name = _name(error)
    if name is None or name == _CORE:
        return ""
    for distribution in (_CORE, *distributions):
        extra = _extra(distribution, name)
        if extra is not None:
            return f"the package {name} is not installed: pip install '{distribution}[{extra}]' brings it."
    return f"the package {name} is not installed: pip install {name.replace('_', '-')}"


def _name(error: ImportError) -> str | None:
    if error.name is not None:
        # A name that a package lacks is another fault than a package that is not there.
        return error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) else None
    found = _ADVICE.search(str(error))
    return found[1] if found else None


def _extra(distribution: str, package: str) -> str | None:
    try:
        wanted = requires(distribution) or []
    except PackageNotFoundError:
        return None
    for requirement in wanted:
        given, _, marker = requirement.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", marker)
        name = re.match(r"[\w.-]+", given.strip())
        if extra and name and extra[1] not in _OWN_EXTRAS and _plain(name[0]) == _plain(package):
            return extra[1]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
