"""Which run goes on, and what its configuration may say by now."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tocsin.cli.main import main
from tocsin.cli.resuming import Continued, continued_run, with_config
from tocsin.errors import ConfigError

CONFIG = "data: {init_args: {train: a.csv}}\ntrainer: {max_epochs: 2}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "floods" / "2026-11-21T18-04-05-fit"
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps({"status": "failed"}))
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def resumed(folder: Path, text: str) -> Continued | None:
    given = SimpleNamespace(resume=str(folder), ckpt_path=None, name="floods", runs=str(folder.parent.parent))
    return continued_run(given, text)


def test_another_configuration_is_another_fit(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.init_args\.train: a\.csv then, b\.csv now"):
        resumed(folder, CONFIG.replace("a.csv", "b.csv"))


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        (CONFIG, CONFIG, ""),
        (CONFIG, CONFIG.replace("epochs: 2", "epochs: 4"), "trainer.max_epochs: 2 then, 4 now"),
        ("a: [torn\n", CONFIG, "not compared: "),
    ],
)
def test_what_may_differ_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], then: str, now: str, told: str
) -> None:
    (folder / "config.yaml").write_text(then)
    assert resumed(folder, now) == Continued(folder, None)
    said = capsys.readouterr().out
    assert f"Resuming floods/{folder.name} from its beginning" in said
    assert ("Changed since" in said) == bool(told)
    assert told in said


@pytest.mark.parametrize("option", [["--config", "c.yaml"], ["-c", "c.yaml"], ["--config=c.yaml"]])
def test_the_runs_own_configuration_is_taken_where_none_is_given(folder: Path, option: list[str]) -> None:
    given = ["--resume", str(folder)]
    assert with_config(given) == ["--config", str(folder / "config.yaml"), *given]
    assert with_config([*given, *option]) == [*given, *option]


def test_resume_is_no_unknown_key_beside_another_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--resume", "auto"]) == 2
    said = capsys.readouterr().err
    assert "labels is missing" in said
    assert "no key 'resume'" not in said
