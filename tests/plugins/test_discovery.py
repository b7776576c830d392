"""What is known of plugins without importing them."""

from __future__ import annotations

import sys

import pytest

from tests.plugins.distributions import Install
from tocsin.errors import PluginError
from tocsin.plugins.discovery import COMMANDS, GROUP, declared, other_versions, selection


def test_entry_points_are_read_without_importing(install: Install) -> None:
    install(
        "b-plugin",
        version="2.1",
        summary="Heads",
        entry_points={GROUP: {"b": "never_imported_b"}, COMMANDS: {"boil": "never_imported_b:main"}},
    )
    install("a-plugin", entry_points={GROUP: {"a": "never_imported_a"}, "console_scripts": {"x": "y:z"}})
    install("unrelated", entry_points={"console_scripts": {"x": "y:z"}})
    found = declared(GROUP)
    assert [(entry.name, entry.distribution, entry.version) for entry in found] == [
        ("a", "a-plugin", "1.0"),
        ("b", "b-plugin", "2.1"),
    ]
    assert found[1].summary == "Heads"
    assert [entry.name for entry in declared(COMMANDS)] == ["boil"]
    assert not {"never_imported_a", "never_imported_b"} & set(sys.modules)


def test_plugins_of_another_hook_version_stand_apart(install: Install) -> None:
    install("future", entry_points={"tocsin.v2": {"f": "m"}, "tocsin.v2.commands": {"g": "m:main"}})
    assert declared(GROUP) == []
    assert [entry.entry_point.group for entry in other_versions()] == ["tocsin.v2"]


def test_of_a_distribution_found_twice_the_first_counts(install: Install, tmp_path, monkeypatch) -> None:
    from tests.plugins.distributions import write_distribution
    from tocsin.plugins import discovery

    install("twice", version="2.0", entry_points={GROUP: {"t": "m"}})
    write_distribution(tmp_path / "older", "Twice", version="1.0", entry_points={GROUP: {"t": "m"}})
    from importlib.metadata import distributions

    both = [str(tmp_path / "site"), str(tmp_path / "older")]
    monkeypatch.setattr(discovery, "distributions", lambda: distributions(path=both))
    assert [entry.version for entry in declared(GROUP)] == ["2.0"]


@pytest.mark.parametrize(
    ("value", "names", "strict"),
    [
        ("", {"a", "b"}, False),
        ("strict", {"a", "b"}, True),
        ("off", set(), False),
        ("a", {"a"}, False),
        ("b-plugin, a", {"a", "b"}, False),
    ],
)
def test_the_environment_selects(install: Install, value: str, names: set[str], strict: bool) -> None:
    for name in "ab":
        install(f"{name}-plugin", entry_points={GROUP: {name: f"module_{name}"}})
    found = declared(GROUP)
    chosen = selection({"TOCSIN_PLUGINS": value})
    assert {entry.name for entry in found if entry in chosen} == names
    assert chosen.strict is strict


def test_an_unknown_name_in_the_environment_is_refused(install: Install) -> None:
    install("tocsin-heads", entry_points={GROUP: {"heads": "m"}})
    with pytest.raises(PluginError, match=r"'haeds'.*Did you mean 'heads'\?.*Installed: heads, tocsin-heads"):
        selection({"TOCSIN_PLUGINS": "haeds"})
