from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tocsin.errors import ConfigError
from tocsin.training import runs
from tocsin.training.runs import is_first_rank, open_run, start_run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*runs._RANKS, "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(runs._FOLDER, "")


def test_makes_a_dated_folder_and_a_relative_link(tmp_path: Path) -> None:
    with start_run("crisis", "fit", tmp_path) as run:
        assert run.path.parent == tmp_path / "crisis"
        assert runs.DATED.fullmatch(run.path.name)["verb"] == "fit"
        assert run.title == f"crisis/{run.path.name}"
        link = tmp_path / "crisis" / "latest-fit"
        assert os.readlink(link) == run.path.name
        assert (run.checkpoints, run.scores) == (run.path / "checkpoints", run.path / "scores")
        with start_run("crisis", "fit", tmp_path) as second:
            assert os.readlink(link) == second.path.name
            assert second.path != run.path


def test_folders_of_one_second_are_unique(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: start_run("race", "fit", tmp_path), range(8)))
    assert len({run.path for run in made}) == 8
    assert all(run.verb == "fit" for run in (open_again(run) for run in made))


def open_again(run: runs.Run) -> runs.Run:
    run.close()
    with open_run(run.path) as again:
        return again


@pytest.mark.parametrize("name", ["", "..", "a/b", "/tmp/x", ".hidden", "-x"])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="one folder name"):
        start_run(name, "fit", tmp_path)


def test_unwritable_place_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where the folder of runs should be")
    with pytest.raises(ConfigError, match="cannot be written"):
        start_run("crisis", "fit", tmp_path / "runs")


def test_without_symlinks_the_run_starts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError("symbolic links need a privilege here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with start_run("crisis", "fit", tmp_path) as run:
        assert [entry.name for entry in run.path.parent.iterdir()] == [run.path.name]


_OPEN = """
import sys
from tocsin.errors import ConfigError
from tocsin.training.runs import open_run
try:
    open_run(sys.argv[1])
    print("opened")
except ConfigError as error:
    print(error)
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    run = start_run("crisis", "fit", tmp_path)

    def other() -> str:
        answer = subprocess.run(
            [sys.executable, "-c", _OPEN, str(run.path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return answer.stdout

    assert f"another process (id {os.getpid()}) works in" in other()
    run.close()
    assert other() == "opened\n"


def test_opens_by_link_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    start_run("crisis", "fit", tmp_path).close()
    with open_run(tmp_path / "crisis" / "latest-fit") as run:
        assert not run.path.is_symlink()
        assert (run.verb, run.name) == ("fit", "crisis")
    with pytest.raises(ConfigError, match="there is no run folder"):
        open_run(tmp_path / "crisis" / "latest-test")


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_first_rank(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], first: bool) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_rank() is first


def test_other_ranks_get_the_first_ones_folder_and_make_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run("crisis", "fit", tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert start_run("crisis", "fit", tmp_path).path == run.path
    monkeypatch.delenv(runs._FOLDER)
    before = sorted(tmp_path.rglob("*"))
    assert not start_run("crisis", "fit", tmp_path).path.exists()
    assert sorted(tmp_path.rglob("*")) == before
    run.close()


def test_runs_need_neither_torch_nor_lightning() -> None:
    code = "import sys, tocsin.training.runs; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert answer.stdout == "[]\n"


def test_arguments_that_are_no_unicode_do_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tocsin", "fit", "--config", "caf\udce9.yaml"])
    run = start_run("floods", "fit", tmp_path)
    run.close()
    assert "caf\udce9" in json.loads((run.path / "provenance.json").read_text())["command"]
