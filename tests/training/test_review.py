"""Settings, final metric and vectors in TensorBoard, of a real fit of a tiny classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import message_file, messages, quiet_trainer, tiny_classifier, tiny_data
from tests.training.test_curves import read
from tests.training.tiny import TinyClassifier, TinyData
from tocsin.models.optimizers import AdamW
from tocsin.training import BestCheckpoint, RunTensorBoardLogger, TensorBoardCurves
from tocsin.training.review import final_metric, short_settings, validation_sample

# The layout of custom scalars is written through a plugin that still imports pkg_resources in some versions.
pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")


def fit(folder: Path, *callbacks: Any, model: Any = None, **options: Any) -> Any:
    message_file(folder / "m.parquet")
    trainer = quiet_trainer(
        folder,
        logger=RunTensorBoardLogger(str(folder / "log")),
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(one, BestCheckpoint) for one in callbacks),
        **options,
    )
    chosen = tiny_classifier(folder / "encoder", optimizer=AdamW(lr=3e-3)) if model is None else model
    trainer.fit(chosen, datamodule=tiny_data(folder / "m.parquet"))
    return trainer


def hparams_of(folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Settings, and the metric's values by tag, as TensorBoard's own reader has them."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = EventMultiplexer().AddRun(str(folder), "run")
    found.Reload()
    started = found.SummaryMetadata("run", "_hparams_/session_start_info").plugin_data.content
    data = plugin_data_pb2.HParamsPluginData.FromString(started)
    settings = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in data.session_start_info.hparams.items()
    }
    scalars = found.GetAccumulator("run").Tags()["scalars"]
    finals = {tag: found.Scalars("run", tag)[-1].value for tag in scalars if tag.startswith("final/")}
    return settings, finals


def test_settings_stand_beside_the_best_checkpoints_score(tmp_path: Path) -> None:
    best = BestCheckpoint(dirpath=str(tmp_path / "c"))
    trainer = fit(tmp_path, TensorBoardCurves(projector=0), best)
    settings, finals = hparams_of(tmp_path / "log")
    assert settings == short_settings(trainer, trainer.lightning_module)
    assert len(settings) <= 24
    assert settings["lr"] == 3e-3
    assert settings["batch_size"] == 8
    assert settings["ema_decay"] == "none"
    assert settings["start_from_probe"] == "false"
    assert finals == {"final/macro_roc_auc": pytest.approx(float(best.best_model_score))}
    assert "pr/water" in read(tmp_path / "log").Tags()["tensors"]  # the run's own events are still read
    assert not (tmp_path / "log" / "projector_config.pbtxt").exists()


def test_without_checkpoints_the_last_value_is_the_final_one(tmp_path: Path) -> None:
    trainer = fit(tmp_path, TensorBoardCurves(projector=0))
    last = float(trainer.callback_metrics["validation/macro_roc_auc"])
    assert final_metric(trainer) == {"final/macro_roc_auc": pytest.approx(last)}
    assert final_metric(trainer, "validation/none") == {}
    assert hparams_of(tmp_path / "log")[1] == {"final/macro_roc_auc": pytest.approx(last)}


def test_another_module_tells_its_class_alone(tmp_path: Path, trainer: Any) -> None:
    built = trainer(
        callbacks=[TensorBoardCurves()],
        logger=RunTensorBoardLogger(str(tmp_path / "log")),
        enable_checkpointing=False,
    )
    built.fit(TinyClassifier(), datamodule=TinyData())
    settings, finals = hparams_of(tmp_path / "log")
    assert settings["model"] == "TinyClassifier"
    assert "encoder" not in settings
    assert "final/macro_roc_auc" in finals


def lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("text", [False, True])
def test_the_projector_shows_a_capped_sample_and_texts_only_when_asked(tmp_path: Path, text: bool) -> None:
    fit(tmp_path, TensorBoardCurves(projector=10, projector_text=text))
    config = (tmp_path / "log" / "projector_config.pbtxt").read_text(encoding="utf-8")
    assert "validation_vectors" in config
    (folder,) = (tmp_path / "log").glob("*/validation_vectors")
    vectors = np.array(lines(folder / "tensors.tsv"), dtype=np.float64)
    header, *rows = lines(folder / "metadata.tsv")
    assert vectors.shape == (10, 16)
    assert len(rows) == 10
    assert header == ["id", "lang", "labels", *(["text"] if text else [])]
    by_id = {str(row["id"]): row for row in messages()}
    for cells in rows:
        row = by_id[cells[0]]
        assert cells[1] == row["lang"]
        wanted = [
            f"{name}?" if row[name] is None else name
            for name in ("water", "food", "fire")
            if row[name] is None or row[name]
        ]
        assert cells[2] == (", ".join(wanted) or "(none)")
        assert not text or cells[3] == " ".join(str(row["text"]).split())
    if not text:
        words = {str(row["text"]) for row in by_id.values()}
        written = b"".join(path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file())
        assert not any(one.encode() in written for one in words)


def test_the_sample_is_what_the_encoder_gives_and_leaves_modes_alone(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    trainer = fit(tmp_path, model=model, max_epochs=1)
    data: Any = trainer.datamodule
    model.train()
    sample = validation_sample(model, data, 5)
    assert sample is not None
    assert all(part.training for part in model.modules())
    rows = {str(data.describe(np.array([row]))["ids"][0]): row for row in data.rows("validation")}
    model.eval()
    for vector_D, cells in zip(sample.vectors_ND, sample.rows, strict=True):
        (part,) = data.passes(np.array([rows[cells[0]]]))
        with torch.no_grad():
            alone_BD = model.pooling(model.encoder(part.input_ids_BT, part.mask_BT), part.mask_BT)
        torch.testing.assert_close(vector_D, alone_BD[0], atol=1e-5, rtol=1e-5)
    whole = validation_sample(model, data, 10_000)
    assert whole is not None
    assert len(whole.rows) == len(data.rows("validation"))
    assert validation_sample(model, data, 0) is None
