from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.scores.cases import make_table
from tocsin.cli import compare, evaluate
from tocsin.errors import ConfigError, DataError
from tocsin.scores import metrics
from tocsin.scores.table import ScoresTable


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for name, skill in (("good", 3.0), ("bad", 0.5)):
        make_table(200, skill=skill, seed=int(skill), metadata={"run": name}).write(
            tmp_path / f"{name}.parquet"
        )
        paths.append(str(tmp_path / f"{name}.parquet"))
    return paths


def test_evaluate_prints_models_beside_trivial_baselines(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--scores", *files, "--by", "lang", "genre", "--labels", "--draws", "20"]) == 0
    shown = capsys.readouterr().out
    for wanted in (
        "good",
        "bad",
        "prior",
        "all on",
        "all off",
        "macro ROC-AUC",
        "By lang",
        "By genre",
        "Labels",
    ):
        assert wanted in shown
    assert "over 2 of 4 labels" in shown
    assert max(len(line) for line in shown.splitlines()) <= 140


def test_evaluate_json_is_what_the_functions_say(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.main(["--scores", files[0], "--json", "--draws", "10", "--threshold", "0.3"])
    found = json.loads(capsys.readouterr().out)["results"]
    expected = metrics.evaluate(ScoresTable.read(files[0]), 0.3)
    assert [one["name"] for one in found] == ["good"]
    assert found[0]["metrics"]["macro_f1"] == expected.macro["f1"]
    assert found[0]["intervals"]["macro_f1"]["draws"] == 10


def test_evaluate_writes_its_report(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    evaluate.main(["--scores", *files, "--name", "A", "B", "--draws", "0", "--output", str(folder)])
    assert sorted(path.name for path in folder.iterdir()) == ["figures", "metrics.json", "report.md"]
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["1-A", "2-B"]
    assert [one["name"] for one in json.loads((folder / "metrics.json").read_text())["results"]] == ["A", "B"]
    report = (folder / "report.md").read_text()
    assert report.startswith("# Evaluation of A, B\n\n## Scores of A, B\n")
    assert "\n## Labels" in report
    linked = re.findall(r"!\[[AB]: [\w-]+\]\((.+)\)", report)
    drawn = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert set(linked) == drawn
    assert len(drawn) == 8
    assert capsys.readouterr().out.endswith(f"Written: {folder}\n")
    evaluate.main(["--scores", *files, "--draws", "0", "--output", str(folder), "--json"])
    json.loads(capsys.readouterr().out)  # and nothing beside
    assert "intervals" not in report


def test_an_output_that_cannot_be_written_is_named(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match=r"taken.*cannot be written"):
        evaluate.main(["--scores", files[0], "--draws", "0", "--output", str(tmp_path / "taken")])


def test_the_prior_can_come_from_the_training_split(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_table(50).write(tmp_path / "train.parquet")
    prior = ["--prior", str(tmp_path / "train.parquet")]
    evaluate.main(["--scores", files[0], "--draws", "0", *prior])
    assert "prior, prevalence of the training split" in capsys.readouterr().out
    make_table(50, labels=("a", "b", "c", "d")).write(tmp_path / "train.parquet")
    with pytest.raises(ConfigError, match="--prior"):
        evaluate.main(["--scores", files[0], "--draws", "0", *prior])


def test_headings_come_from_the_run_or_else_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "a" / "test.parquet", tmp_path / "b" / "test.parquet"]
    same = [make_table(metadata={}), make_table(metadata={})]
    # Elsewhere folders are not named; a number tells files of one name apart.
    assert evaluate.model_names(paths, same, None) == ["test.parquet", "test.parquet (2)"]
    monkeypatch.chdir(tmp_path)
    assert evaluate.model_names(paths, same, None) == ["a/test.parquet", "b/test.parquet"]
    assert evaluate.model_names(paths[:1], same[:1], None) == ["test"]
    with pytest.raises(ConfigError, match="given twice"):
        evaluate.model_names([paths[0], paths[0]], same, None)
    for names in (["one"], ["one", "one"]):
        with pytest.raises(ConfigError, match="2 scores files"):
            evaluate.model_names(paths, same, names)


def test_compare_prints_differences(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--scores", *files, "--draws", "50"]) == 0
    shown = capsys.readouterr().out
    assert "good minus bad" in shown
    for figure in ("macro ROC-AUC", "macro AP", "macro F1", "micro ROC-AUC", "micro AP"):
        assert figure in shown
    assert compare.main(["--scores", *files[::-1], "--draws", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["a"], found["b"]) == ("bad", "good")
    assert found["a_minus_b"]["macro_roc_auc"]["high"] < 0
    assert found["a_minus_b"]["macro_roc_auc"]["share_not_above"] == 1.0


def test_compare_refuses_other_messages(files: list[str]) -> None:
    good = ScoresTable.read(files[0])
    good.select(np.arange(100)).write(files[0])
    with pytest.raises(DataError, match="not of the same messages"):
        compare.main(["--scores", *files])


@pytest.mark.parametrize("verb", [evaluate, compare])
def test_wrong_command_lines_exit_with_2_and_help_with_0(verb, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as caught:
        verb.main([])
    assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        verb.main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "--scores" in shown
    assert "Parquet, CSV or TSV" in " ".join(shown.split())
    assert "\n" not in verb.HELP


@pytest.mark.parametrize("verb", [evaluate, compare])
@pytest.mark.parametrize(("given", "likely"), [("40", "0.4"), ("-0.1", "0.5"), ("nan", "0.5")])
def test_a_threshold_is_a_probability(verb, given: str, likely: str) -> None:  # type: ignore[no-untyped-def]
    said = rf"--threshold is {float(given)}; wanted a probability from 0 to 1, such as {likely}\."
    with pytest.raises(ConfigError, match=said):
        verb.main(["--scores", "a.parquet", "b.parquet", "--threshold", given])


@pytest.mark.parametrize("count", [1, 3])
def test_compare_wants_two_files(count: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"compare wants two scores files, --scores A B, and got {count}: a\.csv"
    ):
        compare.main(["--scores", *["a.csv", "b.csv", "c.csv"][:count]])


@pytest.mark.parametrize("verb", [evaluate, compare])
def test_groups_that_are_no_column(verb, files: list[str]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        DataError, match=r"good\.parquet: --groups event: there is no column 'event'.*Columns: lang,"
    ):
        verb.main(["--scores", *files, "--groups", "event", "--draws", "1"])


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, tocsin.cli.evaluate, tocsin.cli.compare\n"
        "early = {'numpy', 'pyarrow', 'rich'} & set(sys.modules)\n"
        "import tocsin.scores.report, tocsin.scores.roles\n"
        "late = {'torch', 'sklearn', 'scipy', 'lightning', 'pandas'} & set(sys.modules)\n"
        "assert not early and not late, (early, late)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
