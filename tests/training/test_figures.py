from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_curves import read
from tests.training.tiny import TinyClassifier, TinyData
from tocsin.training.figures import FiguresAfterTest
from tocsin.training.loggers import RunCsvLogger, RunTensorBoardLogger

# The writer of images imports pkg_resources in some versions.
pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")


def score(trainer: Any, logger: Any) -> None:
    built = trainer(callbacks=[FiguresAfterTest()], enable_checkpointing=False, logger=logger)
    built.test(TinyClassifier(), datamodule=TinyData(), verbose=False)


def test_a_test_run_leaves_its_figures(trainer, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    score(trainer, RunTensorBoardLogger(str(tmp_path / "log")))
    images = set(read(tmp_path / "log").Tags()["images"])
    assert {"test/reliability", "test/precision-recall", "test/thresholds", "test/languages"} <= images


def test_without_tensorboard_or_matplotlib_nothing_is_written(trainer, tmp_path: Path, monkeypatch) -> None:
    score(trainer, RunCsvLogger(str(tmp_path / "csv")))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    score(trainer, RunTensorBoardLogger(str(tmp_path / "log")))
    assert not read(tmp_path / "log").Tags()["images"]
