"""Texts as callers give them: every container with an order is read; whatever else it is, is named."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tocsin.errors import ConfigError, DataError
from tocsin.text.inputs import TextWarning, as_langs, as_texts, has_content, proper_text

TWO = ["water", "अग्नि"]


class _Series:
    """A column as pandas has it: iterable, of one dimension, without columns."""

    shape = (2,)

    def __iter__(self) -> Any:
        return iter(TWO)


@pytest.mark.parametrize(
    "given",
    [
        TWO,
        tuple(TWO),
        iter(TWO),
        (text for text in TWO),
        np.array(TWO),
        np.array(TWO, dtype=object),
        pa.array(TWO),
        pa.array(TWO, pa.large_string()),
        pa.array(TWO).dictionary_encode(),
        pa.chunked_array([TWO[:1], TWO[1:]]),
        list(pa.array(TWO)),
        dict.fromkeys(TWO).keys().__iter__(),
        _Series(),
    ],
    ids=lambda given: type(given).__name__,
)
def test_any_container_with_an_order(given: Any) -> None:
    found = as_texts(given)
    assert found == TWO
    assert {type(text) for text in found} == {str}


@pytest.mark.parametrize("given", ["water", np.str_("water"), np.array("water"), pa.scalar("water")])
def test_one_text_is_one_text(given: Any) -> None:
    assert as_texts(given) == ["water"]


class _Frame:
    columns = ("text",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "texts is None"),
        (3, "texts is of type int"),
        (float("nan"), "texts is a missing value"),
        (b"water", "decode it first"),
        ({"text": TWO}, "is a mapping"),
        (set(TWO), "no order"),
        (pa.table({"text": TWO}), r"is a table \(Table\); give the column"),
        (pa.record_batch({"text": TWO}), "is a table"),
        (_Frame(), "is a table"),
        (np.array([("water",)], dtype=[("text", object)]), "is a table"),
        (np.array([TWO]), r"shape \(1, 2\)"),
        ([*TWO, None], r"texts\[2\] is None"),
        (["water", float("nan")], r"texts\[1\] is a missing value"),
        (["water", np.float32("nan")], r"texts\[1\] is a missing value"),
        ([b"water"], r"texts\[0\] is bytes"),
        ([7], r"texts\[0\] is of type int"),
        ([["water"]], r"texts\[0\] is of type list"),
        (pa.array(["water", None]), r"texts\[1\] is None"),
        (pa.array([1, 2]), r"texts\[0\] is of type int"),
    ],
)
def test_what_is_no_text_is_named(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        as_texts(given)


def test_a_refusal_does_not_show_what_somebody_wrote() -> None:
    with pytest.raises(DataError) as caught:
        as_texts(["water", b"my name is Ada"])
    assert "Ada" not in str(caught.value)


def test_missing_texts_where_they_are_let_through() -> None:
    given = ["water", None, float("nan"), np.nan, np.ma.masked]
    assert as_texts(given, missing=True) == ["water", None, None, None, None]
    assert as_texts(pa.array(["water", None]), missing=True) == ["water", None]
    with pytest.raises(DataError, match=r"texts\[1\] is of type int"):
        as_texts(["water", 0], missing=True)


@pytest.mark.parametrize(
    ("torn", "mended"),
    [
        ("\ud83d cut emoji", "\ufffd cut emoji"),
        ("cut \ude22", "cut \ufffd"),
        ("whole \ud83d\ude22", "whole \U0001f622"),
        ("caf\udce9", "caf\ufffd"),  # how a command line's byte 0xE9 comes in
    ],
)
def test_half_a_surrogate_pair(torn: str, mended: str) -> None:
    assert proper_text(torn) == mended
    with pytest.warns(TextWarning, match=r"texts\[1\] holds"):
        assert as_texts(["water", torn]) == ["water", mended]


def test_proper_texts_are_left_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts = ["", "\x00", "\ufeffwater", "\U0001f622", "\ufffd", "a\r\nb"]
        assert as_texts(texts) == texts


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\r\n",
        "\u00a0\u2003\u3000",
        "\u200b\u200d\ufeff",
        "\x00\x1b",
        "\ufffd",
        "\u202e\u2066",
        "\ufe0f",
    ],
)
def test_texts_without_content(text: str) -> None:
    assert not has_content(text)


@pytest.mark.parametrize("text", ["a", "水", "!", "\u200bb", "\U0001f622", "7", "\u0301", " . "])
def test_texts_with_content(text: str) -> None:
    assert has_content(text)


def test_languages() -> None:
    assert as_langs(None, 2) is None
    # As many letters as there are texts: still one language.
    assert as_langs("en", 2) == ["en", "en"]
    assert as_langs(np.array(["en", None], dtype=object), 2) == ["en", None]
    assert as_langs(["en", float("nan")], 2) == ["en", None]
    with pytest.raises(ConfigError, match="1 languages were given for 2 texts"):
        as_langs(["en"], 2)
    with pytest.raises(DataError, match=r"langs\[1\] is of type int"):
        as_langs(["en", 3], 2)
