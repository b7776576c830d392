"""A fit under Lightning's own Trainer with its own defaults, without our command line."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as L
import numpy as np

from tests.builders import tiny_classifier, tiny_data


def test_a_plain_trainer_fits_tests_and_reads_its_checkpoint(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "messages.parquet")
    model = tiny_classifier(tmp_path / "encoder")
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, default_root_dir=tmp_path, num_sanity_val_steps=0
    )
    trainer.fit(model, datamodule=data)
    assert trainer.global_step == 18
    assert {"validation/loss", "validation/macro_roc_auc", "train/loss"} <= trainer.callback_metrics.keys()
    assert len(model.scores["validation"]) == 24
    trainer.test(model, datamodule=data, verbose=False)
    before = np.asarray(model.scores["test"].logits_NL)
    best = trainer.checkpoint_callback.best_model_path
    assert Path(best).is_relative_to(tmp_path)

    fresh = tiny_classifier(tmp_path / "encoder")
    again = tiny_data(tmp_path / "messages.parquet")
    trainer.test(fresh, datamodule=again, ckpt_path=best, weights_only=True, verbose=False)
    np.testing.assert_allclose(np.asarray(fresh.scores["test"].logits_NL), before, atol=1e-6)


def test_the_sanity_check_scores_nothing(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    trainer = L.Trainer(
        max_steps=1,
        accelerator="cpu",
        devices=1,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        limit_val_batches=2,
        val_check_interval=9,
    )
    trainer.fit(model, datamodule=tiny_data(tmp_path / "messages.parquet"))
    assert model.scores == {}
