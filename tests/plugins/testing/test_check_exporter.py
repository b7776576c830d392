"""Each wrong exporter has one fault, and the check names that one."""

from __future__ import annotations

import gzip
import itertools
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.plugins.testing.rejections import only_fault
from tocsin.bundles.exporters import Exporter
from tocsin.errors import BundleError
from tocsin.plugins.templates.exporter import TemplateExporter
from tocsin.plugins.testing import check_exporter
from tocsin.plugins.testing.exporters import _pickled

TURN = itertools.count()


class _Labels(Exporter):
    """Right: the labels as JSON."""

    def export(self, bundle: Any, folder: Path) -> None:
        (folder / "labels.json").write_text(json.dumps(list(bundle.labels)))


def wrong(export: Callable[[Any, Any, Path], Any]) -> type[Exporter]:
    return type("_Changed", (_Labels,), {"__doc__": "Wrong.", "export": export})


@pytest.mark.parametrize("exporter", [_Labels, TemplateExporter])
def test_right_ones_pass(exporter: type[Exporter]) -> None:
    before = torch.get_rng_state()
    here = Path.cwd()
    check_exporter(exporter)
    assert torch.equal(torch.get_rng_state(), before)
    assert Path.cwd() == here


def saved(self: Any, bundle: Any, folder: Path) -> None:
    torch.save(bundle.predictor.head.state_dict(), folder / "weights.bin")


def halved(self: Any, bundle: Any, folder: Path) -> None:
    for weight in bundle.predictor.head.parameters():
        weight.data *= 0.5
    (folder / "a.json").write_text("{}")


def linked(self: Any, bundle: Any, folder: Path) -> None:
    (folder / "a.json").symlink_to(bundle.folder / "tocsin.json")


def into_bundle(self: Any, bundle: Any, folder: Path) -> None:
    (folder / "a.json").write_text("{}")
    (bundle.folder / "export.json").write_text("{}")


def into_here(self: Any, bundle: Any, folder: Path) -> None:
    (folder / "a.json").write_text("{}")
    Path("log.txt").write_text("done")


def beside(self: Any, bundle: Any, folder: Path) -> None:
    (folder / "a.json").write_text("{}")
    folder.with_suffix(".log").write_text("done")


def stamped(self: Any, bundle: Any, folder: Path) -> None:
    (folder / f"export-{next(TURN)}.json").write_text("{}")


def failing(self: Any, bundle: Any, folder: Path) -> None:
    (folder / "a.json").write_text(bundle.manifest.onnx)


def refusing(self: Any, bundle: Any, folder: Path) -> None:
    raise BundleError("wanted a XLM-R of width 1024")


def few_labels(self: Any, bundle: Any, folder: Path) -> None:
    (folder / "a.bin").write_bytes(
        bytes([0] * len(bundle.labels)) if len(bundle.labels) < 256 else bytes([256])
    )


@pytest.mark.parametrize(
    ("export", "said"),
    [
        (lambda self, bundle, folder: None, "wrote no file. At least one file with something in it"),
        (lambda self, bundle, folder: (folder / "a").touch(), "wrote first/a (0 bytes). At least one file"),
        (saved, "wrote weights.bin, which is an archive whose member weights/data.pkl is pickled"),
        (halved, "the bundle gives other probabilities than before. Export from a copy"),
        (linked, "made a link, a.json, which breaks when the folder is moved"),
        (into_bundle, "wrote bundle/export.json in the bundle's own folder"),
        (into_here, "wrote log.txt in the working folder"),
        (beside, "wrote first.log in first.log, beside the folder"),
        (stamped, "The same bundle gives the same files"),
        (failing, "raised AttributeError"),
        (refusing, "export() refused every bundle of the check: 'wanted a XLM-R of width 1024'"),
        (few_labels, "export(a bundle of 500 labels with a LinearHead, folder) raised ValueError"),
    ],
)
def test_wrong_ones(export: Any, said: str) -> None:
    assert said in only_fault(check_exporter, wrong(export))


def test_some_bundles_may_be_refused() -> None:
    def native_alone(self: Any, bundle: Any, folder: Path) -> None:
        if bundle.manifest.encoder != ".":
            raise BundleError("only a native head fits this format")
        (folder / "a.json").write_text("{}")

    check_exporter(wrong(native_alone))


def test_pickles_are_told_from_other_files(tmp_path: Path) -> None:
    facts = {"weights": [0.5, 1.5], "names": ("a", "b")}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert _pickled(pickle.dumps(facts, protocol)) == "is pickled"
    assert _pickled(gzip.compress(pickle.dumps(facts))) == "is pickled"
    np.save(tmp_path / "o.npy", np.array([facts], object))
    assert "numpy objects" in _pickled((tmp_path / "o.npy").read_bytes())
    np.save(tmp_path / "n.npy", np.arange(9.0))
    with zipfile.ZipFile(tmp_path / "n.zip", "w") as archive:
        archive.write(tmp_path / "n.npy", "n.npy")
    harmless = [
        (tmp_path / "n.npy").read_bytes(),
        (tmp_path / "n.zip").read_bytes(),
        json.dumps(facts).encode(),
        b"",
        b".",
        b"A model that was exported.",
        "# Ein Modell für Nachrichten.".encode(),
        b"\x88\x02\x00\x00\x00\x00\x00\x00{}",
        bytes(range(256)) * 9,
    ]
    assert [_pickled(content) for content in harmless] == [""] * len(harmless)
