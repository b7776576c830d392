"""The plugin as its users meet it: by short name in YAML, in a bundle, in `tocsin components`, in its README."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import tocsin
from tests.builders import messages
from tests.cli.configs import CONFIG, write_config, write_files
from tocsin.cli.main import main
from tocsin.plugins import BundleError, ScoresTable

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parents[3]


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which a fit with the head and its test have run."""
    folder = tmp_path_factory.mktemp("work")
    write_files(folder)
    text = CONFIG.replace("pooling: MeanPooling", "pooling: null").replace("LinearHead", "LabelAttentionHead")
    write_config(folder, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TOCSIN_PLUGINS", "label-attention")
        assert main(["fit", "--config", "experiments/tiny/config.yaml"]) == 0
        assert main(["test", "--config", "runs/tiny/latest-fit/config.yaml"]) == 0
    return folder


@pytest.fixture
def work(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(experiment)
    monkeypatch.setenv("TOCSIN_PLUGINS", "label-attention")
    return experiment


def test_the_saved_config_holds_the_head_with_every_default(work: Path) -> None:
    saved = yaml.safe_load((work / "runs/tiny/latest-fit/config.yaml").read_text(encoding="utf-8"))
    head = saved["model"]["init_args"]["head"]
    assert head["class_path"].endswith("LabelAttentionHead")
    assert head["init_args"] == {"dropout": 0.1, "query_std": 0.0}


def test_its_bundle_predicts_what_the_model_scored(work: Path) -> None:
    table = ScoresTable.read(work / "runs/tiny/latest-test/scores/test.parquet")
    bundle = tocsin.load(work / "runs/tiny/latest-fit/bundle")
    assert bundle.labels == table.labels
    texts = {row["id"]: row["text"] for row in messages()}
    probabilities_NL = bundle.predict([texts[each] for each in table.ids]).probabilities
    assert probabilities_NL.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(probabilities_NL, table.probabilities, atol=1e-6)


def test_without_the_plugin_its_bundle_is_refused_by_name(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    with pytest.raises(BundleError, match="LabelAttentionHead"):
        tocsin.load(work / "runs/tiny/latest-fit/bundle")


def test_components_lists_its_options(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["components", "LabelAttentionHead"]) == 0
    out = capsys.readouterr().out
    assert "from tocsin-label-attention" in out
    assert "dropout: a number; default: 0.1" in out
    assert "query_std: a number; default: 0.0" in out


def test_the_readmes_lines_show_what_a_label_looked_at(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("python")
    code = code.replace("runs/label-attention", "runs/tiny")
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert sum(float(line.split()[0]) for line in lines) == pytest.approx(1.0, abs=0.01 * len(lines))


def test_the_readmes_yaml_is_the_quickstart_with_a_frozen_encoder_and_this_head() -> None:
    (text,) = blocks("yaml")
    own = yaml.safe_load(text)
    quickstart = yaml.safe_load((ROOT / "experiments/quickstart/config.yaml").read_text(encoding="utf-8"))
    own_model, model = own["model"]["init_args"], quickstart["model"]["init_args"]
    assert own_model["head"] == "LabelAttentionHead"
    assert own_model["pooling"] is None
    own_model["encoder"]["init_args"].pop("freeze")
    differing = {"head", "optimizer", "start_from_probe", "probe_l2"}
    for section in (own_model, model):
        for name in differing & section.keys():
            del section[name]
    del own["trainer"]["max_epochs"], quickstart["trainer"]["max_epochs"]
    assert own == quickstart
