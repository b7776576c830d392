"""`tocsin export`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import tiny_classifier, tiny_data
from tests.plugins.distributions import Install
from tocsin.bundles.save import save_bundle
from tocsin.cli.main import main
from tocsin.plugins.discovery import GROUP
from tocsin.text.cleaners import NoCleaner

EXPORTER = """
from pathlib import Path
from tocsin.plugins import BundleError, Exporter, hookimpl

class LabelListExporter(Exporter):
    '''The labels, one a line.

    Args:
        ending: The file's ending.
        fails: Whether to fail after the file is written.
    '''
    def __init__(self, ending: str = "txt", fails: bool = False) -> None:
        self.ending, self.fails = ending, fails

    def export(self, bundle, folder: Path) -> None:
        (folder / f"labels.{self.ending}").write_text("\\n".join(bundle.labels))
        if self.fails:
            raise BundleError("no such format for this bundle")

class BrokenExporter(Exporter):
    '''Does what an exporter must not.

    Args:
        how: What it does.
    '''
    def __init__(self, how: str) -> None:
        self.how = how

    def export(self, bundle, folder: Path) -> None:
        if self.how == "raises":
            raise ValueError("no such thing")
        if self.how == "removes":
            folder.rmdir()
        if self.how == "hollow":
            (folder / "empty.bin").touch()

@hookimpl
def tocsin_exporters():
    return [LabelListExporter, BrokenExporter]
"""


@pytest.fixture
def bundle(install: Install, tmp_path: Path) -> str:
    install("lists", entry_points={GROUP: {"lists": "list_exporter"}}, modules={"list_exporter": EXPORTER})
    model = tiny_classifier(tmp_path / "encoder")
    model.configure_model()
    tiny_data(tmp_path / "m.parquet")
    folder = tmp_path / "bundle"
    save_bundle(folder, model, cleaner=NoCleaner(), max_length=32, card="# card", version="0")
    return str(folder)


def test_an_exporter_is_chosen_by_its_short_name(bundle: str, tmp_path: Path, capsys) -> None:
    target = tmp_path / "out"
    given = ["--bundle", bundle, "--output", str(target)]
    assert main(["export", *given, "--exporter", "LabelListExporter", "--exporter.ending", "md"]) == 0
    assert (target / "labels.md").read_text() == "water\nfood\nfire"
    assert [path.name for path in target.iterdir()] == ["labels.md"]
    assert capsys.readouterr().out == f"{target}\n"
    assert main(["export", *given, "--exporter", "LabelListExporter"]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_failed_export_leaves_nothing(bundle: str, tmp_path: Path, capsys) -> None:
    target = tmp_path / "out"
    given = ["--bundle", bundle, "--output", str(target), "--exporter", "LabelListExporter"]
    assert main(["export", *given, "--exporter.fails", "true"]) == 2
    assert "no such format for this bundle" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raises", "raised ValueError: no such thing. Nothing was written."),
        ("removes", "wrote nothing."),
        ("hollow", "wrote nothing."),
        ("nothing", "wrote nothing."),
    ],
)
def test_a_broken_exporter_is_named(bundle: str, tmp_path: Path, capsys, how: str, told: str) -> None:
    target = tmp_path / "out"
    given = [
        "--bundle",
        bundle,
        "--output",
        str(target),
        "--exporter",
        "BrokenExporter",
        "--exporter.how",
        how,
    ]
    assert main(["export", *given]) == 2
    assert f"The exporter BrokenExporter (lists 1.0) {told}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_mistakes_are_named(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--bundle", bundle, "--output", str(tmp_path / "out")]
    assert main(["export", *given, "--exporter", "LabelLisExporter"]) == 2
    assert "Did you mean 'LabelListExporter'?" in capsys.readouterr().err
    assert main(["export", *given, "--exporter", "LabelListExporter", "--exporter.endin", "md"]) == 2
    assert "has no option 'endin'. Did you mean 'ending'?" in capsys.readouterr().err
    assert main(["export", *given]) == 2
    assert "exporter is missing" in capsys.readouterr().err
    assert main(["export", "--output", "x", "--exporter", "LabelListExporter"]) == 2
    assert "bundle" in capsys.readouterr().err
