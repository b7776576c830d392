from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers import TensorBoardLogger as LightningLogger

from tests.training.tiny import TinyClassifier, TinyData
from tocsin.scores.metrics import evaluate_by
from tocsin.training import curves
from tocsin.training.curves import TensorBoardCurves, language_figure
from tocsin.training.loggers import RunCsvLogger, RunTensorBoardLogger

# The layout of custom scalars is written through a plugin that still imports pkg_resources in some versions.
pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    found.Reload()
    return found


def fit(trainer: Any, tmp_path: Path, **settings: Any) -> Any:
    chosen = {"logger": RunTensorBoardLogger(str(tmp_path / "log")), "log_every_n_steps": 2}
    built = trainer(callbacks=[TensorBoardCurves()], enable_checkpointing=False, **{**chosen, **settings})
    built.fit(TinyClassifier(), datamodule=TinyData())
    return built


def test_event_file_holds_the_curves(trainer, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    fit(trainer, tmp_path)
    found = read(tmp_path / "log")
    tags = found.Tags()
    speed = {
        f"speed/{name}"
        for name in ("messages_per_second", "tokens_per_second", "padding_share", "passes_per_step")
    }
    labels = {
        f"validation_labels/{metric}/{label}"
        for metric in ("roc_auc", "average_precision", "f1")
        for label in ("flood", "fire")
    }
    assert speed | labels <= set(tags["scalars"])
    assert "validation_labels/roc_auc/child_alone" not in tags["scalars"]  # it has no positive
    assert {"pr/flood", "pr/fire"} <= set(tags["tensors"])
    assert "pr/child_alone" not in tags["tensors"]
    assert "validation/languages" in tags["images"]
    assert any("custom_scalars" in tag for tag in tags["tensors"])
    padding = found.Scalars("speed/padding_share")
    assert [event.step for event in padding] == [1, 3, 5, 7]
    assert all(event.value == pytest.approx(0.2) for event in padding)
    assert all(event.value == 2 for event in found.Scalars("speed/passes_per_step"))
    tokens, messages = (found.Scalars(f"speed/{name}_per_second") for name in ("tokens", "messages"))
    assert all(
        t.value == pytest.approx(10 * m.value, rel=1e-4) for t, m in zip(tokens, messages, strict=True)
    )
    assert [event.step for event in found.Scalars("validation_labels/roc_auc/flood")] == [3, 7]


def test_scalars_agree_with_the_scores_table(trainer, tmp_path) -> None:
    built = fit(trainer, tmp_path, max_epochs=1)
    from tocsin.scores.metrics import evaluate

    wanted = evaluate(built.lightning_module.scores["validation"])
    found = read(tmp_path / "log")
    for index, label in enumerate(("flood", "fire")):
        value = found.Scalars(f"validation_labels/roc_auc/{label}")[0].value
        assert value == pytest.approx(wanted.per_label["roc_auc"][index], abs=1e-6)


def test_speed_of_a_fit_shorter_than_the_interval(trainer, tmp_path) -> None:
    fit(trainer, tmp_path, log_every_n_steps=50, max_epochs=1)
    assert len(read(tmp_path / "log").Scalars("speed/messages_per_second")) == 1


def test_validation_is_no_part_of_the_speed(monkeypatch) -> None:
    now = iter(float(second) for second in (0, 1, 3, 100, 101))
    monkeypatch.setattr(curves.time, "perf_counter", lambda: next(now))
    window = curves._Window()
    step = SimpleNamespace(messages=10, tokens=50, padded_tokens=60, passes=1)
    window.resume()
    window.add(step)
    window.add(step)
    window.pause()
    window.resume()
    window.add(step)
    assert window.take() == (30, 150, 180, 3, 3, 4.0)
    assert window.take() is None


def test_several_loggers_and_none(trainer, tmp_path) -> None:
    loggers = [CSVLogger(str(tmp_path)), LightningLogger(str(tmp_path), name="lightning", version="")]
    fit(trainer, tmp_path, logger=loggers)
    assert "speed/padding_share" in read(tmp_path / "lightning").Tags()["scalars"]
    fit(trainer, tmp_path, logger=False)
    fit(trainer, tmp_path, logger=RunCsvLogger(str(tmp_path / "csv")))
    assert "validation/macro_roc_auc" in (tmp_path / "csv" / "metrics.csv").read_text()


def test_at_most_so_many_curves(trainer, tmp_path) -> None:
    built = trainer(
        callbacks=[TensorBoardCurves(curves=1)],
        logger=RunTensorBoardLogger(str(tmp_path / "log")),
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    built.fit(TinyClassifier(), datamodule=TinyData())
    assert sum(tag.startswith("pr/") for tag in read(tmp_path / "log").Tags()["tensors"]) == 1


def test_without_matplotlib_the_extra_is_named_once(trainer, tmp_path, monkeypatch, caplog) -> None:
    for name in ("matplotlib", "matplotlib.backends.backend_agg", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with caplog.at_level("INFO"):
        fit(trainer, tmp_path)
    assert caplog.text.count("tocsin[figures]") == 1
    assert read(tmp_path / "log").Tags()["images"] == []


def test_figure_is_legible_and_skips_undefined_languages(trainer) -> None:
    pytest.importorskip("matplotlib")
    module = TinyClassifier()
    trainer().validate(module, datamodule=TinyData(), verbose=False)
    by_language = evaluate_by(module.scores["validation"], "lang")
    image = language_figure(by_language)
    assert image is not None
    assert (image.dtype, image.shape[1:]) == (np.uint8, (700, 3))
    assert image.shape[0] > 250
    assert np.abs(image[..., 0].astype(int) - image[..., 2]).max() == 0  # nothing but greys
    assert language_figure({}) is None


@pytest.mark.parametrize("kind", [RunTensorBoardLogger, RunCsvLogger])
def test_a_folder_that_cannot_be_written_does_not_end_the_fit(trainer, tmp_path, kind) -> None:
    (tmp_path / "blocked").write_text("a file, where a folder should be")
    with pytest.warns(UserWarning, match="The fit goes on") as caught:
        built = fit(trainer, tmp_path, logger=kind(str(tmp_path / "blocked" / "log")))
    assert built.global_step == 8
    assert sum("The fit goes on" in str(warning.message) for warning in caught) == 1


def test_curves_stop_when_lightnings_own_logger_fails(trainer, tmp_path, monkeypatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curves, "_write_curves", full)
    with pytest.warns(UserWarning, match="TensorBoard's curves stop: .*No space left"):
        built = fit(trainer, tmp_path, logger=LightningLogger(str(tmp_path), name="lightning", version=""))
    assert built.global_step == 8
