"""Splitters: every row has one split, groups never cross, and what crosses is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import ConfigError, DataError
from tocsin.plugins.testing import check_splitter
from tocsin.text.cleaners import NoCleaner
from tocsin.text.duplicates import normalise
from tocsin.text.messages import read_messages
from tocsin.text.splitters import SPLITS, GivenSplit, GroupedSplit, RandomSplit, Splitter, crossing_texts


def table_of(texts: list[str], **columns: Any) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.large_string()), **columns})


TEXTS = st.lists(st.text(st.sampled_from("aAbﬁ "), max_size=4), max_size=40)


class TestGroupedSplit:
    """By duplicates, or by a column."""

    @given(TEXTS, st.integers(0, 5), st.floats(0, 0.5), st.floats(0, 0.49))
    def test_partition_without_crossing(
        self, texts: list[str], seed: int, validation: float, test: float
    ) -> None:
        split = GroupedSplit(validation=validation, test=test, seed=seed).split(table_of(texts))
        assert set(split.names) <= set(SPLITS)
        assert sum(split.counts().values()) == len(texts)
        by_text: dict[str, str] = {}
        for text, name in zip(texts, split.names, strict=True):
            assert by_text.setdefault(normalise(text), name) == name
        assert not any("in more than one split" in sentence for sentence in split.crossing)

    @given(TEXTS, st.randoms())
    def test_position_plays_no_part(self, texts: list[str], random: Any) -> None:
        splitter = GroupedSplit(validation=0.3, test=0.3)
        places = dict(zip(texts, splitter.split(table_of(texts)).names, strict=True))
        shuffled = [*texts, "one more"]
        random.shuffle(shuffled)
        for text, name in zip(shuffled, splitter.split(table_of(shuffled)).names, strict=True):
            assert places.get(text, name) == name

    @given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.text(max_size=2)), max_size=30))
    def test_groups_of_a_column_never_cross(self, rows: list[tuple[str, str]]) -> None:
        table = table_of([text for _, text in rows], user=pa.array([user for user, _ in rows], pa.string()))
        names = GroupedSplit(by="user", validation=0.3, test=0.3).split(table).names
        for user in {user for user, _ in rows}:
            assert len({name for (other, _), name in zip(rows, names, strict=True) if other == user}) == 1

    def test_shares_hold_on_average(self) -> None:
        texts = [f"message {number}" for number in range(4000)]
        counts = GroupedSplit(validation=0.2, test=0.1).split(table_of(texts)).counts()
        assert counts["validation"] == pytest.approx(800, abs=80)
        assert counts["test"] == pytest.approx(400, abs=60)

    def test_seed_matters_and_repeats(self) -> None:
        table = table_of([f"message {number}" for number in range(200)])
        first, again = (GroupedSplit(seed=1).split(table).names for _ in range(2))
        assert (first == again).all()
        assert (first != GroupedSplit(seed=2).split(table).names).any()

    def test_same_groups_whatever_the_type_of_the_column(self) -> None:
        users = list(range(50))
        texts = [f"message {number}" for number in users]
        splitter = GroupedSplit(by="user", validation=0.3, test=0.3)
        kinds = [pa.array(users), pa.array(map(str, users)), pa.array(map(str, users)).dictionary_encode()]
        first, *others = (splitter.split(table_of(texts, user=kind)).names for kind in kinds)
        for other in others:
            assert (first == other).all()

    def test_rows_without_a_group_are_alone_and_told(self) -> None:
        texts = [f"message {number}" for number in range(200)]
        table = table_of([*texts, "x"], user=pa.array(["", None] * 100 + ["u"]))
        split = GroupedSplit(by="user", validation=0.3, test=0.3).split(table)
        assert set(split.names) == set(SPLITS)
        assert any(sentence.startswith("200 messages have no user") for sentence in split.crossing)

    def test_texts_that_cross_a_column_are_counted(self) -> None:
        table = table_of(["Same text"] * 60, user=[f"user {number}" for number in range(60)])
        crossing = GroupedSplit(by="user", validation=0.3, test=0.3).split(table).crossing
        assert any(sentence.startswith("1 text stands in more than one split") for sentence in crossing)

    def test_split_without_messages_is_told(self) -> None:
        crossing = GroupedSplit().split(table_of(["one"])).crossing
        assert any("no message fell into" in sentence for sentence in crossing)

    @pytest.mark.parametrize(
        "shares", [{"validation": -0.1}, {"validation": 0.5, "test": 0.5}, {"test": float("nan")}]
    )
    def test_impossible_shares(self, shares: dict[str, float]) -> None:
        with pytest.raises(ConfigError, match="shares"):
            GroupedSplit(**shares)  # type: ignore[arg-type]

    def test_column_that_is_no_group(self) -> None:
        with pytest.raises(DataError, match="list"):
            GroupedSplit(by="user").split(table_of(["a"], user=[[1]]))
        with pytest.raises(DataError, match="no column 'user'"):
            GroupedSplit(by="user").split(table_of(["a"]))

    def test_columns(self) -> None:
        assert GroupedSplit().columns == ()
        assert GroupedSplit(by="user").columns == ("user",)

    def test_a_group_larger_than_the_share_it_fell_into_is_named(self) -> None:
        users = ["many"] * 60 + [f"user {number}" for number in range(40)]
        table = table_of([f"message {number}" for number in range(100)], user=users)
        splits = set()
        for seed in range(40):
            split = GroupedSplit(by="user", validation=0.2, test=0.2, seed=seed).split(table)
            splits.add(split.names[0])
            share = {"train": 0.6, "validation": 0.2, "test": 0.2}[split.names[0]]
            told = [sentence for sentence in split.crossing if "'many'" in sentence]
            assert bool(told) == (share < 0.6)
            if told:
                assert "the group user 'many' (60 messages, 60.0%) is alone more than the share of" in told[0]
        assert splits == set(SPLITS)


class TestNearDuplicates:
    """GroupedSplit by near-duplicates."""

    TEXTS = (
        "Bridge down near the market, two families on the roof",
        "RT @aid: bridge down near the market, two families on the roof http://t.co/1",
        "Bridge down near the markets, two families on the roof",
        "We need drinking water and tents in the north",
        "we need drinking water and tents in the north!!",
    )

    def test_near_duplicates_are_in_one_split(self) -> None:
        pytest.importorskip("datasketch")
        table = table_of([*self.TEXTS, *(f"{word} message" * 3 for word in "abcdefghijklmnopqrst")])
        seen = set()
        for seed in range(30):
            names = GroupedSplit("near_duplicates", validation=0.3, test=0.3, seed=seed).split(table).names
            assert len(set(names[:3])) == 1
            assert len(set(names[3:5])) == 1
            seen |= {(names[0], names[3])}
        assert len(seen) == 9, "large groups fall into every split, each for itself"

    def test_contract_and_settings(self) -> None:
        pytest.importorskip("datasketch")
        splitter = GroupedSplit("near_duplicates")
        assert splitter.columns == ()
        assert splitter.whole_table
        assert not GroupedSplit().whole_table
        texts = pa.table({"text": list(self.TEXTS)})
        check_splitter(GroupedSplit, texts, by="near_duplicates", validation=0.3, test=0.3)
        with pytest.raises(ConfigError, match=r"threshold is 0\.1"):
            GroupedSplit("near_duplicates", threshold=0.1)


class TestRandomSplit:
    """By row, and aloud."""

    def test_shares_and_what_leaks(self) -> None:
        texts = ["the same"] * 2000
        table = table_of(texts, id=[f"m{number}" for number in range(2000)])
        split = RandomSplit(seed=1, validation=0.2, test=0.1).split(table)
        counts = split.counts()
        assert counts["validation"] == pytest.approx(400, abs=60)
        assert counts["test"] == pytest.approx(200, abs=50)
        assert split.crossing[0].startswith("RandomSplit divides by row")
        assert split.crossing[1].startswith("1 text stands in more than one split")
        assert (split.names != RandomSplit(seed=2, validation=0.2, test=0.1).split(table).names).any()

    def test_it_has_to_be_chosen(self) -> None:
        with pytest.raises(TypeError, match="seed"):
            RandomSplit()  # type: ignore[call-arg]
        with pytest.raises(ConfigError, match="sum under 1"):
            RandomSplit(seed=1, test=1.0)

    def test_contract(self) -> None:
        check_splitter(RandomSplit, seed=1)
        with pytest.raises(DataError, match="no column 'id'"):
            RandomSplit(seed=1).split(table_of(["a"]))


class TestGivenSplit:
    """By a column of the file."""

    def test_values(self) -> None:
        given = ["train", "dev", "val", "validation", "test", "spare", None, ""]
        split = GivenSplit().split(table_of([str(number) for number in range(8)], split=given))
        assert split.names.tolist() == ["train", "validation", "validation", "validation", "test", "", "", ""]
        assert split.counts() == {"train": 1, "validation": 3, "test": 1, "": 3}
        assert split.crossing == [
            "1 messages have split 'spare', which stands for no split: left out",
            "2 messages have no split: left out",
        ]

    def test_numbers_stand_for_splits_too(self) -> None:
        splitter = GivenSplit("fold", train=["0", "1"], validation=["2"], test=[])
        assert splitter.columns == ("fold",)
        names = splitter.split(table_of(["a", "b", "c"], fold=[0, 1, 2])).names
        assert names.tolist() == ["train", "train", "validation"]

    def test_crossing_is_counted_and_dropped_on_request(self) -> None:
        table = table_of(
            ["Fire", "fire ", "water", "water", "WATER", "flood"],
            split=["train", "test", "train", "validation", "test", "train"],
        )
        split = GivenSplit().split(table)
        assert split.crossing == [
            "2 texts stand in more than one split (messages: 2 in train, 1 in validation, 2 in test)"
        ]
        split = GivenSplit(drop_crossing=True).split(table)
        assert split.names.tolist() == ["", "test", "", "validation", "test", "train"]
        assert "2 training messages left out" in split.crossing[0]
        assert split.crossing[1].startswith("1 text stands in more than one split (messages: 1 in validation")

    @given(
        st.lists(
            st.tuples(
                st.text(st.sampled_from("aAb "), max_size=2),
                st.sampled_from(["train", "dev", "test", "x", None]),
            ),
            min_size=1,
        )
    )
    def test_no_training_text_is_held_out_after_dropping(self, rows: list[tuple[str, str | None]]) -> None:
        table = table_of([text for text, _ in rows], split=pa.array([name for _, name in rows], pa.string()))
        try:
            names = GivenSplit(drop_crossing=True).split(table).names
        except DataError:
            assert not {"train", "dev", "test"} & {name for _, name in rows}
            return
        texts = np.array([normalise(text) for text, _ in rows])
        assert not set(texts[names == "train"]) & set(texts[(names == "validation") | (names == "test")])

    def test_column_without_any_known_value(self) -> None:
        with pytest.raises(
            DataError, match=r"no value of column 'split' means a split\. It holds 'a', 'b'; wanted were"
        ):
            GivenSplit().split(table_of(["x", "y"], split=["a", "b"]))

    def test_value_in_two_splits(self) -> None:
        with pytest.raises(ConfigError, match="'dev' stands for more than one split"):
            GivenSplit(train=["train", "dev"])


def test_grouping_by_ids_sees_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text("id,text\n" + "".join(f"{number % 20},text {number}\n" for number in range(100)))
    splitter = GroupedSplit(by="id", validation=0.3, test=0.3)
    table = read_messages(
        [path], text="text", id="id", lang=None, extra=splitter.columns, cleaner=NoCleaner(), on_empty="drop"
    ).table
    names = splitter.split(table).names
    assert all(len(set(names[number::20])) == 1 for number in range(20))


def test_crossing_of_splits_made_elsewhere() -> None:
    table = table_of(["a", "A ", "b", "b"])
    assert crossing_texts(table, np.array(["train", "test", "train", "train"], object)) == [
        "1 text stands in more than one split (messages: 1 in train, 1 in test)"
    ]
    assert crossing_texts(table, np.array(["train", "", "test", "test"])) == []
    assert crossing_texts(table.slice(0, 0), np.array([], str)) == []


def test_role_is_abstract() -> None:
    with pytest.raises(TypeError):
        Splitter()  # type: ignore[abstract]
