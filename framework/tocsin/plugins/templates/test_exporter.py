"""TemplateExporter: the contract of exporters, and what it writes."""

import json
import zipfile
from pathlib import Path

from tocsin.plugins.testing import check_exporter, tiny_bundle
from tocsin_template.exporter import TemplateExporter


def test_it_conforms() -> None:
    check_exporter(TemplateExporter)


def test_the_archive_holds_every_file_of_the_bundle(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, labels=2)
    exported = tmp_path / "exported"
    exported.mkdir()
    TemplateExporter().export(bundle, exported)
    with zipfile.ZipFile(exported / "bundle.zip") as archive:
        archive.extractall(tmp_path / "again")
    for path in bundle.folder.rglob("*"):
        copy = tmp_path / "again" / path.relative_to(bundle.folder)
        assert path.is_dir() or copy.read_bytes() == path.read_bytes()
    labels = json.loads((exported / "labels.json").read_text(encoding="utf-8"))
    assert labels == ["label 0", "label 1"]
