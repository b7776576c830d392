"""Label names: what a name may be, names in a text file, their digest, and two lists compared."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tocsin.errors import DataError, LabelError
from tocsin.text.readers import resolve_data_path

__all__ = [
    "check_names",
    "check_same_labels",
    "file_of_names",
    "label_digest",
    "names_of_file",
    "other_labels",
]

_SHOWN = 10  # labels a message names of a list


def label_digest(names: Sequence[str]) -> str:
    """Return the SHA-256, in hexadecimal, of label names in their order (a JSON list in UTF-8)."""
    return hashlib.sha256(json.dumps(list(names), ensure_ascii=False).encode("utf-8")).hexdigest()


def check_same_labels(
    given: Sequence[str], wanted: Sequence[str], *, where: str, what: str = "the labels"
) -> None:
    """Refuse labels that differ from those wanted, in name or in order.

    Args:
        given: The labels at hand.
        wanted: The labels that `where` was made with.
        where: What the wanted labels belong to, such as "checkpoint runs/a/last.ckpt".
        what: What a message calls the labels at hand.

    Raises:
        LabelError: Says how they differ; names at most ten labels of a list.
    """
    if tuple(given) == tuple(wanted):
        return
    refused = f"{what} are not those of {where}"
    if set(given) != set(wanted):
        raise LabelError(
            f"{refused}: they {other_labels(given, wanted, 'lack', 'have')}. Rename what is spelt differently, or use "
            "what was made with the same label scheme"
        )
    if len(given) != len(wanted):
        raise LabelError(f"{refused}: a label stands twice in {_listed(given)}. Name each label once")
    place = next(i for i, (one, other) in enumerate(zip(given, wanted, strict=True)) if one != other)
    raise LabelError(
        f"{refused}: the same labels in another order; label {place + 1} is {given[place]!r}, and {wanted[place]!r} is "
        f"wanted.\n  given:  {_listed(given)}\n  wanted: {_listed(wanted)}\n"
        "Put the names into the wanted order, or use another file"
    )


def other_labels(given: Sequence[str], wanted: Sequence[str], lack: str, have: str) -> str:
    """Say which labels are missing and which are added, ten of each at most; empty where the names are the same.

    Args:
        given: The labels at hand.
        wanted: Those wanted.
        lack: The verb of the missing ones.
        have: The verb of the others.
    """
    absent = [name for name in wanted if name not in given]
    added = [name for name in given if name not in wanted]
    return " and ".join(
        f"{verb} {', '.join(map(repr, names[:_SHOWN]))}{_more(names)}"
        for verb, names in ((lack, absent), (have, added))
        if names
    )


def _listed(names: Sequence[str]) -> str:
    return f"{list(names[:_SHOWN])}{_more(names)}"


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""


def check_names(names: Sequence[object], where: str, what: str = "label") -> None:
    """Refuse names that are no strings, empty, padded or repeated, or hold control characters.

    Args:
        names: In their order.
        where: What holds them, such as "label file labels.txt".
        what: What is named: a label, or a value of a column.

    Raises:
        LabelError: Says which name, and why.
    """
    if not names:
        raise LabelError(f"{where}: no {what} is named; at least one is needed")
    for position, name in enumerate(names, start=1):
        if not isinstance(name, str):
            raise LabelError(
                f"{where}: name {position} is {name!r} ({type(name).__name__}), not a string. "
                "YAML reads yes, no, on, off, null and numbers as values: put quotes around the name "
                '("…"), or keep names in a text file'
            )
        if not name.strip():
            raise LabelError(f"{where}: name {position} is empty; give it the name of its column")
        if name != name.strip():
            raise LabelError(f"{where}: name {position}, {name!r}, has white space at an end; remove it")
        if any(map(_is_control, name)):
            raise LabelError(
                f"{where}: name {position}, {name!r}, holds a line break or another control character, which would "
                "reach terminals, tables and files; rename it"
            )
    repeated = sorted({str(name) for name in names if list(names).count(name) > 1})
    if repeated:
        raise LabelError(
            f"{where}: {', '.join(map(repr, repeated))} named more than once; name each {what} once"
        )


def _is_control(sign: str) -> bool:
    """Tell whether a character breaks lines, moves the cursor or turns the direction of what follows.

    Joiners, which emoji and Persian need, do not.
    """
    return unicodedata.category(sign) in ("Cc", "Zl", "Zp", "Cs") or sign in _DIRECTIONS


_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def file_of_names(given: str, what: str = "label") -> Path:
    """Return the path of a text file of names: as given, else in data/, else in $TOCSIN_DATA.

    Raises:
        LabelError: There is no such file.
    """
    path = Path(given).expanduser()
    try:
        return path if path.is_file() else resolve_data_path(given)
    except DataError as error:
        raise LabelError(
            f"names: {given!r} is taken for a text file with one {what} a line. {error} "
            f"For a single {what} write it as a list: [{given}]"
        ) from None


def names_of_file(given: str, what: str = "label") -> tuple[str, ...]:
    """Return the names in a text file, one a line; blank lines are passed over.

    Raises:
        LabelError: The file is not there, is no UTF-8 text, or holds names that cannot be.
    """
    path = file_of_names(given, what)
    try:
        # Not splitlines, which would make two names of one that holds a rarer line break.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"the {what} file {path} cannot be read as UTF-8 text: {error}") from None
    names = [line.strip() for line in lines if line.strip()]
    check_names(names, f"{what} file {path}", what)
    return tuple(names)
