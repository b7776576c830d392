"""Each wrong cleaner has one fault, and the check names that one."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.plugins.templates.cleaner import TemplateCleaner
from tocsin.plugins.testing import check_cleaner
from tocsin.text.cleaners import Cleaner, NoCleaner, TweetCleaner


@pytest.mark.parametrize("cleaner", [NoCleaner, TweetCleaner, TemplateCleaner])
def test_ours_pass(cleaner: type[Cleaner]) -> None:
    check_cleaner(cleaner)


def test_generators_are_left_alone() -> None:
    class _Drawing(Cleaner):
        """Draws, but does not go by it."""

        def clean(self, text: str) -> str:
            random.random()
            np.random.rand()
            return text

    before = random.getstate(), np.random.get_state()[1].tolist()
    check_cleaner(_Drawing)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_nothing_returned() -> None:
    class _Silent(Cleaner):
        """Wrong."""

        def clean(self, text: str) -> str:
            text.strip()  # the return is missing

    fault = only_fault(check_cleaner, _Silent)
    assert fault.startswith("clean() returned None for an empty text")
    assert "is a `return` missing?" in fault


def test_one_kind_of_text_is_not_expected() -> None:
    class _FirstWord(Cleaner):
        """Wrong."""

        def clean(self, text: str) -> str:
            return text.split()[0]

    fault = only_fault(check_cleaner, _FirstWord)
    assert "clean() raised IndexError: list index out of range for an empty text ('')" in fault
    assert "likewise for 1 of 17 other kinds of text" in fault


def test_ascii_alone() -> None:
    class _Ascii(Cleaner):
        """Wrong."""

        def clean(self, text: str) -> str:
            return text.encode("ascii").decode()

    assert "raised UnicodeEncodeError" in only_fault(check_cleaner, _Ascii)


def test_half_a_surrogate_pair() -> None:
    class _Escapes(Cleaner):
        """Wrong."""

        def clean(self, text: str) -> str:
            return re.sub(r"&#x([0-9A-F]{4});", lambda found: chr(int(found[1], 16)), text)

    fault = only_fault(check_cleaner, _Escapes)
    assert "an HTML entity that is half a surrogate pair" in fault
    assert "put U+FFFD in its place" in fault


def test_random() -> None:
    class _WordDropout(Cleaner):
        """Wrong."""

        def clean(self, text: str) -> str:
            return " ".join(word for word in text.split() if random.random() < 0.5)

    fault = only_fault(check_cleaner, _WordDropout)
    assert "The same text cleaned" in fault
    assert "no random number" in fault


def test_remembers_earlier_texts() -> None:
    class _Vocabulary(Cleaner):
        """Wrong."""

        def __init__(self) -> None:
            self.seen: set[str] = set()

        def clean(self, text: str) -> str:
            self.seen.add(text[:1])
            return f"{len(self.seen)} {text}"

    fault = only_fault(check_cleaner, _Vocabulary)
    assert "once more" in fault
    assert "nothing remembered from earlier texts" in fault


def test_each_object_cleans_otherwise() -> None:
    made: list[Any] = []

    class _Counting(Cleaner):
        """Wrong."""

        def __init__(self) -> None:
            made.append(self)
            self.number = len(made)

        def clean(self, text: str) -> str:
            return f"{self.number} {text}"

    assert "by another object built with the same arguments" in only_fault(check_cleaner, _Counting)


@pytest.mark.parametrize("pattern", [r"(\w+\s?)+$", r"\s+$"], ids=["exponential", "quadratic"])
def test_a_pattern_that_backtracks(pattern: str) -> None:
    class _Backtracking(Cleaner):
        """Wrong."""

        def clean(self, text: str) -> str:
            # No text of a few characters tells; one of 5,000 would take an age in the first case.
            return text if len(text) > 4000 and text[-1] == "a" else re.sub(pattern, "", text)

    fault = only_fault(check_cleaner, _Backtracking)
    assert "the time grows much faster than the text" in fault
    assert "one repetition inside another" in fault


def test_slow_but_even_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of the times, so that the test does not take as long.
    for name, seconds in (("_WORTH_JUDGING", 0.012), ("_ENOUGH", 0.025), ("_COARSE", 0.0005)):
        monkeypatch.setattr(f"tocsin.plugins.testing.cleaners.{name}", seconds)

    class _Slow(Cleaner):
        """Looks at each character many times."""

        def clean(self, text: str) -> str:
            return "".join(letter for letter in text if all(letter != other for other in "\x00\x01\x02" * 5))

    check_cleaner(_Slow)


def test_arguments_that_no_bundle_holds() -> None:
    class _Listed(Cleaner):
        """Wrong.

        Args:
            words: What is taken out.
        """

        def __init__(self, words: list[str]) -> None:
            self.words = words

        def clean(self, text: str) -> str:
            return text

    assert "was given {'a'}" in only_fault(check_cleaner, _Listed, words={"a"})
    check_cleaner(_Listed, words=["a", "b"])


def test_arguments_written_over() -> None:
    class _Own(Cleaner):
        """Wrong.

        Args:
            words: What is taken out.
        """

        def __init__(self, words: list[str]) -> None:
            self.words = words

        @property
        def arguments(self) -> Any:
            return {"word": getattr(self, "words", None)}

        @arguments.setter
        def arguments(self, value: Any) -> None:
            pass

        def clean(self, text: str) -> str:
            return text

    assert "the role's base fills it" in only_fault(check_cleaner, _Own, words=["a"])


def test_an_object_and_another_role() -> None:
    assert "Give the class, without ()" in only_fault(check_cleaner, NoCleaner())
    assert "It is not a subclass of tocsin.plugins.Cleaner" in only_fault(check_cleaner, str)


def test_several_faults_at_once() -> None:
    class _Bytes(Cleaner):
        """Wrong."""

        def clean(self, text: str) -> str:
            return text.encode("utf-8") if text.isascii() else text[9999]

    found = faults(check_cleaner, _Bytes)
    assert len(found) == 2
    assert "IndexError" in found[0]
    assert "clean() returned b''" in found[1]
