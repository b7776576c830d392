"""Normalised texts and the groups they form."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.text.duplicates import duplicate_groups, normalise, text_digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Flood  in\tthe north", "flood in the north "),
        ("ﬁre", "FIRE"),
        ("Straße", "STRASSE"),
        ("cafe\u0301", "CAFÉ"),
        ("wa\u200bter", "water"),
        ("\u202bماء\u202c", "ماء"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
    ],
)
def test_same_text(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert text_digest(one) == text_digest(other)


@pytest.mark.parametrize(("one", "other"), [("water", "no water"), ("a b", "ab"), ("", ".")])
def test_other_text(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


AWKWARD = st.text(st.sampled_from("ﬁſßİIıΐΐ\u0345ᾳᾼᾴ\u0301\u0323\u200dÅK㎒각\u1100\u1161 é\u0958"))


@given(st.text() | AWKWARD)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text() | AWKWARD, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_every_form_of_unicode_is_the_same_text(
    text: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"]
) -> None:
    visible = text.replace("\u200d", "")  # a joiner keeps letter and mark apart
    assert normalise(unicodedata.normalize(form, visible)) == normalise(visible)


@given(st.lists(st.text(st.sampled_from("aA ﬁb\u200b"), max_size=3), max_size=30))
def test_groups_are_those_of_the_normalised_texts(texts: list[str]) -> None:
    numbers: dict[str, int] = {}
    wanted = [numbers.setdefault(normalise(text), len(numbers)) for text in texts]
    groups = duplicate_groups(texts)
    assert groups.dtype == np.int64
    assert groups.tolist() == wanted


def test_key_changes_the_digest_and_surrogates_have_one() -> None:
    assert text_digest("a", b"1") != text_digest("a", b"2")
    assert len(text_digest("\ud800")) == 16


@pytest.mark.shared_data
def test_known_repetitions(shared_data: Path) -> None:
    texts = pq.read_table(shared_data / "crisis_messages_multilabel.parquet", columns=["text"])["text"]
    groups = duplicate_groups(texts.to_pylist())
    assert len(groups) - len(np.unique(groups)) == 72
