"""`tocsin predict`, and that every door to a model's probabilities gives the same numbers."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import tocsin
from tests.builders import LABELS, message_file, messages, tiny_encoder
from tocsin.cli.main import main
from tocsin.scores.table import ScoresTable


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a fit and a test of a tiny native classifier."""
    folder = tmp_path_factory.mktemp("predict")
    tiny_encoder(folder / "encoder")
    message_file(folder / "data" / "m.parquet")
    config = {
        "labels": {"class_path": "Columns", "init_args": {"names": list(LABELS)}},
        "data": {
            "class_path": "LabelledMessages",
            "init_args": {
                "train": "m.parquet",
                "lang": "lang",
                "cleaner": "TweetCleaner",
                "splitter": "GivenSplit",
                "max_length": 24,
                "batch_size": 16,
            },
        },
        "model": {
            "class_path": "MultilabelClassifier",
            "init_args": {
                "encoder": {
                    "class_path": "TransformerEncoder",
                    "init_args": {"name": str(folder / "encoder")},
                },
                "head": "NativeHead",
                "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.01}},
            },
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    (folder / "task").mkdir()
    (folder / "task" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "--config", "task/config.yaml"]) == 0
        assert main(["test", "--config", "runs/task/latest-fit/config.yaml"]) == 0
    return folder


def test_every_door_gives_the_same_probabilities(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import pipeline

    monkeypatch.chdir(run)
    tested = ScoresTable.read("runs/task/latest-test/scores/test.parquet")
    rows = {row["id"]: row["text"] for row in messages()}
    pq.write_table(pa.table({"id": list(tested.ids), "text": [rows[i] for i in tested.ids]}), "test.parquet")
    bundle_folder = "runs/task/latest-fit/bundle"
    assert (
        main(["predict", "--bundle", bundle_folder, "--input", "test.parquet", "--output", "out.parquet"])
        == 0
    )
    predicted = pq.read_table("out.parquet")
    assert predicted["id"].to_pylist() == list(tested.ids)
    bundle = tocsin.load(bundle_folder)
    loaded = bundle.predict([rows[i] for i in tested.ids])
    pipe = pipeline("text-classification", model=bundle_folder, top_k=None, device="cpu")
    piped = pipe([bundle.clean(rows[i]) for i in tested.ids], truncation=True)
    assert bundle.labels == LABELS
    for at, label in enumerate(LABELS):
        wanted = tested.probabilities[:, at]
        np.testing.assert_allclose(predicted[f"prob.{label}"].to_numpy(), wanted, atol=1e-5)
        np.testing.assert_allclose(loaded.raw_probabilities[:, at], wanted, atol=1e-5)
        scores = [next(one["score"] for one in row if one["label"] == label) for row in piped]
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        assert predicted[f"decision.{label}"].to_pylist() == loaded.decisions[:, at].tolist()


def test_the_bundle_remembers_how_its_files_were_read(run: Path) -> None:
    noted = json.loads((run / "runs/task/latest-fit/bundle/tocsin.json").read_text())["reading"]
    columns = {"text": "text", "id": "id", "lang": "lang"}
    assert noted == {"reader": None, "origin": None, "endings": [".parquet"], **columns}


def _predict(run: Path, *arguments: str) -> int:
    return main(["predict", "--bundle", str(run / "runs/task/latest-fit/bundle"), *arguments])


def test_missing_texts_and_kept_columns(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"tweet": 7, "text": "water"}\n{"tweet": 8, "text": null}\n{"tweet": 9, "text": ""}\n')
    out = tmp_path / "out.parquet"
    assert (
        _predict(run, "--input", str(given), "--output", str(out), "--id-column", "tweet", "--keep", "tweet")
        == 0
    )
    table = pq.read_table(out)
    assert table["id"].to_pylist() == ["7", "8", "9"]
    assert table["tweet"].to_pylist() == [7, 8, 9]
    for name in ("prob.water", "decision.water"):
        assert [value is None for value in table[name].to_pylist()] == [False, True, True]
    assert "2 messages are undecided" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("TSV", "\t")])
