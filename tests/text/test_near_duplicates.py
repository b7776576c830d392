"""Near-duplicate groups against every pair compared by hand."""

from __future__ import annotations

import builtins
import itertools
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tocsin.errors import ConfigError
from tocsin.text.near_duplicates import (
    bands_for,
    comparable,
    jaccard,
    near_duplicate_groups,
    shingles,
)

pytest.importorskip("datasketch")

WORDS = [
    "water",
    "food",
    "tents",
    "bridge",
    "road",
    "closed",
    "north",
    "south",
    "need",
    "help",
    "urgent",
    "flood",
    "fire",
    "storm",
]


def corpus(seed: int, size: int = 160) -> list[str]:
    """Sentences, and copies of some with one word changed, doubled or left out."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 12))) for _ in range(size)]
    for _ in range(size):
        words = draw.choice(texts).split()
        at = draw.randrange(len(words))
        words[at : at + 1] = draw.choice(([], [words[at]] * 2, [draw.choice(WORDS)]))
        texts.append(" ".join(words) or "alone")
    return texts


def components(texts: list[str], threshold: float) -> list[int]:
    """The least text of each text's group: pairs compared one by one, joined until nothing changes."""
    sets = [
        {f" {comparable(text)} "[at : at + 4] for at in range(max(len(comparable(text)) - 1, 1))}
        for text in texts
    ]
    least = list(range(len(texts)))
    pairs = [
        (one, other)
        for one, other in itertools.combinations(range(len(texts)), 2)
        if len(sets[one] & sets[other]) >= threshold * len(sets[one] | sets[other])
    ]
    while True:
        before = list(least)
        for one, other in pairs:
            least[one] = least[other] = min(least[one], least[other])
        if least == before:
            return least


def partition(groups: Any) -> set[frozenset[int]]:
    members: dict[int, set[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(int(group), set()).add(row)
    return {frozenset(rows) for rows in members.values()}


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_all_pairs(seed: int) -> None:
    texts = corpus(seed)
    found, exact = near_duplicate_groups(texts), components(texts, 0.7)
    together = [
        pair for pair in itertools.combinations(range(len(texts)), 2) if exact[pair[0]] == exact[pair[1]]
    ]
    assert len(together) > 100
    recalled = sum(found[one] == found[other] for one, other in together)
    assert recalled >= 0.98 * len(together)
    # Every pair is verified: what is joined is joined by all pairs too.
    for group in partition(found):
        assert len({exact[row] for row in group}) == 1


def test_no_group_depends_on_the_order_of_the_texts() -> None:
    texts = corpus(7)
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = near_duplicate_groups([texts[row] for row in order])
    assert partition(near_duplicate_groups(texts)) == {
        frozenset(order[list(rows)].tolist()) for rows in partition(shuffled)
    }


def test_numbers_follow_the_first_text_and_equal_texts_are_one_group() -> None:
    texts = [
        "Bridge closed near the market",
        "water",
        "RT @red: bridge CLOSED near the market http://t.co/x",
        "water",
    ]
    assert near_duplicate_groups(texts).tolist() == [0, 1, 0, 1]
    chunked = pa.chunked_array([texts[:1], texts[1:]], pa.large_string())
    assert near_duplicate_groups(chunked).tolist() == [0, 1, 0, 1]
    assert near_duplicate_groups([]).tolist() == []


def test_a_greater_threshold_parts_more() -> None:
    texts = [
        "the road to the hospital is closed",
        "the road to the hospitals is closed",
        "two families need water",
    ]
    assert near_duplicate_groups(texts, 0.7).tolist() == [0, 0, 1]
    assert near_duplicate_groups(texts, 0.95).tolist() == [0, 1, 2]


def test_a_full_bucket_is_no_reason_to_compare_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 texts that share all but a number: joined, though each is compared with few others."""
    from tocsin.text import near_duplicates

    asked = 0
    verified = near_duplicates.jaccard

    def counting(*sets: set[bytes]) -> float:
        nonlocal asked
        asked += 1
        return verified(*sets)

    monkeypatch.setattr(near_duplicates, "jaccard", counting)
    texts = [f"water rises at the old bridge on the northern road, gauge {number}" for number in range(300)]
    assert set(near_duplicate_groups(texts)) == {0}
    assert asked < 300 * 10


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("RT @red_cross: Bridge  DOWN http://t.co/x1", "bridge down"),
        ("rt RT @a: @b @USER we need HTTPURL tents", "we need tents"),
        ("start now", "start now"),
        ("@user http://t.co/abc", "@user http://t.co/abc"),  # nothing else is left to compare
        ("", ""),
        ("पानी नहीं है", "पानी नहीं है"),
    ],
)
def test_comparable(text: str, form: str) -> None:
    assert comparable(text) == form


def test_shingles_are_runs_of_four_characters() -> None:
    assert {one.decode("utf-32-le") for one in shingles("fire!")} == {" fir", "fire", "ire!", "re! "}
    assert {one.decode("utf-32-le") for one in shingles("")} == {"  "}
    assert {one.decode("utf-32-le") for one in shingles("火")} == {" 火 "}
    assert jaccard(shingles("fire"), shingles("fire!")) == 2 / 5
    assert shingles("\ud800") == shingles("\ud800")  # half a surrogate pair


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    bands, rows = bands_for(threshold)
    assert bands * rows <= 160
    assert 1 - (1 - threshold**rows) ** bands >= 0.99


def test_progress_counts_each_text_twice() -> None:
    seen: list[int] = []
    near_duplicate_groups(["a", "b", "c"], advance=seen.append)
    assert sum(seen) == 6


@pytest.mark.parametrize("threshold", [0.3, 1.1, float("nan")])
def test_impossible_threshold(threshold: float) -> None:
    with pytest.raises(ConfigError, match=r"from 0\.4 to 1"):
        near_duplicate_groups(["a"], threshold)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "datasketch":
            raise ImportError(name)
        return importing(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'tocsin\[near-duplicates\]'"):
        near_duplicate_groups(["a", "b"])
