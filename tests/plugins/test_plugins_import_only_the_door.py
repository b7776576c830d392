"""Plugins import `tocsin.plugins` and nothing else of ours: what else we move or rename breaks none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.door_imports import foreign_imports

PLUGINS = Path(__file__).parents[2] / "plugins"
DISTRIBUTIONS = sorted(path.parent for path in PLUGINS.glob("*/setup.cfg"))
# A plugin's tests also do what its users do: run the command, and load a bundle.
FOR_TESTS = ("tocsin", "tocsin.cli.main", "tocsin.load", "tocsin.plugins.testing")


def package_files(distribution: Path) -> list[Path]:
    """The Python files that a distribution installs."""
    files = [
        path for path in distribution.rglob("*.py") if "tests" not in path.relative_to(distribution).parts
    ]
    return [path for path in files if "build" not in path.relative_to(distribution).parts]


def test_the_plugins_of_the_tree_are_all_looked_at() -> None:
    assert {"tocsin-classical", "tocsin-crisis", "tocsin-wheels"} <= {path.name for path in DISTRIBUTIONS}
    for distribution in DISTRIBUTIONS:
        assert package_files(distribution), distribution.name


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda path: path.name)
def test_a_package_imports_only_the_door(distribution: Path) -> None:
    found = {
        path.name: foreign_imports(path.read_text(encoding="utf-8")) for path in package_files(distribution)
    }
    assert {name: imports for name, imports in found.items() if imports} == {}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda path: path.name)
def test_its_tests_import_what_a_strangers_could(distribution: Path) -> None:
    files = sorted((distribution / "tests").glob("*.py"))
    assert files
    found = {path.name: foreign_imports(path.read_text(encoding="utf-8"), FOR_TESTS) for path in files}
    assert {name: imports for name, imports in found.items() if imports} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import tocsin", "tocsin"),
        ("import tocsin.models.heads", "tocsin.models.heads"),
        ("import os, tocsin.text as t", "tocsin.text"),
        ("from tocsin import models", "tocsin.models"),
        ("from tocsin import load", "tocsin.load"),
        ("from tocsin.errors import DataError", "tocsin.errors"),
        ("from tocsin.plugins.manager import load_plugins", "tocsin.plugins.manager"),
        ("from tocsin.plugins import Head, manager", "tocsin.plugins.manager"),
        ("def late():\n    from tocsin.scores.table import ScoresTable", "tocsin.scores.table"),
        ("if TYPE_CHECKING:\n    from tocsin.bundles.load import Bundle", "tocsin.bundles.load"),
        ("import tocsin.plugins\ntocsin.text.cleaners.NoCleaner()", "tocsin.text.cleaners"),
        ("importlib.import_module('tocsin.models.heads')", "tocsin.models.heads"),
        ("load('tocsin.cli.main:main')", "tocsin.cli.main"),
        ("__import__(name='tocsin.training')", "tocsin.training"),
        ("from tocsin.plugins.testing import check_head", "tocsin.plugins.testing"),
    ],
)
def test_each_way_of_importing_something_else_is_caught(source: str, found: str) -> None:
    imports = [fault.partition(": ")[2] for fault in foreign_imports(source)]
    assert any(name.startswith(found) for name in imports), imports


@pytest.mark.parametrize(
    "source",
    [
        "from tocsin.plugins import Head, hookimpl",
        "import tocsin.plugins as door\ndoor.Head",
        "import tocsin.plugins\ntocsin.plugins.Head",
        "from tocsin import plugins",
        "from tocsin_lab.text import words",
        "from . import text",
        "group = 'tocsin.v1.commands'",
        "path = folder / 'tocsin.json'",
        "'''It leaves tocsin.models alone.'''",
        "importlib.import_module('tocsin.plugins')",
    ],
)
def test_what_a_plugin_may_do_is_not(source: str) -> None:
    assert foreign_imports(source) == []
