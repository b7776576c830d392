"""`--reader`: how the verbs that read tables are told a reader."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tocsin.text.reading import Reader

__all__ = ["add_reader_argument", "named_reader", "reader_of"]


def add_reader_argument(parser: argparse.ArgumentParser, otherwise: str = "by the file's ending") -> None:
    """Add the option.

    Args:
        parser: The verb's.
        otherwise: What chooses the reader without it.
    """
    parser.add_argument(
        "--reader",
        metavar="NAME:OPTION=VALUE,…",
        help=f"how the table is read, such as tsv:quotes=false or 'csv:delimiter=;,encoding=cp1252' ({otherwise}); "
        "`tocsin components reader` lists readers and options",
    )


def named_reader(spec: str) -> Reader:
    """Return the reader that a command line names.

    Raises:
        ConfigError: Nobody offers it, or it has no such option.
    """
    from tocsin.errors import ConfigError
    from tocsin.plugins.manager import load_plugins
    from tocsin.text.reader_names import make_reader

    try:
        return make_reader(spec, load_plugins(roles=["reader"]).components("reader"))
    except ConfigError as error:
        raise ConfigError(f"--reader: {error}") from error


def reader_of(spec: str | None, path: Path) -> Reader:
    """Return the reader that a command line names, else the one of the file's ending."""
    from tocsin.text.readers import reader_for

    return reader_for(path) if spec is None else named_reader(spec)
