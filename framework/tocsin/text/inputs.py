"""Texts as a caller in Python gives them: one, or several in any container that has an order, each of them checked."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from typing import Any

from tocsin.errors import ConfigError, DataError

__all__ = ["TextWarning", "as_langs", "as_texts", "has_content", "proper_text"]

_WANTED = "wanted is one text, or a list, an array or a column of texts"
_MISSING_TYPES = ("NAType", "NaTType", "MaskedConstant")  # of pandas and numpy, which need not be installed
_WORD = re.compile(r"\w")


class TextWarning(UserWarning):
    """A text was changed so that it could be read."""


def as_texts(given: Any, what: str = "texts", *, missing: bool = False) -> list[Any]:
    """Return texts as a list of str, in their order.

    One str is one text. Half a surrogate pair, which no file can hold, becomes U+FFFD with a `TextWarning`; two halves
    that belong together become their character.

    Args:
        given: One text, or any iterable of texts in an order: list, tuple, generator, numpy array `(N,)`, column of
            pandas, polars or Arrow.
        what: What messages call it.
        missing: Whether None, NaN and the nulls of pandas and Arrow are let through, as None.

    Returns:
        N texts, None where one is missing.

    Raises:
        DataError: It is a table, a mapping, a set, bytes, a number or None; or one of the texts is none. Names the
            position, counted from 0.
    """
    texts: list[Any] = []
    torn: list[int] = []
    for position, value in enumerate(_values(given, what)):
        text = value.as_py() if hasattr(value, "as_py") else value
        if isinstance(text, str):
            plain = proper_text(str(text))
            if plain is not text and plain != text:
                torn.append(position)
            texts.append(plain)
        elif missing and _is_missing(text):
            texts.append(None)
        else:
            raise DataError(f"{what}[{position}] is {_kind(text)}; every one of them must be a text (str).")
    if torn:
        many = f" and {len(torn) - 1:,} others hold" if len(torn) > 1 else " holds"
        warnings.warn(
            f"{what}[{torn[0]}]{many} characters that are no Unicode (bytes that were no UTF-8, or half an emoji); "
            "these are replaced by U+FFFD.",
            TextWarning,
            stacklevel=3,
        )
    return texts


def as_langs(given: Any, count: int) -> list[str | None] | None:
    """Return the language codes of `count` texts; None where none were given.

    Args:
        given: One code for all texts, or one a text, None (or NaN) where unknown.
        count: N.

    Raises:
        ConfigError: There are not as many codes as texts.
        DataError: One is neither a text nor missing.
    """
    if given is None:
        return None
    langs = [given] * count if isinstance(given, str) else as_texts(given, "langs", missing=True)
    if len(langs) != count:
        raise ConfigError(
            f"{len(langs):,} languages were given for {count:,} texts; one a text is wanted, or one code for all."
        )
    return langs


def proper_text(text: str) -> str:
    """Return a text that UTF-8 can hold: surrogate pairs joined, single halves replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def has_content(text: str) -> bool:
    """Whether anything of a text can be seen: a character that is neither white space, control, joiner nor U+FFFD."""
    if _WORD.search(text):
        return True
    # Z: separators. Cc, Cf: control and format characters, such as a zero-width space. U+FE00 to U+FE0F select how the
    # character before them is drawn.
    return any(
        unicodedata.category(sign) not in ("Zs", "Zl", "Zp", "Cc", "Cf", "Cs")
        and sign != "\ufffd"
        and not "\ufe00" <= sign <= "\ufe0f"
        for sign in text
    )


def _values(given: Any, what: str) -> Iterable[Any]:
    if isinstance(given, str):
        return [given]
    if hasattr(given, "columns") or hasattr(given, "column_names") or _fields(given):
        raise DataError(
            f"{what} is a table ({type(given).__name__}); give the column that holds them, such as table['text']."
        )
    if isinstance(given, Mapping):
        raise DataError(f"{what} is a mapping ({type(given).__name__}); {_WANTED}, such as list(….values()).")
    if isinstance(given, Set):
        raise DataError(f"{what} is a set, which has no order that the answers could follow; {_WANTED}.")
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        if len(shape) == 0 and hasattr(given, "item"):  # numpy's array of one text
            return [given.item()]
        raise DataError(f"{what} has the shape {shape}; one dimension is wanted: {_WANTED}.")
    if hasattr(given, "to_pylist"):  # Arrow
        values: list[Any] = given.to_pylist()
        return values
    if hasattr(given, "as_py"):
        return [given]
    if isinstance(given, bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise DataError(f"{what} is {_kind(given)}; {_WANTED}.")
    return given


def _fields(given: Any) -> bool:
    """Whether it is a numpy array of records."""
    return bool(getattr(getattr(given, "dtype", None), "names", None))


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in _MISSING_TYPES:
        return True
    return isinstance(value, Real) and value != value


def _kind(value: Any) -> str:
    """What a value is, without its content: messages never show what somebody wrote."""
    if value is None:
        return "None"
    if _is_missing(value):
        return "a missing value (NaN)"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{type(value).__name__} (decode it first, such as value.decode('utf-8'))"
    return f"of type {type(value).__name__}"
