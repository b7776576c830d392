from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tocsin import plugins as door
from tocsin_classical.cli import main

FLOOD = ["the river broke its banks", "water stands in our street", "the flood took the bridge"]
CALM = ["the market is open today", "a quiet day in the village", "school starts on monday"]
EACH = FLOOD + CALM
TEXTS = EACH * 6
SPLITS = np.repeat(["train", "train", "train", "validation", "test", ""], 6)


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    path = tmp_path / "messages.csv"
    path.write_text("id,text\n" + "\n".join(f"{i},{text}" for i, text in enumerate(TEXTS)), encoding="utf-8")
    return path


@pytest.fixture
def asked(messages: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[str]]]:
    """Put a small corpus behind the door; return what was asked of it."""
    calls: list[tuple[Path, list[str]]] = []
    targets_NL = np.array([[text in FLOOD, text in CALM, False] for text in TEXTS], dtype=np.float32)
    targets_NL[4, 1] = np.nan
    table = pa.table(
        {
            "file": pa.array([str(messages)] * len(TEXTS)).dictionary_encode(),
            "row": range(1, len(TEXTS) + 1),
            "id": [str(i) for i in range(len(TEXTS))],
            "lang": pa.nulls(len(TEXTS), pa.string()),
            "text": TEXTS,
            "genre": ["direct" if i % 2 else "news" for i in range(len(TEXTS))],
            "flood": targets_NL[:, 0].astype(int),
        }
    )

    def read_corpus(config: Path, overrides: list[str]) -> door.Corpus:
        calls.append((config, overrides))
        labels = ("flood", "calm", "never")
        return door.Corpus(table, targets_NL, labels, SPLITS.astype(object), slices=("genre",))

    monkeypatch.setattr(door, "read_corpus", read_corpus, raising=False)
    monkeypatch.chdir(messages.parent)
    return calls


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "experiments" / "floods" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("labels: {}\ndata: {}\n", encoding="utf-8")
    return path


def test_writes_scores_tables_and_provenance(asked, config, messages, capsys):
    assert main(["--config", str(config), "--data.init_args.seed", "7", "--labels.x=1"]) == 0
    assert asked == [(config, ["--data.init_args.seed", "7", "--labels.x=1"])]
    folder = Path("runs/floods/latest-tfidf")
    assert folder.resolve().name.endswith("-tfidf")

    for split, first in (("validation", 18), ("test", 24)):
        table = door.ScoresTable.read(folder / "scores" / f"{split}.parquet")
        assert table.labels == ("flood", "calm", "never")
        assert list(table.ids) == [str(i) for i in range(first, first + 6)]
        assert table.logits_NL is None
        assert (table.probabilities[:3, 0] > 0.5).all()
        assert (table.probabilities[3:, 0] < 0.5).all()
        np.testing.assert_allclose(table.probabilities[:, 2], 1e-7)
        np.testing.assert_array_equal(table.targets_NL[:, 0], [1, 1, 1, 0, 0, 0])
        assert list(table.slices) == ["genre"]
        assert table.metadata["split"] == split
        assert table.metadata["run"] == f"floods/{folder.resolve().name}"
        prior = json.loads(table.metadata["train_prevalence"])
        assert prior == pytest.approx([0.5, 8 / 17, 0.0])

    record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert record["status"] == "completed"
    assert record["verb"] == "tfidf"
    assert [file["path"] for file in record["data"]["files"]] == [messages.name]
    assert len(record["data"]["files"][0]["sha256"]) == 64
    assert record["config"]["overrides"] == ["--data.init_args.seed", "7", "--labels.x=1"]
    assert record["tfidf"]["strength"] in (0.3, 1.0, 3.0)

    printed = capsys.readouterr().out
    for word in ("TF-IDF", "prior", "all on", "all off", "macro over 2 of 3 labels", "test: 6 messages"):
        assert word in printed


@pytest.mark.parametrize("folder", ["2026-11-21T18-04-05-fit", "latest-fit"])
def test_a_saved_config_belongs_to_its_experiment(asked, tmp_path, folder):
    saved = tmp_path / "runs" / "floods" / folder
    saved.mkdir(parents=True)
    (saved / "config.yaml").write_text("labels: {}\n", encoding="utf-8")
    (saved / "provenance.json").write_text("{}", encoding="utf-8")
    main(["--config", str(saved / "config.yaml")])
    assert Path("runs/floods/latest-tfidf/scores/test.parquet").exists()


def test_name_and_runs_are_options(asked, config, tmp_path):
    main(["--config", str(config), "--name", "other", "--runs", str(tmp_path / "elsewhere")])
    assert (tmp_path / "elsewhere" / "other" / "latest-tfidf" / "scores" / "test.parquet").exists()


def test_a_failed_fit_leaves_its_cause(asked, config, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise door.DataError("no words")

    monkeypatch.setattr("tocsin_classical.tfidf.fit_tfidf", broken)
    with pytest.raises(door.DataError, match="no words"):
        main(["--config", str(config)])
    record = json.loads(Path("runs/floods/latest-tfidf/provenance.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert record["error"] == "DataError: no words"


@pytest.mark.parametrize("given", [["--model.x", "1"], ["stray"], ["--dat", "1"], ["--datax.y", "1"]])
def test_other_arguments_are_refused(asked, config, capsys, given):
    with pytest.raises(SystemExit) as stop:
        main(["--config", str(config), *given])
    assert stop.value.code == 2
    assert given[0] in capsys.readouterr().err
    assert asked == []


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert all(option in printed for option in ("--config", "--name", "--runs", "--data."))


def test_another_column_is_scored_with_the_same_model(
    asked: list[tuple[Path, list[str]]], config: Path
) -> None:
    assert main(["--config", str(config), "--also-test", "original"]) == 0
    assert asked == [(config, []), (config, ["--data.init_args.text", "original"])]
    run = next(Path("runs", "floods").glob("*-tfidf"))
    first, second = (
        door.ScoresTable.read(run / "scores" / f"{name}.parquet") for name in ("test", "test-original")
    )
    # The stand-in gives the same texts for every column, so the same model gives the same scores.
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
