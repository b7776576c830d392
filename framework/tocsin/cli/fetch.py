"""`tocsin fetch`: data sets that plugins offer, listed from metadata alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tocsin.cli.options import OptionParser
from tocsin.errors import ConfigError, did_you_mean
from tocsin.escaping import print_lines
from tocsin.plugins.discovery import DATASETS, Declared
from tocsin.plugins.functions import functions, load_function, switched_off

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """List data sets, or fetch one into a folder."""
    parser = OptionParser(
        prog="tocsin fetch", description="Fetch a data set that a plugin offers; without a name, list them."
    )
    parser.add_argument("name", nargs="?", help="the data set")
    parser.add_argument(
        "--data",
        metavar="DIR",
        default="data",
        help="folder to write into, made when missing (default: %(default)s, where configs look first; "
        '--data "$TOCSIN_DATA" writes where they look next)',
    )
    options = parser.parse_args(list(argv))
    sets = functions(DATASETS)
    if options.name is None:
        return _list(sets)
    if options.name not in sets:
        hint = switched_off(DATASETS, options.name) or did_you_mean(options.name, list(sets))
        known = ", ".join(sets) or "none (no installed plugin offers any)"
        raise ConfigError(f"There is no data set {options.name!r}.{hint} Known: {known}.")
    folder = _folder(options.data)
    path: Path = load_function(sets[options.name])(folder)
    print_lines(f"{options.name}: {path}")
    return 0


def _folder(given: str) -> Path:
    # An unset $TOCSIN_DATA arrives as an empty string; Path("") would be the working folder.
    if not given:
        raise ConfigError("--data is empty; a folder is wanted. Is $TOCSIN_DATA unset?")
    folder = Path(os.path.expanduser(given))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    return folder


def _list(sets: dict[str, Declared]) -> int:
    if not sets:
        print_lines("No installed plugin offers a data set.")
        return 0
    width = max(map(len, sets))
    for name, entry in sets.items():
        print_lines(f"{name:<{width}}  {entry.summary} [{entry.distribution} {entry.version}]")
    return 0
