from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from tests.scores.cases import make_table
from tocsin.escaping import markdown_text
from tocsin.scores.baselines import baselines
from tocsin.scores.report import (
    Result,
    assess,
    coverage_note,
    render,
    sections,
    to_dict,
    to_markdown,
)
from tocsin.scores.table import ScoresTable


def printed(renderable: object) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.fixture(scope="module")
def table() -> ScoresTable:
    return make_table(labels=("fire", "[bold]", "a|b", "never"))


@pytest.fixture(scope="module")
def result(table: ScoresTable) -> Result:
    return assess(table, "mine", by=["lang", "genre"], draws=20, seed=3)


def test_the_headline_has_intervals_baselines_and_coverage(result: Result) -> None:
    headline = sections(result)[0]
    assert headline.columns == ("", "mine", "prior", "all on", "all off")
    rows = {row[0]: row[1:] for row in headline.rows}
    interval = result.intervals["macro_roc_auc"]
    expected = f"{result.metrics.macro['roc_auc']:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    assert rows["macro ROC-AUC"] == (expected, "0.500", "0.500", "0.500")
    assert rows["macro precision"][-1] == "–"
    notes = "\n".join(headline.notes)
    over = "macro Brier, log loss and calibration error over 4, ROC-AUC, AP, F1 and recall over 2 of 4 labels"
    assert f"120 messages; {over} (without a positive: never; without a negative: a|b)" in notes
    assert "macro means over 2 of 4 labels" in coverage_note(result.metrics, ["average_precision"])
    assert "20 bootstrap draws of messages, seed 3" in notes
    assert "prior, prevalence of these messages" in notes
    assert "macro precision leaves out labels that are never on; it is over 2 (mine)" in notes


def test_slices_and_labels_are_flagged_when_small(result: Result) -> None:
    _, languages, genres, labels = sections(result, per_label=True)
    assert (languages.title, genres.title, labels.title) == ("By lang", "By genre", "Labels")
    assert len(languages.rows) == 4
    never = next(row for row in labels.rows if row[0] == "never *†")
    assert never[1:8] == ("0", "0.000", "–", "–", "–", "–", "–")
    assert labels.rows[0][0] == "fire †"
    assert any("under 30 positives" in note for note in labels.notes)
    few = assess(make_table(12), "few", by=["genre"], draws=0)
    assert all(row[0].endswith(" *†") for row in sections(few)[1].rows)


def test_the_constants_beside_a_slice_are_those_of_its_own_baselines(table: ScoresTable) -> None:
    found = assess(table, "mine", by=["genre"], draws=0)
    for row in sections(found)[1].rows:
        part = baselines(table.select(table.slices["genre"] == row[0].removesuffix(" †")))["all on"]
        assert row[-2:] == (f"{part.macro['average_precision']:.3f}", f"{part.macro['f1']:.3f}")


def test_models_on_the_same_messages_stand_in_one_table(result: Result) -> None:
    other = assess(
        make_table(seed=9, labels=("fire", "[bold]", "a|b", "never")), "other", by=["lang"], draws=0
    )
    together = sections([result, other])
    assert together[0].columns == ("", "mine", "other", "prior", "all on", "all off")
    assert [grid.title for grid in together] == ["Scores of mine, other", "By lang", "By genre"]
    assert together[2].rows[0][-3] == "–"
    elsewhere = assess(make_table(80), "elsewhere", draws=0)
    assert [grid.title for grid in sections([result, elsewhere])][-1] == "Scores of elsewhere"


def test_rich_and_markdown_say_the_same(result: Result) -> None:
    shown, written = printed(render(result, per_label=True)), to_markdown(result, per_label=True)
    for grid in sections(result, per_label=True):
        for row in grid.rows:
            for cell in row:
                assert cell in shown
                assert markdown_text(cell) in written
        assert all(markdown_text(note) in written for note in grid.notes)
    assert "### By lang" in written
    assert "| a\\|b † |" in written


def test_plain_data_is_strict_json(result: Result) -> None:
    plain = json.loads(json.dumps(to_dict(result), allow_nan=False))["results"][0]
    assert plain["name"] == "mine"
    assert plain["metrics"]["macro_roc_auc"] == result.metrics.macro["roc_auc"]
    assert set(plain["baselines"]) == {"prior", "all on", "all off"}
    assert plain["intervals"]["macro_f1"]["draws"] == 20
    assert set(plain["by"]["genre"]) == {"direct", "news"}
    assert plain["baselines"]["all off"]["macro_precision"] is None


def test_a_table_without_any_defined_figure_can_be_shown() -> None:
    empty = assess(make_table(targets_NL=np.full((120, 4), np.nan)), "nothing", draws=5, by=["lang"])
    assert "–" in printed(render(empty, per_label=True))
    assert to_dict(empty)["results"][0]["intervals"]["macro_f1"] == {"low": None, "high": None, "draws": 0}
