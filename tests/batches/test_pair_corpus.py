"""Filters, caps, duplicates and held-out pairs of a corpus on disk, against a naive reference."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import WORDS
from tocsin.batches import pair_partitions
from tocsin.batches.pair_building import PairRules, build_pairs
from tocsin.batches.pair_corpus import PairCorpus
from tocsin.batches.pair_filters import PairFilters
from tocsin.errors import DataError
from tocsin.text.cleaners import TweetCleaner
from tocsin.text.pairs import PAIR_COLUMNS, PairReader


class Given(PairReader):
    """Pairs from a list.

    Args:
        pairs: English, text, lang.
        size: Pairs of a batch.
    """

    def __init__(self, pairs: list[list[str]], size: int = 7) -> None:
        self.pairs, self.size = pairs, size

    def batches(self, on_bad_row: Any = None) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self.pairs), self.size):
            columns = [list(column) for column in zip(*self.pairs[start : start + self.size], strict=True)]
            arrays = [pa.array([*column], pa.string()) for column in (*columns, ["x"] * len(columns[0]))]
            yield pa.RecordBatch.from_arrays(arrays, names=list(PAIR_COLUMNS))


def given_pairs(count: int, seed: int, languages: str = "abc") -> list[list[str]]:
    generator = random.Random(seed)

    def sentence(words: int) -> str:
        return " ".join(generator.choice(WORDS) for _ in range(words))

    english = [sentence(generator.randint(1, 6)) for _ in range(max(1, count // 3))]
    return [
        [generator.choice(english), sentence(generator.randint(1, 9)), generator.choice(languages)]
        for _ in range(count)
    ]


@pytest.fixture(autouse=True, scope="module")
def _few_partitions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_partitions, "_UNKNOWN_BITS", 2)
        yield


def built(folder: Path, sources: dict[str, list[list[str]]], size: int = 7, **rules: Any) -> PairCorpus:
    folder.mkdir(parents=True)
    build_pairs(folder, {name: Given(pairs, size) for name, pairs in sources.items()}, PairRules(**rules))
    return PairCorpus(folder)


def trained(corpus: PairCorpus) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """The training pairs of each source and language."""
    english = corpus.english().to_pylist()
    texts = [text for block in corpus.texts("text-train", 5) for text in block]
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    start = 0
    for source, lang, pairs in corpus.groups:
        rows = corpus.train_order[start : start + pairs]
        assert np.all(np.diff(rows) > 0)
        found[source, lang] = {(english[corpus.train_english[row]], texts[row]) for row in rows}
        assert len(found[source, lang]) == pairs
        start += pairs
    assert sorted(corpus.train_order.tolist()) == list(range(len(texts)))
    return found


def norm(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())


# Filters -------------------------------------------------------------------------------------------------------------


def test_each_filter_drops_what_it_says_and_counts_it(tmp_path: Path) -> None:
    pairs = [
        ["Flood!", "Inondation !", "fr"],
        ["flood!", "INONDATION  !", "fr"],  # duplicate, once normalised
        ["Flood!", "Inondation !", "ht"],  # another language
        ["\u200b", "vide", "fr"],  # nothing of any width
        ["@name http://x.y", "vide", "fr"],  # nothing after cleaning
        ["London", "london ", "fr"],
        ["a" * 21, "b", "fr"],
        ["abcdefghij", "ab", "fr"],
        ["Fire", "Feuer", "de"],
        ["Feu", "Fire &amp; smoke", "fr"],
        ["Feu et fumée", "x\u2028y\u0000z", "fr_CA"],
    ]
    filters = PairFilters(TweetCleaner(), frozenset(["fr", "ht"]), {"fr_CA": "fr"}, 20, 4.5, True)
    corpus = built(tmp_path / "c", {"s": pairs}, filters=filters)
    counts = {
        row["lang"]: {k: v for k, v in row.items() if v and k not in ("source", "lang")}
        for row in corpus.counts.rows()
    }
    assert counts == {
        "de": {"read": 1, "other_language": 1},
        "fr": {
            "read": 9,
            "empty": 2,
            "identical": 1,
            "too_long": 1,
            "length_ratio": 1,
            "duplicate": 1,
            "train": 3,
        },
        "ht": {"read": 1, "train": 1},
    }
    assert trained(corpus) == {
        ("s", "fr"): {
            ("Flood!", "Inondation !"),
            ("Feu", "Fire & smoke"),
            ("Feu et fumée", "x\u2028y\u0000z"),
        },
        ("s", "ht"): {("Flood!", "Inondation !")},
    }
    assert sorted(corpus.english().to_pylist()) == ["Feu", "Feu et fumée", "Flood!"]
    assert corpus.english_pairs("train").sum() == 4


def test_the_first_source_keeps_a_duplicate_whatever_the_order_of_rows(tmp_path: Path) -> None:
    one, two = (
        [["Help", "Aide", "fr"], ["Send water", "Eau", "fr"]],
        [["HELP", "aide", "fr"], ["Road", "Route", "fr"]],
    )
    for number, (a, b) in enumerate([(one, two), (one[::-1], two[::-1])]):
        corpus = built(tmp_path / f"c{number}", {"a": a, "b": b})
        assert trained(corpus) == {
            ("a", "fr"): {("Help", "Aide"), ("Send water", "Eau")},
            ("b", "fr"): {("Road", "Route")},
        }
        assert corpus.counts.get("duplicate", "b") == 1


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(1, 120),
    st.integers(0, 10**6),
    st.none() | st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 3),
)
def test_caps_and_held_out_pairs_keep_their_promises(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, cap: int | None, held: int, bits: int
) -> None:
    """Against sets: caps are met exactly, nothing leaks, and neither order nor partitions change anything."""
    sources = {"one": given_pairs(count, seed), "two": given_pairs(count, seed + 1, "bcd")}
    rules = {"cap": cap, "held_out": held, "held_out_share": 0.2, "seed": seed}
    folder = tmp_path_factory.mktemp("corpus")
    corpus = built(folder / "a", sources, **rules)
    found = trained(corpus)
    # Naive: distinct pairs by language, the earliest source keeps them.
    kept: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for source, pairs in sources.items():
        for english, text, lang in pairs:
            if norm(english) != norm(text):
                kept.setdefault((norm(english), norm(text), lang), (source, english, text))
    by_language = Counter(lang for _, _, lang in kept)
    validation = corpus.validation_pairs().to_pylist()
    english = corpus.english().to_pylist()
    assert Counter(row["lang"] for row in validation) == Counter(
        {lang: n for lang, size in by_language.items() if (n := min(held, size // 5))}
    )
    out = {norm(english[row["english"]]) for row in validation}
    assert {(row["source"], english[row["english"]], row["text"]) for row in validation} <= set(kept.values())
    assert [row["english"] >= corpus.english_train for row in validation] == [True] * len(validation)
    left: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for (e, _, lang), (source, raw, text) in kept.items():
        if e not in out:
            left.setdefault((source, lang), set()).add((raw, text))
    assert found.keys() == left.keys()
    for group, pairs in found.items():
        assert pairs <= left[group]
        assert len(pairs) == min(len(left[group]), cap or 10**9)
    for row in corpus.counts.rows():
        assert row["read"] == sum(int(v) for k, v in row.items() if k not in ("source", "lang", "read"))
    # Rows in another order, other batches, other partitions: the same corpus, byte for byte.
    generator = random.Random(seed)
    shuffled = {name: generator.sample(pairs, len(pairs)) for name, pairs in sources.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tocsin.batches.pair_building.partition_bits", lambda pairs: bits)
        patch.setattr(pair_partitions, "_BUFFER_BYTES", 500)
        again = built(folder / "b", shuffled, size=3, **rules)
    assert trained(again) == found
    assert again.english().to_pylist() == english
    assert again.english_digest == corpus.english_digest
    assert again.train_order.tolist() == corpus.train_order.tolist()
    assert again.validation_pairs().to_pylist() == validation


@pytest.mark.parametrize(
    ("sources", "filters", "told"),
    [
        ({"a": [["x", "y", "fr"]], "b": [["X", "y ", "fr"]]}, {}, "source 'b' is left (1 read: 1 duplicate)"),
        ({"a": [["x", "x", "fr"]]}, {}, "source 'a' is left (1 read: 1 identical)"),
        (
            {"a": [["x", "y", "fra"]]},
            {"languages": frozenset(["frb"])},
            "language 'frb'. Did you mean 'fra'?",
        ),
        ({"a": []}, {}, "source 'a' holds no pair"),
    ],
)
def test_a_source_or_language_that_gives_nothing_is_named(
    tmp_path: Path, sources: dict[str, Any], filters: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError) as caught:
        built(tmp_path / "c", sources, filters=PairFilters(**filters))
    assert told in str(caught.value)


def test_a_cleaner_that_cuts_a_surrogate_pair_harms_nothing() -> None:
    class Cut(TweetCleaner):
        def clean(self, text: str) -> str:
            return text + "\ud83d"

    batch = pa.record_batch({"english": ["a"], "text": ["b"], "lang": ["fr"]})
    assert PairFilters(Cut()).sift(batch).english == ["a?"]
