"""Soft targets through the scores table, and null targets through every metric. N messages, L labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.scores.cases import make_table
from tocsin.errors import DataError
from tocsin.scores.baselines import baselines
from tocsin.scores.metrics import METRICS, average_precision, evaluate, evaluate_by, f1, roc_auc
from tocsin.scores.ranking import weighted_rank_metrics
from tocsin.scores.report import assess, to_markdown
from tocsin.scores.statistics import bootstrap
from tocsin.scores.table import ScoresTable

NULL = np.nan


def soft_table(n: int = 60, seed: int = 0) -> ScoresTable:
    """Three labels: one of 0 and 1, two of probabilities, nulls in all."""
    generator = np.random.default_rng(seed)
    targets_NL = generator.random((n, 3)).astype(np.float32)
    targets_NL[:, 0] = targets_NL[:, 0] >= 0.5
    targets_NL[0, 1] = 0.5
    targets_NL[generator.random((n, 3)) < 0.2] = NULL
    return make_table(n, 3, targets_NL=targets_NL)


def hardened(table: ScoresTable) -> ScoresTable:
    """The same messages with the targets that a loop over the cells makes of the soft ones."""
    assert table.targets_NL is not None
    hard = [
        [NULL if np.isnan(t) else 1.0 if t >= 0.5 else 0.0 for t in row] for row in table.targets_NL.tolist()
    ]
    return replace(table, targets_NL=np.array(hard, np.float32))


def assert_same_figures(one: Any, other: Any) -> None:
    """Equal to the last bit."""
    for name in METRICS:
        np.testing.assert_array_equal(one.per_label[name], other.per_label[name])
    assert str(one.flat()) == str(other.flat())  # repr of a float holds every bit; NaN equals NaN
    np.testing.assert_array_equal(one.positives, other.positives)
    np.testing.assert_array_equal(one.known, other.known)


# Soft targets --------------------------------------------------------------------------------------------------------


def test_a_file_keeps_soft_targets_as_floats_and_the_others_as_they_were(tmp_path: Path) -> None:
    table = soft_table()
    table.write(tmp_path / "s.parquet")
    schema = pq.read_schema(tmp_path / "s.parquet")
    assert [str(schema.field(f"target.label {i}").type) for i in range(3)] == ["int8", "float", "float"]
    again = ScoresTable.read(tmp_path / "s.parquet")
    np.testing.assert_array_equal(again.targets_NL, table.targets_NL)
    assert (
        pq.read_table(tmp_path / "s.parquet")["target.label 1"].null_count
        == np.isnan(table.targets_NL[:, 1]).sum()
    )
    assert again.soft
    assert not ScoresTable.from_arrow(hardened(table).to_arrow()).soft


def test_every_figure_is_that_of_the_targets_cut_at_one_half() -> None:
    table = soft_table()
    hard = hardened(table)
    np.testing.assert_array_equal(table.known_targets("A test"), hard.targets_NL)
    assert_same_figures(evaluate(table), evaluate(hard))
    for name, metrics in evaluate_by(table, "lang").items():
        assert_same_figures(metrics, evaluate_by(hard, "lang")[name])
    for name, metrics in baselines(table).items():
        assert_same_figures(metrics, baselines(hard)[name])
    assert str(bootstrap(table, draws=20, seed=1)) == str(bootstrap(hard, draws=20, seed=1))


def test_functions_of_one_label_cut_soft_targets_too() -> None:
    targets_N = np.array([0.1, 0.5, 0.9, 0.4999, NULL, 1.0, 0.0])
    scores_N = np.array([0.2, 0.4, 0.9, 0.6, 0.1, 0.7, 0.3])
    on_N = np.array([0, 1, 1, 0, 1, 0])
    known_N = scores_N[[0, 1, 2, 3, 5, 6]]
    wanted = np.array([False, True, True, False, True, False])
    assert roc_auc(targets_N, scores_N) == pytest.approx(roc_auc_score(wanted, known_N))
    assert average_precision(targets_N, scores_N) == pytest.approx(average_precision_score(wanted, known_N))
    assert f1(targets_N, scores_N, 0.35) == pytest.approx(2 * 3 / (2 * 3 + 1))
    auc_D, ap_D = weighted_rank_metrics(targets_N, scores_N, np.ones((7, 1)))
    assert auc_D[0] == pytest.approx(roc_auc_score(wanted, known_N))
    assert ap_D[0] == pytest.approx(average_precision_score(on_N, known_N))


def test_reports_say_that_targets_were_cut() -> None:
    table = soft_table()
    assert evaluate(table).to_dict()["soft_targets_positive_from"] == 0.5
    assert "soft_targets_positive_from" not in evaluate(hardened(table)).to_dict()
    assert "Targets are probabilities; 0.5 or more counts as positive." in to_markdown(
        assess(table, "a", draws=5)
    )
    assert "probabilities" not in to_markdown(assess(hardened(table), "a", draws=5))


@pytest.mark.parametrize("target", [1.5, -0.25, np.inf])
def test_a_target_out_of_range_is_refused(target: float) -> None:
    targets_NL = np.array([[0.5], [target]], np.float32)
    with pytest.raises(DataError, match=r"target of message 'b' for label 'x' is .*a probability in between"):
        ScoresTable(
            ids=np.array(["a", "b"]), labels=("x",), logits_NL=np.zeros((2, 1)), targets_NL=targets_NL
        )


# Null targets --------------------------------------------------------------------------------------------------------

rows = st.tuples(
    st.lists(st.sampled_from([0.0, 1.0, NULL, 0.5, 0.2]), min_size=3, max_size=3),
    st.lists(st.sampled_from([-1.5, -0.5, 0.0, 0.5, 2.0]), min_size=3, max_size=3),
)
tables = st.lists(rows, min_size=1, max_size=25)


def table_of(drawn: Any, labels: tuple[str, ...] = ("a", "b", "c")) -> ScoresTable:
    shape = (len(drawn), len(labels))
    return ScoresTable(
        ids=np.array([f"m{number}" for number in range(len(drawn))], dtype=object),
        labels=labels,
        targets_NL=np.array([targets for targets, _ in drawn], np.float32).reshape(shape),
        logits_NL=np.array([scores for _, scores in drawn], np.float32).reshape(shape),
    )


@given(drawn=tables)
def test_a_label_s_figures_are_those_of_the_messages_that_know_it(drawn: Any) -> None:
    whole = evaluate(table_of(drawn))
    for label in range(3):
        known = [
            ([targets[label]], [scores[label]])
            for targets, scores in drawn
            if targets[label] == targets[label]
        ]
        alone = evaluate(table_of(known, ("one",)))
        assert whole.known[label] == len(known)
        assert whole.positives[label] == alone.positives[0]
        for name in METRICS:
            np.testing.assert_allclose(whole.per_label[name][label], alone.per_label[name][0], rtol=1e-12)
    cells = [
        ([target], [score])
        for targets, scores in drawn
        for target, score in zip(targets, scores, strict=True)
        if target == target
    ]
    pooled = evaluate(table_of(cells, ("all",)))
    # Sums of losses run in another order: to the last bits.
    assert whole.micro == pytest.approx(pooled.micro, rel=1e-12, nan_ok=True)


@given(drawn=tables)
def test_messages_of_which_nothing_is_known_change_no_figure(drawn: Any) -> None:
    table = table_of(drawn)
    known_N = ~np.isnan(table.known_targets("A test")).all(axis=1)
    assert_same_figures(evaluate(table), evaluate(table.select(known_N)))
    for name, metrics in baselines(table).items():
        assert_same_figures(metrics, baselines(table.select(known_N))[name])


@given(drawn=tables, other=st.floats(-50, 50, width=32))
def test_scores_under_a_null_change_no_figure(drawn: Any, other: float) -> None:
    table = table_of(drawn)
    assert table.targets_NL is not None
    moved = replace(table, logits_NL=np.where(np.isnan(table.targets_NL), other, table.logits_NL))
    assert_same_figures(evaluate(table), evaluate(moved))
    if len(table) > 1:
        assert str(bootstrap(table, draws=10, seed=3)) == str(bootstrap(moved, draws=10, seed=3))
