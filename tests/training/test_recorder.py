from __future__ import annotations

import hashlib
import json
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.tiny import TinyClassifier, TinyData
from tocsin.scores.table import ScoresTable
from tocsin.training import provenance, runs
from tocsin.training.checkpoints import BestCheckpoint
from tocsin.training.recorder import RunRecorder


class DescribedData(TinyData):
    """Tells where its messages came from, as the message data module does."""

    file: Path
    audit: Any = None

    def setup(self, stage: str) -> None:
        self.audit = SimpleNamespace(to_dict=lambda: {"rows": 64, "languages": {"en": 16}})

    def provenance(self) -> dict[str, Any]:
        return {"files": [str(self.file)], "cleaner": "TweetCleaner"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[runs.Run]:
    monkeypatch.setenv(runs._FOLDER, "")
    with runs.start_run("tiny", "fit", tmp_path / "runs") as run:
        yield run


@pytest.fixture
def data(tmp_path: Path) -> DescribedData:
    data = DescribedData()
    data.file = tmp_path / "messages.csv"
    data.file.write_text("text\nwater is rising\n")
    return data


def record(run: runs.Run) -> dict[str, Any]:
    return json.loads((run.path / "provenance.json").read_text())


def test_a_fit_leaves_config_provenance_audit_and_scores(trainer, run, data, monkeypatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "42")
    built = trainer(callbacks=[RunRecorder(run, "seed_everything: 42\n")], enable_checkpointing=False)
    built.fit(TinyClassifier(), datamodule=data)
    assert (run.path / "config.yaml").read_text() == "seed_everything: 42\n"
    assert json.loads((run.path / "audit.json").read_text())["rows"] == 64
    found = record(run)
    assert (found["status"], found["error"], found["verb"], found["seed"]) == ("completed", None, "fit", 42)
    assert found["duration_seconds"] >= 0
    assert found["started"] <= found["ended"]
    content = data.file.read_bytes()
    described = {
        "path": data.file.name,  # it lies in no folder that paths are named from
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert found["data"] == {"files": [described], "cleaner": "TweetCleaner"}
    assert {"python", "tocsin", "torch", "lightning", "transformers", "numpy"} <= set(found["versions"])
    assert found["versions"]["torch"]
    assert found["machine"]["processor"]
    assert found["trainer"]["precision"] in ("32-true", "bf16-mixed")
    table = ScoresTable.read(run.scores / "validation.parquet")
    assert len(table) == 64
    assert table.metadata["run"] == run.title


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize(
    ("metrics", "best"), [([0.5, 0.9, 0.7], 1), ([0.9, 0.9, 0.2], 0), ([float("nan"), 0.4, 0.3], 1)]
)
def test_validation_scores_are_those_of_the_best_epoch(trainer, run, metrics, best, checkpoint) -> None:
    callbacks: list[Any] = [RunRecorder(run)]
    if checkpoint:
        callbacks.append(BestCheckpoint(dirpath=str(run.checkpoints)))
    built = trainer(max_epochs=3, callbacks=callbacks, enable_checkpointing=checkpoint)
    built.fit(TinyClassifier(metrics=metrics), datamodule=TinyData())
    assert ScoresTable.read(run.scores / "validation.parquet").metadata["epoch"] == str(best)
    assert not (run.path / "config.yaml").exists()


def test_validate_and_test_write_their_tables(trainer, run) -> None:
    built = trainer(callbacks=[RunRecorder(run)])
    built.validate(TinyClassifier(), datamodule=TinyData(), verbose=False)
    built.test(TinyClassifier(), datamodule=TinyData(), verbose=False)
    assert sorted(path.name for path in run.scores.iterdir()) == ["test.parquet", "validation.parquet"]


def test_an_error_is_recorded(trainer, run, data) -> None:
    built = trainer(callbacks=[RunRecorder(run)], enable_checkpointing=False)
    with pytest.raises(RuntimeError, match="caught fire"):
        built.fit(TinyClassifier(fail_at=2), datamodule=data)
    assert (record(run)["status"], record(run)["error"]) == (
        "failed",
        "RuntimeError: the machine caught fire",
    )


def test_a_running_fit_says_so(trainer, run, data) -> None:
    class Spy(TinyClassifier):
        def on_train_end(self) -> None:
            assert record(run)["status"] == "running"
            assert record(run)["data"]["cleaner"] == "TweetCleaner"

    trainer(callbacks=[RunRecorder(run)], enable_checkpointing=False).fit(Spy(), datamodule=data)


def test_a_resumed_run_keeps_what_was_there(trainer, run) -> None:
    for config in ("lr: 1\n", "lr: 1\n", "lr: 2\n", "lr: 1\n"):
        trainer(max_epochs=1, callbacks=[RunRecorder(run, config)], enable_checkpointing=False).fit(
            TinyClassifier(), datamodule=TinyData()
        )
    assert (run.path / "config.yaml").read_text() == "lr: 1\n"
    assert (run.path / "config-2.yaml").read_text() == "lr: 2\n"
    assert (run.path / "config-3.yaml").read_text() == "lr: 1\n"  # the last session's has the highest number
    assert [earlier["status"] for earlier in record(run)["earlier"]] == ["completed"] * 3
    assert not any("earlier" in earlier for earlier in record(run)["earlier"])


def test_a_folder_that_cannot_be_written_costs_warnings_only(trainer, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("no folder can be made here")
    gone = runs.Run(tmp_path / "file" / "run", "fit", "tiny")
    built = trainer(max_epochs=1, callbacks=[RunRecorder(gone, "a: 1\n")], enable_checkpointing=False)
    with pytest.warns(UserWarning, match="could not be written|The scores go to"):
        built.fit(TinyClassifier(), datamodule=TinyData())
    assert built.global_step == 4


def test_git_state_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provenance._git(tmp_path) is None
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "file").write_text("one")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True)
    clean = provenance._git(tmp_path)
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (tmp_path / "file").write_text("two")
    assert provenance._git(tmp_path) == {**clean, "dirty": True}


def test_git_that_is_not_installed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with warnings.catch_warnings():
        assert provenance._git(tmp_path) is None
