"""Members' tables in one order: rows by id, labels by name, and what does not fit by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import DataError, LabelError
from tocsin.scores.members import aligned_members, with_labels_in_order
from tocsin.scores.table import ScoresTable

LABELS = ("a", "b", "c")


def table(seed: int = 0, rows: int = 12, **fields: Any) -> ScoresTable:
    generator = np.random.default_rng(seed)
    targets_NL = (np.random.default_rng(99).random((rows, 3)) < 0.4).astype(float)
    targets_NL[0, 1] = np.nan
    given: dict[str, Any] = {
        "ids": [f"m{i}" for i in range(rows)],
        "labels": LABELS,
        "logits_NL": generator.normal(size=(rows, 3)),
        "targets_NL": targets_NL,
        "metadata": {"split": "validation", "train_prevalence": "[0.1, 0.2, 0.3]"},
    }
    return ScoresTable(**{**given, **fields})


def shuffled(given: ScoresTable, rows: np.ndarray, columns: list[int]) -> ScoresTable:
    """The same scores, rows and labels in another order."""
    part = given.select(rows)
    shares = json.loads(part.metadata["train_prevalence"])
    return replace(
        part,
        labels=tuple(part.labels[i] for i in columns),
        logits_NL=part.logits_NL[:, columns],
        targets_NL=part.targets_NL[:, columns],
        metadata={**part.metadata, "train_prevalence": json.dumps([shares[i] for i in columns])},
    )


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.permutations(range(3)))
def test_rows_are_matched_by_id_and_labels_by_name(rows: list[int], columns: list[int]) -> None:
    first, second = table(1), table(2)
    found = aligned_members([first, shuffled(second, np.array(rows), columns)], ["one", "two"])
    np.testing.assert_array_equal(found[1].ids, first.ids)
    assert found[1].labels == LABELS
    np.testing.assert_array_equal(found[1].logits_NL, second.logits_NL)
    np.testing.assert_array_equal(found[1].targets_NL, second.targets_NL)
    assert json.loads(found[1].metadata["train_prevalence"]) == [0.1, 0.2, 0.3]
    np.testing.assert_array_equal(found[0].logits_NL, first.logits_NL)


def test_one_files_targets_languages_and_slices_hold_for_all() -> None:
    langs = np.array(["en", "fr"] * 6, dtype=object)
    bare = table(1, targets_NL=None)
    told = table(2, langs=langs, slices={"event": np.arange(12)}).select(np.arange(12)[::-1])
    found = aligned_members([bare, told], ["one", "two"])
    for each in found:
        np.testing.assert_array_equal(each.targets_NL, table().targets_NL)
        np.testing.assert_array_equal(each.langs, langs)
        np.testing.assert_array_equal(each.slices["event"], np.arange(12))
    assert aligned_members([bare, bare], ["one", "two"])[0].targets_NL is None


def test_languages_are_filled_in_message_by_message() -> None:
    langs = np.array(["en", None] * 6, dtype=object)
    others = np.array([None, "fr"] * 6, dtype=object)
    found = aligned_members([table(1, langs=langs), table(2, langs=others)], ["one", "two"])
    for each in found:
        assert list(each.langs) == ["en", "fr"] * 6
    others[2] = "es"
    with pytest.raises(DataError, match="language of message 'm2': 'en' and 'es'"):
        aligned_members([table(1, langs=langs), table(2, langs=others)], ["one", "two"])


def test_a_prevalence_of_other_labels_is_refused() -> None:
    short = table(metadata={"split": "validation", "train_prevalence": "[0.1, 0.2]"})
    with pytest.raises(
        DataError, match="the file has a train_prevalence that is not a share for each of its 3 labels"
    ):
        with_labels_in_order(short, ("c", "a", "b"), "the file")


def test_missing_rows_and_members_are_named() -> None:
    first, second = table(1), table(2)
    with pytest.raises(
        DataError, match=r"two lacks 5 of the 12 messages of one: 'm0', 'm1', 'm2', …\. Score"
    ):
        aligned_members([first, second.select(np.arange(5, 12))], ["one", "two"])
    with pytest.raises(DataError, match=r"three has 2 messages that one has not: 'm10', 'm11'\. Score"):
        aligned_members(
            [first.select(np.arange(10)), second.select(np.arange(10)), table(3)], ["one", "two", "three"]
        )
    other = replace(second, ids=[f"x{i}" for i in range(12)])
    with pytest.raises(DataError, match=r"lacks 12 of the 12.*'m0'.*has 12 messages.*'x0'"):
        aligned_members([first, other], ["one", "two"])
    twice = replace(second, ids=["m0", "m0", *(f"m{i}" for i in range(2, 12))])
    with pytest.raises(DataError, match=r"two has 1 ids in several rows: 'm0'"):
        aligned_members([first, twice], ["one", "two"])
    with pytest.raises(DataError, match="at least one member"):
        aligned_members([], [])


def test_other_labels_are_named_by_member() -> None:
    other = replace(table(2), labels=("a", "wind", "c"))
    with pytest.raises(LabelError, match="two, beside one, lacks 'b' and has 'wind'"):
        aligned_members([table(1), other], ["one", "two"])
    with pytest.raises(LabelError, match="it lacks 'd'"):
        with_labels_in_order(table(), (*LABELS, "d"), "it")


@pytest.mark.parametrize(("value", "said"), [(np.nan, "and unknown"), (2.0, "and 1|and 0")])
def test_targets_that_disagree_are_refused(value: float, said: str) -> None:
    targets_NL = table().targets_NL.copy()
    targets_NL[3, 2] = 1 - targets_NL[3, 2] if value == 2.0 else value
    with pytest.raises(
        DataError, match=rf"one and two disagree about 1 targets.*'c' of message 'm3'.*({said})"
    ):
        aligned_members([table(1), table(2, targets_NL=targets_NL)], ["one", "two"])
