"""Components remember their constructor's arguments, whoever wrote the constructor."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tocsin.arguments import Origin, fault_of_arguments, is_plain
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.heads import LinearHead
from tocsin.models.pooling import MeanPooling
from tocsin.text.cleaners import Cleaner, NoCleaner


@dataclass
class WordCleaner(Cleaner):
    """Deletes a word."""

    word: str = ""
    others: list[str] = field(default_factory=lambda: ["rt"])

    def clean(self, text: str) -> str:
        return text.replace(self.word, "")


@dataclass(frozen=True, slots=True)
class FrozenCleaner(NoCleaner):
    """Its attributes cannot be set."""

    word: str


class Wording:
    """A base that knows nothing of roles."""

    def __init__(self, word: str, times: int = 2) -> None:
        self.word, self.times = word, times


class MixedCleaner(Wording, NoCleaner):
    """Has the constructor of a mixin."""


class OpenCleaner(NoCleaner):
    """Takes what comes."""

    def __init__(self, first: int, *more: int, last: int = 3, **named: int) -> None:
        pass


class Widened(TransformerEncoder):
    """Gives its base arguments of its own."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__("somewhere", freeze=layers)


class Growing(NoCleaner):
    """Changes what it was given."""

    def __init__(self, words: list[str], weights: dict[str, list[float]]) -> None:
        words.append("more")
        weights["more"] = []


class Kind(StrEnum):
    PLAIN = "plain"


@pytest.mark.parametrize(
    ("built", "arguments"),
    [
        (WordCleaner("kaboom"), {"word": "kaboom", "others": ["rt"]}),
        (WordCleaner(others=[]), {"word": "", "others": []}),
        (FrozenCleaner("a"), {"word": "a"}),
        (MixedCleaner(word="a"), {"word": "a", "times": 2}),
        (OpenCleaner(1, extra=5), {"first": 1, "last": 3, "extra": 5}),
        (Widened(), {"layers": 2}),
        (Growing(["a"], {"b": [1.0]}), {"words": ["a"], "weights": {"b": [1.0]}}),
        (LinearHead(0.25), {"dropout": 0.25}),
        (MeanPooling(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_are_those_of_the_class_that_was_built(built: Any, arguments: dict[str, Any]) -> None:
    assert built.arguments == arguments
    if "words" not in arguments:
        assert type(built)(**built.arguments).arguments == arguments


@pytest.mark.parametrize("built", [WordCleaner("x"), MixedCleaner("x"), LinearHead(0.25)])
def test_a_copy_remembers_them_too(built: Any) -> None:
    for again in (copy.copy(built), copy.deepcopy(built), pickle.loads(pickle.dumps(built))):
        assert again.arguments == built.arguments != {}


def test_a_wrong_argument_is_named_by_the_constructor() -> None:
    with pytest.raises(
        TypeError, match=r"LinearHead.__init__\(\) got an unexpected keyword argument 'colour'"
    ):
        LinearHead(colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"NoCleaner\(\) takes no arguments"):
        NoCleaner(colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="abstract"):
        Cleaner()  # type: ignore[abstract]


@pytest.mark.parametrize("value", [1, 0.5, True, None, "text", [1, [None]], {"a": {"b": [1.5]}}])
def test_plain_data(value: object) -> None:
    assert is_plain(value)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        {1: 3.0},
        {"a": {2: 1}},
        [Path("x")],
        Kind.PLAIN,
        float("nan"),
        float("inf"),
        b"a",
        nn.ReLU(),
    ],
)
def test_data_that_json_does_not_give_back(value: object) -> None:
    assert not is_plain(value)


def test_the_argument_that_is_not_plain_is_named() -> None:
    assert fault_of_arguments(WordCleaner("a")) == ""
    assert fault_of_arguments(WordCleaner(others=[Path("x")])).startswith(  # type: ignore[list-item]
        "WordCleaner was built with others=[PosixPath('x')], which a bundle cannot hold"
    )


@pytest.mark.parametrize(
    "origin", [Origin("größe", "1"), Origin("x", None), Origin("-r", "1"), Origin("x", "1 --pre")]
)  # type: ignore[arg-type]
def test_what_cannot_stand_behind_pip_install(origin: Origin) -> None:
    assert not origin.installable
    assert Origin("tocsin-x", "1.0.dev1+local").installable
