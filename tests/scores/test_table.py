from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scores.cases import make_table
from tocsin.errors import DataError, LabelError
from tocsin.labels.schemes import label_digest
from tocsin.parquet_files import write_parquet
from tocsin.scores.table import PROBABILITY_LIMIT, ScoresTable, sigmoid


def test_sigmoid_is_exact_in_the_middle_and_clipped_at_the_ends() -> None:
    logits = np.array([-1000.0, -2.0, 0.0, 2.0, 1000.0], dtype=np.float32)
    values = sigmoid(logits)
    assert values.dtype == np.float64
    assert values[1:4] == pytest.approx(1 / (1 + np.exp([2.0, 0.0, -2.0])), abs=1e-15)
    assert values[[0, -1]].tolist() == [PROBABILITY_LIMIT, 1 - PROBABILITY_LIMIT]


@pytest.mark.parametrize("kind", ["logits", "probabilities", "no targets", "decisions", "no rows"])
def test_what_is_written_is_read(kind: str, tmp_path: Path) -> None:
    table = make_table(slices={"genre": np.array(["a", None] * 60, dtype=object), "year": np.arange(120)})
    if kind == "probabilities":
        table = make_table(logits_NL=None, probabilities_NL=table.probabilities)
    elif kind == "no targets":
        table = make_table(targets_NL=None)
    elif kind == "decisions":
        table = make_table(decisions_NL=table.probabilities > 0.4)
    elif kind == "no rows":
        table = table.select(np.zeros(120, dtype=bool))
    table.write(tmp_path / "scores" / "test.parquet")
    read = ScoresTable.read(tmp_path / "scores" / "test.parquet")
    assert read.labels == table.labels
    assert read.metadata == {"run": "skill-1", "split": "validation"}
    for name in ("ids", "langs", "logits_NL", "probabilities_NL", "targets_NL", "decisions_NL"):
        np.testing.assert_array_equal(getattr(read, name), getattr(table, name))
    assert read.slices.keys() == table.slices.keys()
    for name, values in table.slices.items():
        np.testing.assert_array_equal(read.slices[name], values)


def test_the_file_holds_the_columns_and_metadata_that_others_rely_on(tmp_path: Path) -> None:
    table = make_table(n_labels=1, labels=["feu, brûlé"])
    table.write(tmp_path / "scores.parquet")
    schema = pq.read_schema(tmp_path / "scores.parquet")
    assert [(field.name, str(field.type)) for field in schema] == [
        ("id", "string"),
        ("lang", "string"),
        ("genre", "string"),
        ("logit.feu, brûlé", "float"),
        ("target.feu, brûlé", "int8"),
    ]
    assert json.loads(schema.metadata[b"tocsin.labels"]) == ["feu, brûlé"]
    assert (
        schema.metadata[b"tocsin.labels_digest"].decode()
        == label_digest(["feu, brûlé"])
        == table.labels_digest
    )
    assert schema.metadata[b"tocsin.run"] == b"skill-1"
    nulls = pq.read_table(tmp_path / "scores.parquet").column("target.feu, brûlé").null_count
    assert nulls == np.isnan(table.targets_NL).sum() > 0


def test_a_file_of_another_tool_needs_no_metadata(tmp_path: Path) -> None:
    columns = {
        "prob.fire": [0.0, 1.0],
        "id": [7, 8],
        "prob.flood": [0.5, 0.25],
        "target.fire": [True, None],
        "target.flood": [0, 1],
    }
    pq.write_table(pa.table(columns), tmp_path / "theirs.parquet")
    table = ScoresTable.read(tmp_path / "theirs.parquet")
    assert table.labels == ("fire", "flood")
    assert table.ids.tolist() == ["7", "8"]
    assert table.langs.tolist() == [None, None]
    assert table.probabilities[:, 0].tolist() == [PROBABILITY_LIMIT, 1 - PROBABILITY_LIMIT]
    np.testing.assert_array_equal(table.targets_NL, [[1, 0], [np.nan, 1]])


