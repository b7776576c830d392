"""Null labels leave no trace in any figure: those of a table are exactly those of its rows and cells without them."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tocsin.scores.metrics import METRICS, Metrics, evaluate
from tocsin.scores.table import ScoresTable

LABELS = ("water", "food", "fire")
# Few values, so that scores tie often: at ties a row too many would show in every rank.
cells = st.sampled_from([None, None, 0.0, 1.0, 0.25, 0.75])
rows = st.tuples(
    st.lists(cells, min_size=3, max_size=3),
    st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0]), min_size=3, max_size=3),
)
tables = st.lists(rows, min_size=0, max_size=25)


def table_of(
    given_rows: list[tuple[list[float | None], list[float]]], labels: tuple[str, ...]
) -> ScoresTable:
    shape = (len(given_rows), len(labels))
    targets = [[np.nan if cell is None else cell for cell in targets] for targets, _ in given_rows]
    return ScoresTable(
        ids=np.array([f"m{number}" for number in range(len(given_rows))], dtype=object),
        labels=labels,
        logits_NL=np.array([logits for _, logits in given_rows], np.float32).reshape(shape),
        targets_NL=np.array(targets, np.float32).reshape(shape),
    )


def figures(found: Metrics) -> dict[str, object]:
    """Every number but that of the rows, in a form in which equal means equal to the last bit, NaN included."""
    arrays = {
        **{f"label {name}": found.per_label[name] for name in METRICS},
        **{f"macro {name}": np.array(found.macro[name]) for name in METRICS},
        **{f"micro {name}": np.array(found.micro[name]) for name in METRICS},
        **{f"weighted {name}": np.array(found.weighted[name]) for name in METRICS},
        "positives": found.positives,
        "known": found.known,
        "prevalence": found.prevalence,
    }
    return {name: np.asarray(values, np.float64).tobytes() for name, values in arrays.items()} | {
        "defined": found.defined
    }


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(given_rows=tables)
@example(given_rows=[([None] * 3, [2.0] * 3)] * 4)
@example(given_rows=[([1.0, 0.0, None], [0.0] * 3), ([None] * 3, [0.0] * 3), ([0.0, 1.0, None], [0.0] * 3)])
def test_rows_of_nulls_change_no_figure(given_rows: list[tuple[list[float | None], list[float]]]) -> None:
    known = [row for row in given_rows if any(cell is not None for cell in row[0])]
    assert figures(evaluate(table_of(given_rows, LABELS))) == figures(evaluate(table_of(known, LABELS)))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(given_rows=tables)
def test_a_label_s_figures_are_those_of_the_rows_that_know_it(
    given_rows: list[tuple[list[float | None], list[float]]],
) -> None:
    whole = evaluate(table_of(given_rows, LABELS))
    for label, name in enumerate(LABELS):
        known = [
            ([targets[label]], [logits[label]])
            for targets, logits in given_rows
            if targets[label] is not None
        ]
        alone = evaluate(table_of(known, (name,)))
        for metric in METRICS:
            np.testing.assert_array_equal(whole.per_label[metric][label], alone.per_label[metric][0])
        assert whole.positives[label] == alone.positives[0]
        assert whole.known[label] == alone.known[0] == len(known)
