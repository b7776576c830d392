"""Files that earlier versions wrote are read, and give what they gave: each format keeps its sample for good."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.formats.make import TEXTS
from tocsin.bundle_files import FORMAT, verify_bundle
from tocsin.bundles.load import load_bundle
from tocsin.plugins.manager import load_plugins
from tocsin.scores.table import ScoresTable

HERE = Path(__file__).parent
BUNDLES = sorted(path for path in HERE.glob("bundle-*") if path.is_dir())


def test_the_present_format_has_a_sample() -> None:
    assert HERE / f"bundle-{FORMAT}" in BUNDLES


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_gives_what_it_gave(folder: Path) -> None:
    assert verify_bundle(folder) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bundle = load_bundle(folder, load_plugins({"TOCSIN_PLUGINS": "off"}))
    wanted = json.loads(folder.with_suffix(".json").read_text())
    np.testing.assert_allclose(bundle.predict(TEXTS).probabilities, wanted, atol=1e-4)
    assert bundle.manifest.facts["step"] == "7"


@pytest.mark.parametrize("path", sorted(HERE.glob("scores-*.parquet")), ids=lambda path: path.name)
def test_a_scores_file_says_what_it_said(path: Path) -> None:
    table = ScoresTable.read(path)
    assert table.ids.tolist() == ["a", "b", "c"]
    assert table.labels == ("water", "food")
    assert table.logits_NL is not None
    assert table.logits_NL.tolist() == [[1.5, -2.0], [0.25, 0.0], [-3.0, 4.0]]
    np.testing.assert_array_equal(table.targets_NL, [[1, 0], [np.nan, 0], [0, 1]])
    assert table.langs.tolist() == ["en", "es", None]
    assert table.metadata == {"run": "sample", "split": "validation", "checkpoint": "0" * 64, "step": "7"}
