from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.test_listing import make_run
from tocsin.cli import runs
from tocsin.errors import ConfigError


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert runs.main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_table_shows_the_key_figures_and_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.scores.cases import make_table

    path = make_run(tmp_path, name="[bold]floods", duration_seconds=3725.4)
    (path / "scores").mkdir()
    table = make_table(60, skill=2.0, seed=3)
    table.write(path / "scores" / "test.parquet")
    (make_run(tmp_path, "2026-11-22T00-00-00-test") / "provenance.json").write_text("{", encoding="utf-8")
    out = shown(capsys, str(tmp_path))
    lines = out.splitlines()
    row = next(line for line in lines if "completed" in line)
    from tocsin.scores.metrics import evaluate

    macro = evaluate(table).macro
    for wanted in (
        "[bold]floods",
        "fit",
        "2026-11-21 18:04:05",
        "1:02:05",
        "test",
        f"{macro['roc_auc']:.3f}",
        f"{macro['average_precision']:.3f}",
        " 7 ",
        "01234567+",
    ):
        assert wanted in row
    assert any("no record" in line for line in lines)
    assert any("2026-11-22T00-00-00-test: provenance.json cannot be read (E" in line for line in lines)
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 140


def test_json_holds_every_fact_in_the_order_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, "2026-11-21T18-04-05-fit", duration_seconds=5)
    make_run(tmp_path, "2026-11-21T18-04-06-fit", duration_seconds=50)
    found = json.loads(shown(capsys, str(tmp_path), "--json", "--sort", "duration"))
    assert [run["duration_seconds"] for run in found] == [50, 5]
    assert found[0]["commit"] == "0123456789abcdef"
    assert found[0]["macro_roc_auc"] is None
    found = json.loads(shown(capsys, str(tmp_path), "--json", "--sort", "duration", "--reverse"))
    assert [run["duration_seconds"] for run in found] == [5, 50]


def test_an_empty_folder_and_a_missing_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, str(tmp_path)).startswith("No runs in")
    assert shown(capsys, str(tmp_path), "--json") == "[]\n"
    with pytest.raises(ConfigError, match="no folder of runs"):
        runs.main([str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as stop:
        runs.main(["--sort", "colour"])
    assert stop.value.code == 2


def test_listing_imports_neither_torch_nor_lightning(tmp_path: Path) -> None:
    make_run(tmp_path)
    program = (
        "import sys\nfrom tocsin.cli.main import main\n"
        f"assert main(['runs', {str(tmp_path)!r}]) == 0\n"
        "assert not {'torch', 'lightning', 'sklearn'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
