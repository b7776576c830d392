"""Ids are one text in every type, and those that lost digits are said, and refused where rows are found by them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tocsin.errors import DataError, LabelError
from tocsin.labels.soft import Soft
from tocsin.scores.members import aligned_members
from tocsin.scores.statistics import aligned
from tocsin.scores.table import ScoresTable
from tocsin.text.cleaners import NoCleaner
from tocsin.text.ids import check_ids_join, lossy_ids, plain_text
from tocsin.text.messages import Messages, read_messages
from tocsin.text.reading import DataWarning

LARGE = [1294030472427835393 + 977 * n for n in range(20)]


def read(*paths: Path, **options: Any) -> Messages:
    given: dict[str, Any] = {
        "text": "text",
        "id": "id",
        "lang": None,
        "cleaner": NoCleaner(),
        "on_empty": "drop",
        **options,
    }
    return read_messages(list(paths), **given)


def file_of(path: Path, ids: list[Any], kind: pa.DataType | None = None) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"id": pa.array(ids, kind), "text": ["fire"] * len(ids)}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"id": one, "text": "fire"}) + "\n" for one in ids))
    else:
        path.write_text("id,text\n" + "".join(f"{one},fire\n" for one in ids))
    return path


@pytest.mark.parametrize(
    ("name", "ids", "kind"),
    [
        ("m.csv", ["1", "20", "300"], None),
        ("m.csv", ["1.0", "20.0", "300.0"], None),
        ("m.jsonl", [1, 20, 300], None),
        ("m.jsonl", [1.0, 20.0, 300.0], None),
        ("m.jsonl", ["1", "20", "300"], None),
        ("m.parquet", [1, 20, 300], pa.int16()),
        ("m.parquet", [1.0, 20.0, 300.0], pa.float32()),
        ("m.parquet", [1.0, 20.0, 300.0], pa.float64()),
        ("m.parquet", ["1", "20", "300"], pa.dictionary(pa.int8(), pa.string())),
        ("m.parquet", ["1", "20", "300"], pa.large_string()),
    ],
)
def test_one_text_in_every_type(tmp_path: Path, name: str, ids: list[Any], kind: pa.DataType | None) -> None:
    assert read(file_of(tmp_path / name, ids, kind)).table["id"].to_pylist() == ["1", "20", "300"]


def test_large_whole_numbers_keep_their_digits(tmp_path: Path) -> None:
    wanted = [str(one) for one in LARGE]
    for name in ("m.csv", "m.jsonl", "m.parquet"):
        assert read(file_of(tmp_path / name, LARGE)).table["id"].to_pylist() == wanted
    assert plain_text(pa.array([1e15, 9007199254740991.0])).to_pylist() == [
        "1000000000000000",
        "9007199254740991",
    ]


def test_versions_are_no_numbers(tmp_path: Path) -> None:
    path = file_of(tmp_path / "m.csv", ["1.0", "1.1", "1.10"])
    assert read(path).table["id"].to_pylist() == ["1.0", "1.1", "1.10"]


@pytest.mark.parametrize(
    ("name", "ids", "kind"),
    [
        ("m.csv", ["1.29403E+18"] * 3, None),
        ("m.csv", ['"1,29403E+18"', "7", "8"], None),
        ("m.csv", ["1.2940304724278354e+18", "a", "b"], None),
        ("m.csv", ["1294030472427835392.0", "1294030472427836416.0"], None),
        ("m.csv", [f"{one // 10**4}0000" for one in LARGE], None),
        ("m.jsonl", [float(one) for one in LARGE], None),
        ("m.parquet", [float(one) for one in LARGE], pa.float64()),
        ("m.parquet", [int(float(one)) for one in LARGE], pa.int64()),
        ("m.parquet", [3e7, 4e7, 5e7], pa.float32()),
    ],
)
def test_lost_digits_are_said(tmp_path: Path, name: str, ids: list[Any], kind: pa.DataType | None) -> None:
    path = file_of(tmp_path / name, ids, kind)
    with pytest.warns(
        DataWarning, match=r"[\d,]+ of [\d,]+ ids in column 'id' lost digits.* such as .* in row 1"
    ):
        found = read(path).table["id"]
    with pytest.raises(DataError, match=r"^teacher: rows are found by their ids"):
        check_ids_join(found, "teacher")


@pytest.mark.parametrize(
    "ids", [[str(one) for one in LARGE], ["1e5", "2e3"], ["a", None], [], ["12345678901234567890123"]]
)
def test_ids_that_are_whole(ids: list[str | None]) -> None:
    assert lossy_ids(pa.array(ids, pa.string())) == (0, 0)


def scores(ids: list[str]) -> ScoresTable:
    return ScoresTable(
        ids=np.array(ids, object),
        labels=("flood",),
        logits_NL=np.zeros((len(ids), 1), np.float32),
        targets_NL=np.zeros((len(ids), 1), np.float32),
    )


def test_refused_where_rows_are_found_by_them(tmp_path: Path) -> None:
    ids = [f"{float(one):.16e}" for one in LARGE]
    one = scores(ids)
    with pytest.raises(DataError, match=r"The first scores table: .*lost digits"):
        aligned(one, one)
    with pytest.raises(DataError, match="lost digits"):
        aligned_members([one, one], ["a", "b"])
    path = tmp_path / "teacher.parquet"
    pq.write_table(pa.table({"id": ids, "prob.flood": [0.5] * len(ids)}), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        table = read(file_of(tmp_path / "m.jsonl", [float(one) for one in LARGE])).table
    with pytest.raises(LabelError, match=r"cannot be joined: .*lost digits"):
        Soft(scores=str(path)).targets(table)
