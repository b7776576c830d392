"""Writes the samples of the present formats: python -m tests.formats.make. Kept, so that later versions are tested."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from tests.builders import tiny_classifier, tiny_encoder
from tocsin.bundle_files import FORMAT
from tocsin.bundles.load import load_bundle
from tocsin.bundles.save import save_bundle
from tocsin.plugins.manager import load_plugins
from tocsin.scores.table import ScoresTable
from tocsin.text.cleaners import TweetCleaner

HERE = Path(__file__).parent
TEXTS = ["The bridge is under water.", "agua y fuego en la escuela", "rain"]


def main() -> None:
    """Replace the samples of this version's formats; earlier ones are left alone."""
    registry = load_plugins({"TOCSIN_PLUGINS": "off"})
    with tempfile.TemporaryDirectory() as folder:
        encoder = tiny_encoder(Path(folder) / "encoder", layers=1)
        torch.manual_seed(3)
        model = tiny_classifier(encoder, dropout=0.0)
        model.configure_model()
        torch.nn.init.normal_(model.head.output().weight)
        target = HERE / f"bundle-{FORMAT}"
        shutil.rmtree(target, ignore_errors=True)
        facts = {"run": "sample", "checkpoint": "0" * 64, "step": "7"}
        options = {"max_length": 16, "card": "# Sample\n", "version": "0.1.0", "facts": facts}
        save_bundle(target, model, cleaner=TweetCleaner(), origin=registry.origin, **options)
    probabilities = load_bundle(target, registry).predict(TEXTS).probabilities
    (HERE / f"bundle-{FORMAT}.json").write_text(json.dumps(np.round(probabilities, 6).tolist()) + "\n")
    ScoresTable(
        ids=np.array(["a", "b", "c"]),
        labels=("water", "food"),
        logits_NL=np.array([[1.5, -2.0], [0.25, 0.0], [-3.0, 4.0]]),
        targets_NL=np.array([[1.0, 0.0], [np.nan, 0.0], [0.0, 1.0]]),
        langs=np.array(["en", "es", None], dtype=object),
        slices={"genre": np.array(["news", "direct", "news"])},
        metadata={"run": "sample", "split": "validation", "checkpoint": "0" * 64, "step": "7"},
    ).write(HERE / "scores-1.parquet")


if __name__ == "__main__":
    main()
