"""Each wrong splitter has one fault, and the check names that one."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.plugins.testing.rejections import only_fault
from tocsin.plugins.templates.splitter import TemplateSplitter
from tocsin.plugins.testing import check_splitter
from tocsin.text.messages import source_column
from tocsin.text.splitters import GivenSplit, GroupedSplit, Split, Splitter


class _ByUser(Splitter):
    """Right: a hash of a column. The wrong ones below differ from it by one thing each."""

    @property
    def columns(self) -> tuple[str, ...]:
        return ("user",)

    def split(self, table: pa.Table) -> Split:
        return Split(self.names(source_column(table, "user").to_pylist()))

    def names(self, users: list[Any]) -> np.ndarray:
        places = [hashlib.sha256(str(user).encode()).digest()[0] for user in users]
        return np.array(["test" if place < 50 else "train" for place in places], object)


@pytest.mark.parametrize(
    ("splitter", "arguments"),
    [
        (GivenSplit, {}),
        (GivenSplit, {"column": "text"}),
        (GivenSplit, {"drop_crossing": True}),
        (GroupedSplit, {}),
        (GroupedSplit, {"by": "user", "validation": 0.3}),
        (GroupedSplit, {"by": "lang"}),
        (TemplateSplitter, {}),
        (_ByUser, {}),
    ],
)
def test_right_ones_pass(splitter: type[Splitter], arguments: dict[str, Any]) -> None:
    check_splitter(splitter, **arguments)


class _ByYear(_ByUser):
    """Right, and satisfied by years alone."""

    @property
    def columns(self) -> tuple[str, ...]:
        return ("year",)

    def split(self, table: pa.Table) -> Split:
        from tocsin.errors import DataError

        years = source_column(table, "year")
        if not pa.types.is_integer(years.type):
            raise DataError(f"column 'year' holds {years.type}; whole numbers were wanted")
        return Split(np.where(years.to_numpy() < 2020, "train", "test"))


def test_a_table_of_the_author() -> None:
    fault = only_fault(check_splitter, _ByYear)
    assert "column 'year' holds string; whole numbers were wanted" in fault
    assert "check_splitter(_ByYear, table, …), a few rows with the columns year" in fault
    years = pa.table({"year": [2018, 2019, 2021], "text": ["a", "b", "c"]})
    check_splitter(_ByYear, years)
    lacking = only_fault(lambda kind: check_splitter(kind, years.drop_columns(["year"])), _ByYear)
    assert "lacks 'year', which `columns` asks for. It holds: text" in lacking


def test_by_position() -> None:
    class _Tenths(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            return np.array(["test" if row % 10 == 0 else "train" for row in range(len(users))], object)

    fault = only_fault(check_splitter, _Tenths)
    assert fault.startswith("The rows were sorted otherwise: ")
    assert "never from its position" in fault


def test_by_shares_of_the_table() -> None:
    class _Exact(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            cut = sorted(users)[len(users) // 5]
            return np.array(["test" if user < cut else "train" for user in users], object)

    class _Sized(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            place = len(users) % 7
            names = super().names([f"{place} {user}" for user in users])
            return names

    assert "The second half of the rows was left out" in only_fault(check_splitter, _Sized)
    assert "messages came into another split" in only_fault(check_splitter, _Exact)


def test_shares_of_the_table_are_right_where_they_are_said_to_be() -> None:
    class _Exact(_ByUser):
        """Right: it says that it looks at the whole table, and goes by no position."""

        whole_table = True

        def names(self, users: list[Any]) -> np.ndarray:
            cut = sorted(users)[len(users) // 5]
            return np.array(["test" if user < cut else "train" for user in users], object)

    class _Cut(_Exact):
        """Wrong: the order of the rows still plays no part."""

        def names(self, users: list[Any]) -> np.ndarray:
            return np.array(
                ["test" if row < len(users) // 5 else "train" for row in range(len(users))], object
            )

    check_splitter(_Exact)
    assert only_fault(check_splitter, _Cut).startswith("The rows were sorted otherwise: ")


def test_whole_table_is_true_or_false() -> None:
    class _Method(_ByUser):
        """Wrong."""

        def whole_table(self) -> bool:
            return True

    assert "Is a @property missing?" in only_fault(check_splitter, _Method)


def test_random() -> None:
    class _Dice(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            return np.random.choice(["train", "test"], len(users))

    fault = only_fault(check_splitter, _Dice)
    assert fault.startswith("The same table was split once more: ")
    assert "hashlib, not hash()" in fault


def test_each_object_splits_otherwise() -> None:
    class _Salted(_ByUser):
        """Wrong."""

        def __init__(self) -> None:
            self.salt = id(self) + np.random.rand()

        def names(self, users: list[Any]) -> np.ndarray:
            return super().names([f"{self.salt} {user}" for user in users])

    assert "Another object with the same arguments" in only_fault(check_splitter, _Salted)


def test_unknown_split() -> None:
    class _Dev(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            return np.array(["dev"] + ["train"] * (len(users) - 1), object)

    fault = only_fault(check_splitter, _Dev)
    assert "named the split 'dev' for 1 of 500 messages. Wanted are 'train', 'validation', 'test'" in fault


def test_none_for_no_split() -> None:
    class _Null(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            return np.array([None if user == "group 3" else "train" for user in users], object)

    assert "named the split None for " in only_fault(check_splitter, _Null)


def test_names_without_a_split() -> None:
    class _Bare(_ByUser):
        """Wrong."""

        def split(self, table: pa.Table) -> Split:
            return super().split(table).names

    fault = only_fault(check_splitter, _Bare)
    assert "returned an array of shape (500,)" in fault
    assert "Split(names)" in fault


def test_a_list_of_names_and_too_few() -> None:
    class _Listed(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            return super().names(users).tolist()

    class _Groups(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            return super().names(sorted(set(users)))

    assert "names of an object of type list" in only_fault(check_splitter, _Listed)
    assert "A numpy array of shape (500,) is wanted" in only_fault(check_splitter, _Groups)


def test_one_sentence_in_place_of_a_list() -> None:
    class _Sentence(_ByUser):
        """Wrong."""

        def split(self, table: pa.Table) -> Split:
            return Split(super().split(table).names, "3 texts cross")

    assert "gave as `crossing` '3 texts cross'. A list of sentences" in only_fault(check_splitter, _Sentence)


def test_one_name_in_place_of_a_tuple() -> None:
    class _Text(_ByUser):
        """Wrong."""

        @property
        def columns(self) -> tuple[str, ...]:
            return "user"

    assert "`columns` is the text 'user'" in only_fault(check_splitter, _Text)


def test_columns_is_no_property() -> None:
    class _Method(_ByUser):
        """Wrong."""

        def columns(self) -> tuple[str, ...]:
            return ("user",)

    assert "Write @property before it" in only_fault(check_splitter, _Method)


def test_a_column_that_was_not_asked_for() -> None:
    class _Undeclared(_ByUser):
        """Wrong."""

        def split(self, table: pa.Table) -> Split:
            return Split(self.names(table["event"].to_pylist()))

    fault = only_fault(check_splitter, _Undeclared)
    assert "KeyError" in fault
    assert "event" in fault
    assert "must be named by `columns`" in fault


def test_a_missing_column_is_an_error_of_ours() -> None:
    class _Key(_ByUser):
        """Wrong."""

        def split(self, table: pa.Table) -> Split:
            return Split(self.names(table["user"].to_pylist()))

    fault = only_fault(check_splitter, _Key)
    assert "split() of a table without the column 'user' raised KeyError" in fault
    assert "source_column()" in fault


def test_a_single_message() -> None:
    class _Statistics(_ByUser):
        """Wrong."""

        def names(self, users: list[Any]) -> np.ndarray:
            if len(users) < 2:
                raise ValueError("needs two rows")
            return super().names(users)

    assert "split(a table of one message) raised ValueError: needs two rows" in only_fault(
        check_splitter, _Statistics
    )
