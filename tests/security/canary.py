"""A module that nobody installed: importing it, or calling what it holds, writes a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SOURCE = """
from pathlib import Path

CANARY = Path({canary!r})
CANARY.write_text("imported")


def function(*arguments, **options):
    CANARY.write_text("called")


class Thing:
    def __init__(self, *arguments, **options):
        CANARY.write_text("built")

    def __call__(self, *arguments, **options):
        CANARY.write_text("called")


def __getattr__(name):
    return Thing
"""


class Canary:
    """Knows whether foreign code has run.

    Args:
        folder: An empty folder, which is put on `sys.path`.
        monkeypatch: Undoes everything when the test ends.
    """

    module = "evil_stuff"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.path = folder / "canary.txt"
        self.monkeypatch = monkeypatch
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        self.write(self.module, folder)

    def write(self, module: str, folder: Path) -> None:
        """Write the module into a folder; it is forgotten again when the test ends."""
        name = module.rsplit(".", 1)[-1]
        (folder / f"{name}.py").write_text(SOURCE.format(canary=str(self.path)), encoding="utf-8")
        self.monkeypatch.delitem(sys.modules, module, raising=False)

    def inside(self, package: str, module: str) -> str:
        """Put the module into an imported package, as if it had been installed there; return its dotted name."""
        name = f"{package}.{module}"
        parent = sys.modules[package]
        folder = self.folder / package.replace(".", "_")
        folder.mkdir()
        self.monkeypatch.setattr(parent, "__path__", [*parent.__path__, str(folder)])
        self.write(name, folder)
        return name

    @property
    def command(self) -> str:
        """A shell command that writes the file."""
        return f"echo executed > {self.path}"

    @property
    def ran(self) -> bool:
        """Whether foreign code has run."""
        return self.path.exists()
