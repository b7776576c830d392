"""A column of another type in each file is one column, by what its values say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tocsin.errors import DataError
from tocsin.text.alike import concatenated


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ([pa.array([1, 0]), pa.array([True, None])], [1, 0, 1, None]),
        ([pa.array([1, 0]), pa.array([1.0, 0.5])], [1.0, 0.0, 1.0, 0.5]),
        ([pa.array([1], pa.int8()), pa.array([0], pa.uint64())], [1, 0]),
        ([pa.array([True]), pa.array([0.0])], [1.0, 0.0]),
        ([pa.array([1, 0]), pa.array(["1", ""])], ["1", "0", "1", ""]),
        ([pa.array([1.0, None]), pa.array(["1", "no"])], ["1", None, "1", "no"]),
        ([pa.array([True]), pa.array(["True"])], ["true", "True"]),
        ([pa.array(["a"]), pa.array(["b"], pa.large_string())], ["a", "b"]),
        ([pa.array(["a"]).dictionary_encode(), pa.array([1])], ["a", "1"]),
        ([pa.array([[1, 0]]), pa.array(["x"])], ["[1, 0]", "x"]),
        ([pa.nulls(2), pa.array([1])], [None, None, 1]),
        ([pa.array([1294030472427835393]), pa.array([0.5])], ["1294030472427835393", "0.5"]),
        ([pa.array([1]), pa.array([1.0]), pa.array([True]), pa.array(["1"])], ["1", "1", "true", "1"]),
    ],
)
def test_one_type(columns: list[pa.Array], wanted: list[Any]) -> None:
    tables = [pa.table({"x": column}) for column in columns]
    found = concatenated(tables, [Path(f"{n}.csv") for n in range(len(tables))])["x"]
    assert found.to_pylist() == wanted


def test_no_type_for_both() -> None:
    tables = [pa.table({"x": [1]}), pa.table({"x": [[1]]})]
    with pytest.raises(DataError, match=r"'x' holds int64 here but list.*in b\.csv") as caught:
        concatenated(tables, [Path("a.csv"), Path("b.csv")])
    assert caught.value.file == "a.csv"
