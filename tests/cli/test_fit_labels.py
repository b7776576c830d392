"""Label columns as files write them, from a YAML file to a run folder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import messages, tiny_encoder
from tests.cli.configs import CONFIG, write_config
from tocsin.cli.main import main
from tocsin.plugins import ScoresTable

NAMES = ("water", "food", "fire")
COLUMNS = "labels: {class_path: Columns, init_args: {names: [water, food, fire]}}"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), layers=1)


@pytest.fixture
def work(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    (tmp_path / "data").mkdir()
    (tmp_path / "encoder").symlink_to(encoder)
    return tmp_path


def write(work: Path, rows: list[dict[str, Any]], scheme: str = COLUMNS) -> list[str]:
    """Write rows as JSON lines and a config that reads them; return the arguments of a fit."""
    lines = [json.dumps(row) + "\n" for row in rows]
    (work / "data" / "messages.jsonl").write_text("".join(lines), encoding="utf-8")
    text = CONFIG.replace(COLUMNS, scheme).replace("messages.parquet", "messages.jsonl")
    return ["--config", str(write_config(work, text))]


def without_zeros(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in NAMES or value == 1}


def test_what_is_left_out_is_unknown_and_has_no_figures(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write(work, [without_zeros(row) for row in messages(60)])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["fit", *given]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "warning: 3 of 3 labels have no negative training message" in shown
    assert "no negative in train" in shown
    assert "labels.init_args.blank: 0" in shown
    run = work / "runs" / "tiny" / "latest-fit"
    path = str(run / "scores" / "validation.parquet")
    assert main(["evaluate", "--scores", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    text = json.dumps(found)
    assert '"macro_f1": null' in text
    assert '"macro_f1": 1.0' not in text
    assert not any(word in text for word in ('"f1": 1.0', '"average_precision": 1.0', '"recall": 1.0'))


def test_blank_zero_reads_it_as_it_was_meant(work: Path) -> None:
    rows = messages(60)
    scheme = COLUMNS.replace("fire]", "fire], blank: 0")
    assert main(["fit", *write(work, [without_zeros(row) for row in rows], scheme)]) == 0
    audit = json.loads((work / "runs" / "tiny" / "latest-fit" / "audit.json").read_text())
    assert audit["without_negatives"] == []
    for name in NAMES:
        counts = audit["labels"][name]["train"]
        train = [row[name] for row in rows if row["split"] == "train"]
        assert (counts["positives"], counts["nulls"]) == (train.count(1), 0)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_labels_ends_a_fit_before_it_trains(
    work: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, **dict.fromkeys(NAMES)} if row["split"] == split else row for row in messages(60)]
    assert main(["fit", *write(work, rows)]) == 2
    assert (
        f"no label is known of any of the {sum(row['split'] == split for row in rows)} {split} messages"
        in (capsys.readouterr().err)
    )
    assert not list(work.glob("runs/**/bundle"))
    assert not list(work.glob("runs/**/*.ckpt"))


def test_names_that_are_found_stand_in_the_runs_config(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": row["id"], "split": row["split"], "lang": row["lang"], "text": row["text"], "tags": tags}
        for row in messages(60)
        if (tags := [name for name in NAMES if row[name] == 1]) is not None
    ]
    scheme = "labels: {class_path: Lists, init_args: {column: tags}}"
    given = write(work, rows, scheme)
    assert main(["fit", *given]) == 0
    run = work / "runs" / "tiny" / "latest-fit"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["labels"]["init_args"]["names"] == ["fire", "food", "water"]
    table = ScoresTable.read(run / "scores" / "validation.parquet")
    assert table.labels == ("fire", "food", "water")
    # The first command again goes on with the run: the names that it found are no other configuration.
    record = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**record, "status": "failed"}))
    capsys.readouterr()
    assert main(["fit", "--resume", "auto", *given]) == 0
    assert f"Resuming tiny/{run.resolve().name} from last.ckpt" in capsys.readouterr().out
    # Another file cannot change them: a label that it does not know is refused, one that it lacks is kept.
    write(work, [{**row, "tags": ["food"] if "food" in row["tags"] else []} for row in rows], scheme)
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    test = ScoresTable.read(work / "runs" / "tiny" / "latest-test" / "scores" / "test.parquet")
    assert test.labels == table.labels
    # Scores say of which checkpoint they are, whichever verb made them.
    assert len(table.metadata["checkpoint"]) == 64
    assert test.metadata["checkpoint"] == table.metadata["checkpoint"]
    capsys.readouterr()
    assert main(["audit", *given, "--labels.init_args.names", "[food, fire]", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["labels"]) == ["food", "fire"]


def test_a_pattern_names_columns_in_the_files_order(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            **{key: row[key] for key in ("id", "split", "lang", "text")},
            "is_b": row["food"],
            "is_a": row["water"],
        }
        for row in messages(60)
    ]
    scheme = 'labels: {class_path: Columns, init_args: {names: "is_*"}}'
    given = write(work, rows, scheme)
    assert main(["audit", *given, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["labels"]) == ["is_b", "is_a"]
    assert main(["audit", *given, "--labels.init_args.names", "*", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["labels"]) == ["is_b", "is_a"]
    assert main(["audit", *given, "--labels.init_args.names", "has_*", "--json"]) == 2
    assert "no column of data/messages.jsonl matches 'has_*'" in capsys.readouterr().err
