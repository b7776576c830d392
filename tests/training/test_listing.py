from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scores.cases import make_table
from tocsin.errors import ConfigError
from tocsin.scores.metrics import evaluate
from tocsin.training.listing import SORTS, RunSummary, list_runs, read_run, sorted_runs
from tocsin.training.runs import is_held, open_run, start_run

RECORD = {
    "name": "floods",
    "verb": "fit",
    "status": "completed",
    "started": "2026-11-21T18:04:05.123+01:00",
    "duration_seconds": 61.5,
    "seed": 7,
    "git": {"commit": "0123456789abcdef", "dirty": True},
}


def make_run(root: Path, folder: str = "2026-11-21T18-04-05-fit", **changes: Any) -> Path:
    path = root / "floods" / folder
    path.mkdir(parents=True)
    (path / "provenance.json").write_text(json.dumps({**RECORD, **changes}), encoding="utf-8")
    return path


def test_a_run_tells_what_its_files_say(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    table = make_table(60, skill=2.0, seed=3)
    (path / "scores").mkdir()
    table.write(path / "scores" / "validation.parquet")
    found = read_run(path)
    macro = evaluate(table).macro
    assert found == RunSummary(
        path=str(path),
        name="floods",
        verb="fit",
        started="2026-11-21T18:04:05.123+01:00",
        status="completed",
        duration_seconds=61.5,
        split="validation",
        messages=60,
        macro_roc_auc=pytest.approx(macro["roc_auc"]),
        macro_average_precision=pytest.approx(macro["average_precision"]),
        seed=7,
        commit="0123456789abcdef",
        dirty=True,
    )
    make_table(40, skill=0.1, seed=4).write(path / "scores" / "test.parquet")
    assert (read_run(path).split, read_run(path).messages) == ("test", 40)


def test_a_resumed_run_began_with_its_first_session_and_lasted_all_of_them(tmp_path: Path) -> None:
    earlier = [
        {"started": "2026-11-20T01:00:00+01:00", "duration_seconds": None},
        {"started": "2026-11-21T01:00:00+01:00", "duration_seconds": 10},
    ]
    found = read_run(make_run(tmp_path, earlier=earlier))
    assert found.started == "2026-11-20T01:00:00+01:00"
    assert (found.resumed, found.duration_seconds) == (2, 71.5)


@pytest.mark.skipif(sys.platform == "win32", reason="locks are of POSIX systems")
def test_a_run_without_a_process_was_killed(tmp_path: Path) -> None:
    path = make_run(tmp_path, status="running")
    assert read_run(path).status == "killed"
    with open_run(path):
        assert is_held(path) is True
        assert read_run(path).status == "running"
    assert read_run(path).status == "killed"


def test_looking_does_not_hold_a_run(tmp_path: Path) -> None:
    with start_run("floods", "fit", tmp_path) as run:
        pass
    assert is_held(run.path) is False
    open_run(run.path).close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "provenance.json is missing"),
        ("", "provenance.json cannot be read (Expecting value"),
        ("[1]", "a list, not a record"),
        ('{"name": "fl', "provenance.json cannot be read (Unterminated string"),
        ("\ud800", "provenance.json cannot be read"),
    ],
)
def test_a_broken_record_is_told_and_hides_no_other_run(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    broken = make_run(tmp_path, "2026-11-22T00-00-00-test")
    make_run(tmp_path)
    if text is None:
        (broken / "provenance.json").unlink()
    else:
        (broken / "provenance.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    found = {run.status: run for run in list_runs(tmp_path)}
    assert found.keys() == {"no record", "completed"}
    told = found["no record"]
    assert (told.name, told.verb, told.started) == ("floods", "test", "2026-11-22T00:00:00")
    assert len(told.problems) == 1
    assert problem in told.problems[0]


def test_values_of_another_kind_are_no_values(tmp_path: Path) -> None:
    path = make_run(
        tmp_path, seed=True, git="main", started=5, duration_seconds="long", earlier={"a": 1}, verb=None
    )
    found = read_run(path)
    assert (found.seed, found.commit, found.duration_seconds, found.resumed) == (None, None, None, 0)
    assert (found.verb, found.started) == ("fit", "2026-11-21T18:04:05")


def test_spoilt_scores_are_told(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    (path / "scores").mkdir()
    (path / "scores" / "test.parquet").write_bytes(b"PAR1 torn")
    found = read_run(path)
    assert found.status == "completed"
    assert found.macro_roc_auc is None
    assert found.problems[0].startswith("scores/test.parquet: ")


def test_only_run_folders_are_listed_each_once_at_any_level(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    other = make_run(tmp_path, "2026-11-21T18-04-05-fit-2")
    (path.parent / "latest-fit").symlink_to(other.name)
    (path.parent / "notes").mkdir()
    (tmp_path / "readme.txt").write_text("no run", encoding="utf-8")
    for root in (tmp_path, path.parent):
        assert [run.path for run in list_runs(root)] == [str(path), str(other)]
    assert [run.path for run in list_runs(path)] == [str(path)]
    assert list_runs(path.parent / "notes") == []
    with pytest.raises(ConfigError, match="no folder of runs 'nowhere'"):
        list_runs("nowhere")


def test_sorting_puts_the_best_first_and_the_unknown_last() -> None:
    runs = [RunSummary(str(value), str(value), macro_roc_auc=value) for value in (0.5, None, 0.9, 0.7)]
    names = [run.name for run in sorted_runs(runs, "macro_roc_auc")]
    assert names == ["0.9", "0.7", "0.5", "None"]
    assert [run.name for run in sorted_runs(runs, "macro_roc_auc", reverse=True)] == [
        "0.5",
        "0.7",
        "0.9",
        "None",
    ]
    assert [run.name for run in sorted_runs(runs, "name")] == sorted(run.name for run in runs)
    assert SORTS.keys() <= RunSummary.__dataclass_fields__.keys()
