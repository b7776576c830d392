"""One cell that lists several things, taken apart: `a;b`, `['a', 'b']`, JSON lists, lists of Arrow.

Nothing is evaluated.
"""

from __future__ import annotations

import re

__all__ = ["integer", "looks_like_a_list", "readings"]

SEPARATORS = (";", "；", "|", "\n", "\t", ",", "，", "、", "،")
"""Looked for in this order: a sign later in it may stand inside what an earlier one separates."""

_CLOSED_BY = {"[": "]", "(": ")", "{": "}"}
_CALL = re.compile(r"(?:np\.|numpy\.)?(?:array|set|frozenset|list|tuple)\(")
_SCALAR = re.compile(r"(?:np|numpy)\.\w+\(([^()]*)\)")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_BARE = re.compile(r"[^,;|]+")
_GAP = re.compile(r"[\s,;|]*")
_INTEGER = re.compile(r"[+-]?\d{1,18}(?:\.0*)?")


def readings(cell: object, separator: str | None = None) -> tuple[list[list[object]], str]:
    """Return what a cell may list, the plainest reading first; the last is what it is if none holds known names only.

    Args:
        cell: A text, a number, a boolean, or a list of these.
        separator: What stands between two entries of a text; None tries the usual signs and brackets.

    Returns:
        Lists of texts (without white space at their ends), numbers, booleans and None, none nested; and what is wrong
        with a text that has brackets around it but cannot be taken apart, else "".

    Raises:
        ValueError: It lists something else; says what.
    """
    if isinstance(cell, list | tuple):
        return [[_entry(value) for value in cell]], ""
    if not isinstance(cell, str):
        return [[_entry(cell)]], ""
    text = cell.strip()
    if separator is not None:
        return [[part.strip() for part in text.split(separator)]], ""
    found: list[list[object]] = [[text]]
    sign = next((sign for sign in SEPARATORS if sign in text), None)
    if sign is not None:
        found.append([part.strip() for part in text.split(sign)])
    inside = _inside(text)
    if inside is not None:
        try:
            found.append(_entries(inside))
        except ValueError as error:
            return found, str(error)
    return found, ""


def looks_like_a_list(text: str) -> bool:
    """Tell whether a text seems to list several things: it has brackets around it or a sign between words."""
    return _inside(text.strip()) is not None or any(
        sign in text and not re.fullmatch(r"[\d\s.,+-]*", text) for sign in SEPARATORS
    )


def integer(value: object) -> int | None:
    """Return the whole number that an entry is, also as text or as 2.0; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value.partition(".")[0])
    return None


def _entry(value: object) -> object:
    if value is None or value != value:  # NaN alone differs from itself
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | int | float):
        return value
    raise ValueError(f"an entry is a {type(value).__name__}; texts, numbers or true and false were wanted")


def _inside(text: str) -> str | None:
    """Return what stands between the brackets around a text; None where there are none."""
    call = _CALL.match(text)
    if call is not None and text.endswith(")"):
        text = text[call.end() : -1].strip()
        kind = text.rfind("dtype=")  # as NumPy shows arrays
        if kind > 0 and not set("[](){}") & set(text[kind:]):
            text = text[:kind].rstrip(" ,\n")
        if not text:
            return ""
    if len(text) >= 2 and _CLOSED_BY.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return None


def _entries(text: str) -> list[object]:
    """Take the inside of a list apart: quoted texts, and what stands bare between commas."""
    found: list[object] = []
    at = 0
    while at < len(text):
        quoted = _QUOTED.match(text, at)
        if quoted is not None:
            raw = quoted[1] if quoted[1] is not None else quoted[2]
            found.append(_joined(_ESCAPE.sub(_unescaped, raw)).strip())
            end = quoted.end()
            if end < len(text) and not (text[end].isspace() or text[end] in ",;|"):
                raise ValueError("a quote is closed in the middle of an entry")
            at = end
        else:
            bare = _BARE.match(text, at)
            if bare is not None:
                found += _bare(bare[0].strip())
                at = bare.end()
        gap = _GAP.match(text, at)
        at = max(gap.end() if gap else at, at if at else 1)
        if quoted is None and bare is None and not (gap and gap.end()):
            raise ValueError("its entries cannot be told apart")
    return found


def _bare(text: str) -> list[object]:
    scalar = _SCALAR.fullmatch(text)  # as NumPy 2 shows its numbers and texts
    if scalar is not None:
        return _entries(scalar[1])
    parts = text.split()
    if len(parts) > 1 and all(integer(part) is not None for part in parts):
        return list(parts)  # as NumPy shows arrays: [0 1 1]
    if any(sign in text for sign in "[]{}\"'"):
        raise ValueError("it holds a list inside a list, an object or a quote that is not closed")
    lowered = text.lower()
    if lowered in ("true", "false"):
        return [lowered == "true"]
    return [None if lowered in ("none", "null", "nan") else text]


_NAMED = {"n": "\n", "t": "\t", "r": "\r"}


def _unescaped(found: re.Match[str]) -> str:
    sign = found[1]
    if len(sign) > 1:
        return chr(int(sign[1:], 16))
    return _NAMED.get(sign, sign if sign in "'\"\\/" else found[0])


def _joined(text: str) -> str:
    """Return a text in which two halves of a surrogate pair, as JSON escapes an emoji, are one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