def test_text_files_hold_what_parquet_holds(run: Path, tmp_path: Path, ending: str, delimiter: str) -> None:
    given = tmp_path / "in.jsonl"
    texts = ["water, and food", 'a "quoted" fire', "storm"]
    given.write_text(
        "".join(
            json.dumps({"id": f"00{i}", "text": text, "note": text}) + "\n" for i, text in enumerate(texts)
        )
    )
    paths = [tmp_path / "out.parquet", tmp_path / f"out.{ending}"]
    for path in paths:
        assert _predict(run, "--input", str(given), "--output", str(path), "--keep", "note") == 0
    wanted = pq.read_table(paths[0])
    with paths[1].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    assert list(rows[0]) == wanted.column_names
    for row, told in zip(rows, wanted.to_pylist(), strict=True):
        assert (row["id"], row["note"]) == (told["id"], told["note"])
        assert float(row["prob.water"]) == pytest.approx(told["prob.water"])
        assert row["decision.water"] == str(told["decision.water"]).lower()
    if ending == "csv":  # and it is a scores file once more
        np.testing.assert_allclose(
            ScoresTable.read(paths[1]).probabilities, ScoresTable.read(paths[0]).probabilities, rtol=1e-9
        )


def test_a_list_does_not_go_into_a_cell(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"id": "a", "text": "water", "tags": ["x", "y"]}\n')
    out = tmp_path / "out.csv"
    assert _predict(run, "--input", str(given), "--output", str(out), "--keep", "tags") == 2
    assert "write .parquet" in capsys.readouterr().err
    assert not out.exists()


def test_an_unreadable_row_is_named_and_nothing_else_is_lost(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"id": "a", "text": "water"}\nnot json\n{"id": "c", "text": "fire"}\n')
    out = tmp_path / "out.parquet"
    assert _predict(run, "--input", str(given), "--output", str(out)) == 2
    assert "row 2" in capsys.readouterr().err
    assert not out.exists()
    assert _predict(run, "--input", str(given), "--output", str(out), "--on-error", "skip") == 0
    assert pq.read_table(out)["id"].to_pylist() == ["a", "c"]
    assert "row 2" in capsys.readouterr().err


def test_a_text_column_of_numbers_is_named_by_row(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "text": [None, 3]}), given)
    assert _predict(run, "--input", str(given), "--output", str(tmp_path / "out.parquet")) == 2
    assert "row 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "{in}", "--output", "{in}"], "is the input file"),
        (["--input", "{in}", "--output", "{out}", "--keep", "id"], "uses these names itself"),
        (["--input", "{in}"], "wants --output FILE.parquet"),
        (["--input", "{in}"], "--input {in} --output in-predictions.parquet"),
        (["--input", "{in}", "--output", "{out}.xlsx"], "ending in .parquet, .csv or .tsv"),
        ([], "give either"),
        (["--input", "{missing}", "--output", "{out}"], "no such file"),
        (["--input", "{in}", "--output", "{out}", "--text-column", "tekst"], "--text-column NAME"),
        (["--input", "{in}", "--output", "{out}", "--keep", "tekst"], "'text' for 'tekst'"),
    ],
)
def test_calls_that_cannot_be_meant(
    run: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = message_file(tmp_path / "in.csv")
    before = given.read_bytes()
    places = {"in": given, "out": tmp_path / "out.parquet", "missing": tmp_path / "missing.csv"}
    assert _predict(run, *(argument.format(**places) for argument in arguments)) == 2
    err = capsys.readouterr().err
    assert message.format(**places) in err
    assert "usage:" not in err
    assert given.read_bytes() == before


def test_columns_are_checked_before_the_model_is_loaded(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("id,message\n1,fire\n")
    arguments = ["--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.parquet")]
    bundle = shutil.copytree(run / "runs/task/latest-fit/bundle", tmp_path / "bundle")
    (bundle / "model.safetensors").unlink()
    assert main(["predict", "--bundle", str(bundle), *arguments]) == 2
    assert "has no column 'text'" in capsys.readouterr().err


def test_texts_on_the_command_line_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _predict(run, "--text", "water in the school", "--text", "fuego", "--top", "2") == 0
    shown = capsys.readouterr().out
    assert "water in the school" in shown
    assert "fuego" in shown
