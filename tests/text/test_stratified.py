"""The split that keeps groups together and labels in proportion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tocsin.errors import ConfigError, DataError
from tocsin.plugins.testing import check_splitter
from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages
from tocsin.text.splitters import SPLITS, GroupedSplit
from tocsin.text.stratified import StratifiedGroupedSplit

NAMES = [f"l{label}" for label in range(8)]


def corpus(rows: int = 3000, groups: int = 900, seed: int = 0) -> pa.Table:
    """Messages of users, whose labels (from 30% down to 0.5%) lean towards some users."""
    draw = np.random.default_rng(seed)
    user_N = draw.integers(0, groups, rows)
    shares_L = np.geomspace(0.3, 0.005, len(NAMES))
    leaning_GL = draw.gamma(0.5, 2, (groups, len(NAMES)))
    labels_NL = draw.random((rows, len(NAMES))) < np.minimum(shares_L * leaning_GL[user_N], 1)
    columns = {name: labels_NL[:, label].astype(np.int8) for label, name in enumerate(NAMES)}
    texts = pa.array([f"message {row}" for row in range(rows)], pa.large_string())
    return pa.table({"text": texts, "user": [f"user {user}" for user in user_N], **columns})


def distortion(table: pa.Table, split_names: np.ndarray, shares: dict[str, float]) -> float:
    """Mean distance between a label's share that a split holds and the share it should hold."""
    distances = []
    for name in NAMES:
        has = table[name].to_numpy() == 1
        distances += [
            abs((has & (split_names == split)).sum() / has.sum() - share) for split, share in shares.items()
        ]
    return float(np.mean(distances))


def test_labels_are_in_proportion_and_groups_whole() -> None:
    table = corpus()
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    split = StratifiedGroupedSplit(NAMES, by="user").split(table)
    for user in np.unique(table["user"].to_pylist()):
        assert len(set(split.names[np.array(table["user"].to_pylist()) == user])) == 1
    for name, share in shares.items():
        assert (split.names == name).mean() == pytest.approx(share, abs=0.005)
    assert distortion(table, split.names, shares) < 0.01
    assert (
        distortion(table, split.names, shares)
        < distortion(table, GroupedSplit(by="user").split(table).names, shares) / 3
    )
    assert not split.crossing


def test_by_hand() -> None:
    """Six messages, half trained on: the rarest label is dealt first, to the split that lacks it most."""
    columns = {"rare": [1, 1, 0, 0, 0, 0], "common": [1, 0, 1, 1, 1, 0]}
    table = pa.table({"text": pa.array(list("abcdef"), pa.large_string()), **columns})
    names = StratifiedGroupedSplit(["common", "rare"], validation=0.5, test=0.0).split(table).names
    assert set(names) == {"train", "validation"}
    for has in (*columns.values(), [1] * 6):
        rows = np.array(has) == 1
        assert abs(int((names[rows] == "train").sum()) * 2 - rows.sum()) <= 1


def test_position_plays_no_part_and_the_seed_does() -> None:
    table = corpus(600, 200)
    order = np.random.default_rng(1).permutation(600)
    first = StratifiedGroupedSplit(NAMES, by="user").split(table).names
    assert (
        StratifiedGroupedSplit(NAMES, by="user").split(table.take(pa.array(order))).names == first[order]
    ).all()
    assert (StratifiedGroupedSplit(NAMES, by="user", seed=7).split(table).names != first).any()


def test_values_of_a_category_are_labels() -> None:
    langs = ["eng"] * 80 + ["hat"] * 20
    table = pa.table({"text": pa.array(map(str, range(100)), pa.large_string()), "lang": langs})
    names = StratifiedGroupedSplit(["lang"], validation=0.2, test=0.2).split(table).names
    for lang, count in (("eng", 16), ("hat", 4)):
        rows = np.array(langs) == lang
        assert [int((names[rows] == split).sum()) for split in SPLITS] == [3 * count, count, count]


def test_a_group_larger_than_a_split_is_named_and_kept_out_of_it() -> None:
    users = ["many"] * 30 + [f"user {number}" for number in range(70)]
    table = pa.table(
        {"text": pa.array(map(str, range(100)), pa.large_string()), "user": users, "flood": [1] * 100}
    )
    split = StratifiedGroupedSplit(["flood"], by="user").split(table)
    assert set(split.names[:30]) == {"train"}
    assert split.crossing == [
        "the group user 'many' (30 messages, 30.0%) is alone more than the share of validation (10%) and of test "
        "(10%): kept out of it"
    ]


def test_a_group_larger_than_every_split_is_an_error() -> None:
    users = ["everybody"] * 90 + ["one"] * 10
    table = pa.table(
        {"text": pa.array(map(str, range(100)), pa.large_string()), "user": users, "flood": [1] * 100}
    )
    with pytest.raises(
        DataError, match=r"the group user 'everybody' \(90 messages, 90\.0%\) is alone more than"
    ):
        StratifiedGroupedSplit(["flood"], by="user").split(table)


def test_a_group_of_texts_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text("text,flood\n" + "other,0\n" + "Same,1\n" * 9, encoding="utf-8")
    table = read_messages(
        [path], text="text", id=None, lang=None, extra=["flood"], cleaner=NoCleaner(), on_empty="drop"
    ).table
    with pytest.raises(
        DataError, match=r"group of equal texts that holds .*messages\.csv, row 2 \(9 messages"
    ):
        StratifiedGroupedSplit(["flood"]).split(table)


def test_labels_that_a_split_lacks_are_told() -> None:
    flags = [1] + [0] * 99
    table = pa.table(
        {"text": pa.array(map(str, range(100)), pa.large_string()), "rare": flags, "all": [1] * 100}
    )
    crossing = StratifiedGroupedSplit(["rare", "all"]).split(table).crossing
    assert crossing == [
        "no message of validation has 'rare': too few groups hold it",
        "no message of test has 'rare': too few groups hold it",
    ]


def test_settings_and_columns() -> None:
    assert StratifiedGroupedSplit(["a", "b", "a"], by="user").columns == ("a", "b", "user")
    assert StratifiedGroupedSplit(["a"]).columns == ("a",)
    assert StratifiedGroupedSplit(["a"]).whole_table
    with pytest.raises(ConfigError, match="a list of the columns"):
        StratifiedGroupedSplit([])
    with pytest.raises(ConfigError, match="sum under 1"):
        StratifiedGroupedSplit(["a"], validation=1)
    with pytest.raises(DataError, match="no column 'a'"):
        StratifiedGroupedSplit(["a"]).split(pa.table({"text": ["x"]}))


@pytest.mark.parametrize("arguments", [{}, {"by": "user"}])
def test_it_conforms(arguments: dict[str, Any]) -> None:
    table = corpus(300, 100).select(["user", *NAMES])
    check_splitter(StratifiedGroupedSplit, table, labels=NAMES, **arguments)
