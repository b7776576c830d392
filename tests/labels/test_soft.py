"""Probabilities as targets: from columns, and from a teacher's scores by id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import LabelError
from tocsin.labels.schemes import Columns
from tocsin.labels.soft import Soft
from tocsin.labels.targets import hard_targets, is_soft
from tocsin.logits import sigmoid
from tocsin.plugins.testing import check_label_scheme
from tocsin.scores.table import ScoresTable
from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages

NULL = float("nan")


def teacher(path: Path, **changes: Any) -> ScoresTable:
    """Scores of five messages for two labels, written."""
    table = ScoresTable(
        ids=np.array(["m0", "m1", "m2", "m3", "m4"]),
        labels=("fire", "death"),
        **{"logits_NL": np.array([[0, 1], [-2, 3], [4, -5], [60, -60], [0.5, 0]], np.float32), **changes},
    )
    table.write(path)
    return table


# Columns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0.25, 1.0, None]),
        pa.array([0.25, 1.0, NULL], pa.float32()),
        pa.array(["0.25", " 1", ""]),
        pa.array(["2.5e-1", "true", "nan"]).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_values_of_every_type(values: pa.Array) -> None:
    targets_NL = Soft(["fire"]).targets(pa.table({"fire": values}))
    np.testing.assert_array_equal(targets_NL, np.array([[0.25], [1], [NULL]], np.float32))
    assert targets_NL.dtype == np.float32


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=9))
def test_probabilities_are_kept(values: list[float | None]) -> None:
    column = pa.array(values, pa.float64())
    wanted = np.array([NULL if value is None else value for value in values], np.float32)
    np.testing.assert_array_equal(Soft(["fire"]).targets(pa.table({"fire": column}))[:, 0], wanted)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("1.5", r"percentages, divide them by 100 \(1.5 is 0.015\)"),
        ("-0.1", "Are these logits"),
        ("1.0000001", "percentages"),
        ("inf", "Write a number"),
        ("often", "Write a number from 0 to 1"),
    ],
)
def test_out_of_range_names_file_and_row(tmp_path: Path, value: str, hint: str) -> None:
    path = tmp_path / "messages.csv"
    path.write_text(f"text,fire,death\n,7,0\na,0.5,0.1\nb,{value},0.2\nc,{value},\n")
    table = read_messages(
        [path], text="text", id=None, lang=None, extra=["fire", "death"], cleaner=NoCleaner(), on_empty="drop"
    ).table
    with pytest.raises(LabelError, match=hint) as caught:
        Soft(["death", "fire"]).targets(table)
    assert str(caught.value).startswith(
        f"{path}, row 3: label column 'fire' holds {value!r}; probabilities in [0, 1] or null (unknown) were wanted. "
        "Likewise 1 more in this column."
    )


def test_columns_refuses_probabilities_and_names_this_scheme() -> None:
    with pytest.raises(LabelError, match="takes probabilities is Soft"):
        Columns(["fire"]).targets(pa.table({"fire": [0.5]}))


def test_names_in_a_file_and_impossible_settings(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("fire\n")
    scheme = Soft(str(tmp_path / "labels.txt"))
    assert scheme.names == scheme.columns == ("fire",)
    assert scheme.files == (tmp_path / "labels.txt",)
    with pytest.raises(LabelError, match="neither is given"):
        Soft()
    with pytest.raises(LabelError, match="'fire' named more than once"):
        Soft(["fire", "fire"])
    with pytest.raises(LabelError, match="on_missing is 'drop'"):
        Soft(["fire"], on_missing="drop")  # type: ignore[arg-type]


# A teacher -----------------------------------------------------------------------------------------------------------


def test_the_teacher_s_probabilities_are_found_by_id(tmp_path: Path) -> None:
    written = teacher(tmp_path / "t.parquet")
    scheme = Soft(scores=str(tmp_path / "t.parquet"))
    assert scheme.names == ("fire", "death")
    assert scheme.columns == ()
    assert scheme.files == (tmp_path / "t.parquet",)
    chunks = pa.chunked_array([["m4"], ["m0", "m3"], ["m4"]])
    found = scheme.targets(pa.table({"id": chunks}))
    np.testing.assert_array_equal(found, written.probabilities[[4, 0, 3, 4]].astype(np.float32))
    assert found.dtype == np.float32
    assert scheme.targets(pa.table({"id": pa.array([], pa.string())})).shape == (0, 2)


def test_labels_by_name_a_few_in_another_order(tmp_path: Path) -> None:
    written = teacher(tmp_path / "t.parquet")
    table = pa.table({"id": ["m1", "m2"]})
    for names in (["death"], ["death", "fire"]):
        found = Soft(names, str(tmp_path / "t.parquet")).targets(table)
        order = [written.labels.index(name) for name in names]
        np.testing.assert_array_equal(found, written.probabilities[1:3][:, order].astype(np.float32))
    with pytest.raises(
        LabelError, match=r"have no label 'deaths'\. Did you mean 'death'\? They have: fire, death"
    ):
        Soft(["deaths"], str(tmp_path / "t.parquet")).targets(table)


def test_what_predict_writes_is_read_and_null_is_unknown(tmp_path: Path) -> None:
    columns = {
        "id": ["a", "b"],
        "lang": ["en", "fr"],
        "prob.fire": [0.75, None],
        "decision.fire": [True, None],
    }
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    found = Soft(scores=str(tmp_path / "p.parquet")).targets(pa.table({"id": ["b", "a"]}))
    np.testing.assert_array_equal(found, np.array([[NULL], [0.75]], np.float32))


def test_a_message_that_the_teacher_did_not_score(tmp_path: Path) -> None:
    teacher(tmp_path / "t.parquet")
    file = tmp_path / "messages.csv"
    file.write_text("id,text\nm0,a\nnew,b\nm2,c\nother,d\n")
    table = read_messages([file], text="text", id="id", lang=None, cleaner=NoCleaner(), on_empty="drop").table
    with pytest.raises(LabelError) as caught:
        Soft(scores=str(tmp_path / "t.parquet")).targets(table)
    assert str(caught.value).startswith(
        f"{file}, row 2: the message 'new' is not among the 5 that the teacher scored in {tmp_path / 't.parquet'} "
        "(2 of 4 are not)."
    )
    found = Soft(scores=str(tmp_path / "t.parquet"), on_missing="unknown").targets(table)
    assert np.isnan(found).tolist() == [[False] * 2, [True] * 2, [False] * 2, [True] * 2]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"id": ["a", "b", "a"], "prob.fire": [0.1, 0.2, 0.3]}, "hold the message 'a' more than once"),
        ({"id": ["a", None], "prob.fire": [0.1, 0.2]}, "row 2: the message has no id"),
        (
            {"id": ["a", "b"], "prob.fire": [0.1, 1.2]},
            r"row 2: column 'prob\.fire' holds 1\.2; a probability in",
        ),
        ({"id": ["a", "b"], "prob.fire": [0.1, NULL]}, "row 2: .*holds nan; a probability"),
        ({"id": ["a", "b"], "logit.fire": [0.1, NULL]}, "row 2: .*holds nan; a number or null"),
        ({"id": ["a"], "prob.fire": ["high"]}, "holds string; numbers were wanted"),
        ({"id": ["a"], "fire": [0.1]}, "is no scores table: .*it has id, fire"),
        ({"prob.fire": [0.1]}, "is no scores table"),
    ],
)
def test_a_teacher_s_file_with_a_fault(tmp_path: Path, columns: dict[str, Any], match: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(LabelError, match=match) as caught:
        Soft(scores=str(path)).targets(pa.table({"id": ["a"]}))
    assert str(path) in str(caught.value)


def test_a_teacher_s_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"the teacher's scores: no data file 't\.parquet'"):
        _ = Soft(scores="t.parquet").names
    (tmp_path / "t.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(LabelError, match="cannot be read as one Parquet file"):
        _ = Soft(scores=str(tmp_path / "t.parquet")).names
    teacher(tmp_path / "whole.parquet")
    table = pq.read_table(tmp_path / "whole.parquet")
    renamed = table.rename_columns([name.replace("death", "dead") for name in table.column_names])
    pq.write_table(renamed.replace_schema_metadata(table.schema.metadata), tmp_path / "edited.parquet")
    with pytest.raises(LabelError, match="was edited by another tool"):
        _ = Soft(scores=str(tmp_path / "edited.parquet")).names


def test_logits_become_the_probabilities_that_the_scores_table_gives() -> None:
    logits = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(sigmoid(logits), np.clip(1 / (1 + np.exp(-logits)), 1e-7, 1 - 1e-7))


# Where 0 and 1 are needed --------------------------------------------------------------------------------------------


def test_hard_targets() -> None:
    soft = np.array([[0.0, 0.49999, NULL], [0.5, 1.0, 0.75]], np.float32)
    assert is_soft(soft)
    np.testing.assert_array_equal(hard_targets(soft), np.array([[0, 0, NULL], [1, 1, 1]], np.float32))
    assert hard_targets(soft).dtype == np.float32
    hard = np.array([[0.0, 1.0, NULL]], np.float32)
    assert not is_soft(hard)
    assert hard_targets(hard) is hard


def test_both_kinds_conform(tmp_path: Path) -> None:
    check_label_scheme(Soft, names=["fire", "death"])
    check_label_scheme(Soft, names=["id", "lang", "text"])
    ids = np.array([f"m{number}" for number in range(502)])
    logits = np.random.default_rng(0).normal(size=(502, 2)).astype(np.float32)
    ScoresTable(ids=ids, labels=("fire", "death"), logits_NL=logits).write(tmp_path / "t.parquet")
    check_label_scheme(Soft, scores=str(tmp_path / "t.parquet"))
    check_label_scheme(Soft, names=["death"], scores=str(tmp_path / "t.parquet"))
