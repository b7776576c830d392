"""A working folder with a tiny encoder and one finished fit, and the command line as a user would call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch  # noqa: F401  its log goes to the stderr of its first import, which must not be one test's own
import pytest

from tests.builders import message_file, messages
from tests.cli.configs import CONFIG, write_config, write_files
from tocsin.cli.main import main


@dataclass
class Said:
    """What a call of the command line gave back.

    Attributes:
        code: Its exit code.
        err: What it wrote to stderr.
    """

    code: int
    err: str

    @property
    def message(self) -> str:
        """The error as the user reads it; fails when it is none, or a traceback."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        _, found, message = self.err.rpartition("tocsin: ")
        assert found, self.err
        return message


Call = Callable[..., Said]
FAST = ("--trainer.enable_progress_bar", "false")


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a verb does to its whole process: jsonargparse's settings, seeds in the environment."""
    from jsonargparse import _common

    monkeypatch.setattr(_common, "parsing_settings", dict(_common.parsing_settings))
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TOCSIN_RUN_FOLDER"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with messages, an encoder and a configuration."""
    folder = tmp_path_factory.mktemp("faults")
    write_files(folder)
    write_config(folder, CONFIG)
    return folder


@pytest.fixture
def call(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Call a verb with the configuration and overrides; runs go to `tmp_path`/runs."""
    monkeypatch.chdir(work)

    def run(*options: str, verb: str = "fit", config: str = "experiments/tiny/config.yaml") -> Said:
        capsys.readouterr()
        given = ["--config", config, "--runs", str(tmp_path / "runs"), *FAST, *options]
        return Said(main([verb, *given]), capsys.readouterr().err)

    return run


@pytest.fixture
def spoilt(tmp_path: Path) -> Callable[..., Path]:
    """Write messages of which one row is changed; `row` counts from 1, as error messages do."""

    def write(row: int, changes: dict[str, Any], name: str = "spoilt.jsonl") -> Path:
        rows = messages(20)
        rows[row - 1].update(changes)
        return message_file(tmp_path / name, rows)

    return write
