"""`tocsin fit`, `test` and `validate` from a YAML file to a run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG, write_config, write_files
from tocsin.cli import fit as module
from tocsin.cli.main import main
from tocsin.errors import ConfigError
from tocsin.plugins import ScoresTable


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which one fit has run."""
    folder = tmp_path_factory.mktemp("work")
    write_files(folder)
    write_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TOCSIN_PLUGINS", "off")
        assert main(["fit", "--config", "experiments/tiny/config.yaml"]) == 0
    return folder


@pytest.fixture
def work(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(experiment)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    return experiment


def test_a_fit_leaves_a_complete_run_folder(work: Path) -> None:
    run = work / "runs" / "tiny" / "latest-fit"
    assert run.resolve().name.endswith("-fit")
    for name in ("config.yaml", "provenance.json", "audit.json", "metrics.csv", "checkpoints/best.ckpt"):
        assert (run / name).is_file(), name
    assert list(run.glob("events.out.tfevents*"))
    assert (run / "bundle" / "tocsin.json").is_file()
    table = ScoresTable.read(run / "scores" / "validation.parquet")
    assert table.labels == ("water", "food", "fire")
    config = (run / "config.yaml").read_text()
    assert "name: tiny\n" in config
    assert "ckpt_path" not in config
    assert json.loads((run / "provenance.json").read_text())["status"] == "completed"


def test_test_takes_the_runs_best_checkpoint_and_an_override(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (work / "runs" / "tiny" / "latest-fit" / "config.yaml").read_bytes()
    assert main(["test", "--config", "runs/tiny/latest-fit/config.yaml", "--data.max_length", "12"]) == 0
    out = capsys.readouterr().out
    assert "tiny, test" in out
    assert "all on" in out
    run = work / "runs" / "tiny" / "latest-test"
    assert len(ScoresTable.read(run / "scores" / "test.parquet")) == 24
    config = (run / "config.yaml").read_text()
    assert "max_length: 12" in config
    assert "latest-fit" not in config  # the checkpoint's own folder, not a link that moves on
    assert not (run / "checkpoints").exists()
    assert (work / "runs" / "tiny" / "latest-fit" / "config.yaml").read_bytes() == before


def test_validate_scores_what_the_fit_scored(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    assert main(["validate", "--config", "runs/tiny/latest-fit/config.yaml"]) == 0
    fit, again = (
        ScoresTable.read(work / "runs" / "tiny" / run / "scores" / "validation.parquet")
        for run in ("latest-fit", "latest-validate")
    )
    np.testing.assert_allclose(again.probabilities, fit.probabilities, atol=1e-6)


def test_a_checkpoint_of_a_run_continues_it_in_its_folder(work: Path, tmp_path: Path, capsys) -> None:
    arguments = ["fit", "--config", "experiments/tiny/config.yaml", "--runs", str(tmp_path)]
    assert main(arguments) == 0
    run = tmp_path / "tiny" / "latest-fit"
    again = ["--ckpt_path", str(run / "checkpoints" / "last.ckpt"), "--trainer.max_epochs", "2"]
    assert main([*arguments, *again]) == 0
    assert len([path for path in (tmp_path / "tiny").iterdir() if not path.is_symlink()]) == 1
    assert "max_epochs: 1" in (run / "config.yaml").read_text()
    assert "max_epochs: 2" in (run / "config-2.yaml").read_text()
    assert (run / "bundle-2" / "tocsin.json").is_file()
    assert "bundle-2 --input" in capsys.readouterr().out


def test_a_fit_says_what_to_do_next(work: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(module, "execute", lambda *arguments: None)
    assert (
        main(["fit", "--config", "experiments/tiny/config.yaml", "--name", "dry", "--runs", "elsewhere"]) == 0
    )
    out = capsys.readouterr().out
    assert "No scores: this run had no validation messages." in out
    assert "tensorboard --logdir elsewhere/dry/" in out
    assert module._next_commands("runs/a b", "runs/a b/bundle", best=True) == [
        "tensorboard --logdir 'runs/a b'",
        "tocsin test --config 'runs/a b/config.yaml'",
        "tocsin predict --bundle 'runs/a b/bundle' --input MESSAGES.csv --output LABELS.parquet",
    ]


def test_no_checkpoint_is_a_mistake_with_a_hint(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--config", "experiments/tiny/config.yaml"]) == 2
    error = capsys.readouterr().err
    assert "No checkpoint to score" in error
    assert "--config runs/tiny/latest-fit/config.yaml" in error
    assert main(["test", "--config", "experiments/tiny/config.yaml", "--ckpt_path", "nothing.ckpt"]) == 2
    assert "there is no file 'nothing.ckpt'" in capsys.readouterr().err


def test_a_mistake_in_a_config_given_by_a_relative_path_is_named(
    work: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    write_config(tmp_path, CONFIG.replace("LinearHead", "LinerHead"))
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "experiments/tiny/config.yaml"]) == 2
    assert "No head is called 'LinerHead'. Did you mean 'LinearHead'?" in capsys.readouterr().err


def test_a_config_mistake_exits_2_without_a_run_folder(work: Path, tmp_path: Path, capsys) -> None:
    path = write_config(tmp_path, CONFIG.replace("LinearHead", "LinerHead"))
    assert main(["fit", "--config", str(path), "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tocsin: model.init_args.head: No head is called 'LinerHead'")
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


def test_a_missing_file_is_named_and_recorded(work: Path, tmp_path: Path, capsys) -> None:
    path = write_config(tmp_path, CONFIG.replace("messages.parquet", "absent.parquet"))
    assert main(["fit", "--config", str(path), "--runs", str(tmp_path / "runs")]) == 2
    assert "absent.parquet" in capsys.readouterr().err


def test_what_lightning_refuses_is_a_message(work: Path, tmp_path: Path, capsys) -> None:
    arguments = ["fit", "--config", "experiments/tiny/config.yaml", "--runs", str(tmp_path / "runs")]
    assert main([*arguments, "--trainer.accelerator", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err


def test_an_interrupt_is_130(work: Path, tmp_path: Path, monkeypatch) -> None:
    from tocsin.models.classifier import MultilabelClassifier

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MultilabelClassifier, "on_train_epoch_start", interrupt)
    arguments = ["fit", "--config", "experiments/tiny/config.yaml", "--runs", str(tmp_path / "runs")]
    assert main(arguments) == 130


def test_observers_hear_of_the_error(work: Path, tmp_path: Path, monkeypatch) -> None:
    from tocsin.plugins.manager import load_plugins
    from tocsin.plugins.registry import Registry

    heard = []
    monkeypatch.setattr(
        Registry, "notify", lambda self, hook, **given: heard.append((hook, given.get("error")))
    )

    def fail(*arguments: object) -> None:
        raise ConfigError("no")

    monkeypatch.setattr(module, "execute", fail)
    arguments = ["--config", "experiments/tiny/config.yaml", "--runs", str(tmp_path / "runs")]
    with pytest.raises(ConfigError):
        module._run("fit", arguments, load_plugins({"TOCSIN_PLUGINS": "off"}))
    assert [hook for hook, _ in heard] == ["tocsin_run_started", "tocsin_run_ended"]
    assert isinstance(heard[1][1], ConfigError)


@pytest.mark.parametrize(
    ("path", "name"),
    [("experiments/quickstart/config.yaml", "quickstart"), ("my runs/c.yaml", "my-runs"), (None, "unnamed")],
)
def test_a_runs_name_is_its_configs_folder(path: str | None, name: str) -> None:
    assert module._name(None if path is None else Path(path).absolute()) == name
