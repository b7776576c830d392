"""Several schemes as one: order, collisions, and what is handed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tocsin.errors import LabelError
from tocsin.labels.categories import Categories
from tocsin.labels.schemes import Columns, label_digest
from tocsin.labels.soft import Soft
from tocsin.labels.union import Union
from tocsin.plugins.testing import check_label_scheme

TABLE = pa.table({"fire": [1, None], "kind": ["b", "a"], "share": [0.25, 1.0]})


def test_labels_and_targets_are_those_of_the_schemes_in_order() -> None:
    parts = [Soft(["share"]), Categories({"kind": ["a", "b"]}), Columns(["fire"])]
    union = Union(parts)
    assert union.names == ("share", "kind=a", "kind=b", "fire")
    assert union.columns == ("share", "kind", "fire")
    assert union.digest == label_digest(union.names) != Union(parts[::-1]).digest
    targets_NL = union.targets(TABLE)
    np.testing.assert_array_equal(targets_NL, np.hstack([part.targets(TABLE) for part in parts]))
    assert targets_NL.dtype == np.float32


def test_unions_nest_and_columns_stand_once() -> None:
    inner = Union([Columns(["fire"]), Soft(["share"])])
    union = Union([inner, Categories({"fire": ["1", "0"]})])
    assert union.names == ("fire", "share", "fire=1", "fire=0")
    assert union.columns == ("fire", "share")
    assert union.targets(TABLE)[0].tolist() == [1.0, 0.25, 1.0, 0.0]


def test_it_is_soft_where_a_part_is_and_names_their_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fire\n")
    hard = Columns(str(tmp_path / "a.txt"))
    assert not Union([hard]).soft
    assert Union([hard, Union([Soft(["share"])])]).soft
    assert Union([hard, Soft(["share"])]).files == (tmp_path / "a.txt",)


def test_names_that_collide_and_no_scheme_at_all() -> None:
    with pytest.raises(LabelError, match=r"'fire' stands in scheme 1 \(Columns\) and in scheme 3 \(Soft\)"):
        _ = Union([Columns(["fire"]), Columns(["death"]), Soft(["fire"])]).names
    with pytest.raises(LabelError, match="schemes is empty"):
        Union([])


def test_it_conforms() -> None:
    check_label_scheme(Union, schemes=[Columns(["fire", "death"]), Soft(["share"])])
    check_label_scheme(Union, TABLE, schemes=[Columns(["fire"]), Categories({"kind": ["a", "b"]})])
