"""The tweet profile, step by step, and what holds for every text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.text.cleaners import Cleaner, NoCleaner, TweetCleaner


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("bridge down\nno road", "bridge down no road"),
        ("food &amp; water &lt;now&gt;", "food & water <now>"),
        ("@aid_2014: we need tents", "we need tents"),
        ("see http://t.co/x1 and https://t.co/x2", "see  and"),
        ("RT @red: RT fire", "fire"),
        ("START now", "STAnow"),  # as the source has it
        ("  \t flood  ", "flood"),
        ("@somebody http://t.co/abc", ""),
        ("@ambulansé", "é"),  # user names are ASCII
        ("نحتاج ماء @user", "نحتاج ماء"),
    ],
)
def test_tweet_steps(text: str, cleaned: str) -> None:
    assert TweetCleaner().clean(text) == cleaned


def test_order_of_the_steps() -> None:
    # Entities are decoded before names are deleted, and names before links.
    assert TweetCleaner().clean("&#64;user help") == "help"
    assert TweetCleaner().clean("ht@a tp://x") == "ht tp://x"
    assert TweetCleaner().clean("htt@aid p://x") == "htt p://x"
    # The newline step comes first, so a newline written as an entity stays.
    assert TweetCleaner().clean("a&#10;b") == "a\nb"


@pytest.mark.parametrize(
    ("entity", "cleaned"),
    [
        ("&#" + "1" * 5000 + ";", "\ufffd"),  # Python reads no number of more than 4,300 digits
        ("&#" + "0" * 5000 + "65;", "A"),
        ("&#0000128557;", "😭"),
        ("&#128557 ", "😭"),
        ("&#11141110;", "\ufffd"),
    ],
)
def test_long_numeric_entities(entity: str, cleaned: str) -> None:
    assert TweetCleaner().clean(f"{entity}now") == (
        f"{cleaned} now" if entity[-1] == " " else f"{cleaned}now"
    )


def test_twice_is_not_once() -> None:
    assert TweetCleaner().clean("&amp;amp;") == "&amp;"


@given(st.text())
def test_tweet_cleaning_is_pure_and_stripped(text: str) -> None:
    cleaned = TweetCleaner().clean(text)
    assert cleaned == TweetCleaner().clean(text)
    assert cleaned == cleaned.strip()


@given(st.text(st.characters(codec="utf-8")))
def test_cleaned_text_can_be_written(text: str) -> None:
    TweetCleaner().clean(text + "&#xD800;").encode("utf-8")


@given(st.text())
def test_no_cleaner_changes_nothing(text: str) -> None:
    assert NoCleaner().clean(text) == text


def test_role_is_abstract() -> None:
    with pytest.raises(TypeError):
        Cleaner()  # type: ignore[abstract]