def test_columns_in_another_order_than_the_metadata_are_put_right(tmp_path: Path) -> None:
    table = make_table()
    arrow = table.to_arrow()
    write_parquet(arrow.select(arrow.column_names[::-1]), tmp_path / "turned.parquet")
    read = ScoresTable.read(tmp_path / "turned.parquet")
    assert read.labels == table.labels
    np.testing.assert_array_equal(read.logits_NL, table.logits_NL)


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.parquet"
    make_table(skill=2).write(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        make_table(skill=3).write(path)
    assert ScoresTable.read(path).metadata["run"] == "skill-2"
    assert list(tmp_path.iterdir()) == [path]


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def another_tool(path: Path) -> None:
    pq.write_table(pq.read_table(path), path)


def earlier(path: Path) -> None:
    pq.write_table(make_table().to_arrow(), path)


def without_column(path: Path) -> None:
    write_parquet(pq.read_table(path).drop_columns(["target.label 1"]), path)


def without_label(path: Path) -> None:
    write_parquet(pq.read_table(path).drop_columns(["logit.label 1", "target.label 1"]), path)


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), path)


def words(path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "logit.fire": ["high"]}), path)


def wrong_target(path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "logit.fire": [0.1, 0.2], "target.fire": [1, 2]}), path)


def repeated_id(path: Path) -> None:
    pq.write_table(pa.table({"id": [*"abcb"], "logit.fire": [0.1, 0.2, 0.3, 0.2]}), path)


def later_format(path: Path) -> None:
    table = make_table().to_arrow()
    write_parquet(table.replace_schema_metadata({**table.schema.metadata, b"tocsin.format": b"2"}), path)


def wrong_digest(path: Path) -> None:
    table = pq.read_table(path)
    write_parquet(
        table.replace_schema_metadata({**table.schema.metadata, b"tocsin.labels_digest": b"0"}), path
    )


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (Path.unlink, DataError, "no such scores file"),
        (torn, DataError, "is not as it was written"),
        (another_tool, DataError, "edited by another tool"),
        (earlier, DataError, "holds no SHA-256 of its content"),
        (without_column, DataError, "Columns are missing: target.label 1"),
        (without_label, LabelError, "the metadata names the labels"),
        (foreign, DataError, "This is no scores table.*it has text"),
        (words, DataError, "row 1: Column 'logit.fire' holds 'high'; numbers are wanted"),
        (wrong_target, DataError, "row 2.*target of message 'b' for label 'fire' is 2"),
        (later_format, DataError, "format '2'; this version of Tocsin reads format 1"),
        (wrong_digest, LabelError, "label digest"),
        (repeated_id, DataError, r"The id 'b' stands in rows 2, 4; one row a message"),
    ],
)
def test_unusable_files_are_named(damage, error: type[Exception], message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "scores.parquet"
    make_table().write(path)
    damage(path)
    with pytest.raises(error, match=message) as caught:
        ScoresTable.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits_NL": None}, "exactly one of the two"),
        ({"probabilities_NL": np.zeros((120, 4))}, "exactly one of the two"),
        (
            {"logits_NL": None, "probabilities_NL": np.full((120, 4), 2.0)},
            "0 to 1 is wanted. Are they logits",
        ),
        ({"logits_NL": np.zeros((120, 3))}, r"shape \(120, 3\); \(120, 4\) is wanted"),
        ({"logits_NL": np.full((120, 4), np.nan)}, "score of message 'm0' for label 'label 0' is NaN"),
        ({"targets_NL": np.full((120, 4), 1.5)}, "1.5; 0, 1, a probability in between, or null is wanted"),
        ({"langs": np.array(["en"])}, "Column 'lang' has shape"),
        ({"slices": {"genre": np.array(["news"])}}, "Column 'genre' has shape"),
        ({"slices": {"target.x": np.zeros(120)}}, "cannot be called 'target.x'"),
        ({"ids": np.array([None] * 120, dtype=object)}, "120 messages have no id"),
        ({"ids": np.zeros((120, 2))}, "one id a message"),
        ({"ids": np.array(["a", 1] * 60, dtype=object)}, "all of one kind"),
    ],
)
def test_tables_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_table(**changes)


def test_labels_must_be_there_once() -> None:
    with pytest.raises(LabelError, match="at least one label"):
        make_table(labels=())
    with pytest.raises(LabelError, match="stand twice: a"):
        make_table(labels=("a", "b", "a", "c"))


def test_rows_are_selected_by_mask_and_by_index() -> None:
    table = make_table(decisions_NL=np.ones((120, 4)))
    some = table.select(np.array([5, 3]))
    assert some.ids.tolist() == ["m5", "m3"]
    assert some.slices["genre"].tolist() == table.slices["genre"][[5, 3]].tolist()
    np.testing.assert_array_equal(some.targets_NL, table.targets_NL[[5, 3]])
    assert len(table.select(table.langs == "fr")) == np.count_nonzero(table.langs == "fr")
