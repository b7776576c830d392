"""How the files of a fit were read, as a bundle remembers it, so that `predict` reads such a file in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin.arguments import Origin, fault_of_arguments
from tocsin.text.reader_names import reader_record
from tocsin.text.reading import Reader
from tocsin.text.streams import inner_suffix

__all__ = ["SavedReading", "reading_from_plain", "saved_reading"]


@dataclass(frozen=True)
class SavedReading:
    """The reader and the columns of a fit.

    Args:
        reader: The mapping that `make_reader` takes; None where each file's ending chose its reader.
        origin: The distribution that offers it; None where that is not known.
        endings: Of the fit's files, in lower case, unpacked: files of these are read by that reader.
        text: Column of the message.
        id: Column that identifies it; None for none.
        lang: Column of its language code; None for none.
    """

    reader: dict[str, Any] | None
    origin: Origin | None
    endings: list[str]
    text: str
    id: str | None
    lang: str | None


def saved_reading(
    reader: Reader | None,
    files: Iterable[str | Path],
    columns: Mapping[str, str | None],
    origin: Callable[[type], Origin] | None = None,
) -> SavedReading:
    """Return what a bundle is to remember.

    Args:
        reader: As the data had it. One whose arguments are no plain data is not remembered.
        files: That it read.
        columns: `text`, `id` and `lang`.
        origin: Tells the distribution that offers a component.
    """
    if reader is not None and fault_of_arguments(reader):
        reader = None
    offered = None if reader is None or origin is None else origin(type(reader))
    return SavedReading(
        None if reader is None else reader_record(reader),
        offered if offered is not None and offered.installable else None,
        sorted({inner_suffix(Path(file)) for file in files}),
        str(columns["text"]),
        columns["id"],
        columns["lang"],
    )


def reading_from_plain(plain: Any, origin: Callable[[Any], Origin | None]) -> SavedReading | None:
    """Return a reading as it stands in `tocsin.json`; None where the bundle notes none.

    Args:
        plain: The mapping.
        origin: Reads a distribution's name and version.

    Raises:
        KeyError, TypeError, ValueError: It is damaged.
    """
    if plain is None:
        return None
    reader, endings = plain["reader"], plain["endings"]
    names = [plain["text"], *(plain[key] for key in ("id", "lang") if plain[key] is not None), *endings]
    if not all(isinstance(name, str) for name in names) or not isinstance(endings, list):
        raise ValueError("the columns and endings of its reading are no names")
    if reader is not None and (
        not isinstance(reader, dict)
        or not str(reader["class_path"]).isidentifier()
        or not isinstance(reader["init_args"], dict)
    ):
        # A dotted path would be an invitation to import something.
        raise ValueError("its reader is no component's short name with arguments")
    return SavedReading(reader, origin(plain["origin"]), endings, plain["text"], plain["id"], plain["lang"])
