"""Plugins are loaded one by one: a broken one names itself, and the rest works."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping

import pytest

from tests.plugins.distributions import Install
from tocsin.errors import ConfigError, PluginError
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry

CLEANER = """
from tocsin.plugins import Cleaner, hookimpl

class {name}(Cleaner):
    '''A cleaner.'''
    def clean(self, text: str) -> str:
        return text

@hookimpl
def tocsin_cleaners():
    return [{name}]
"""

BROKEN = {
    "import-error": ("import a_module_that_nobody_has", "No module named 'a_module_that_nobody_has'"),
    "syntax-error": ("def broken(:\n    pass", "SyntaxError"),
    "exits": ("import sys\nsys.exit(3)", r"sys.exit\(3\)"),
    "wrong-argument": (
        "from tocsin.plugins import hookimpl\n@hookimpl\ndef tocsin_cleaners(colour): return []",
        "colour",
    ),
    "unknown-hook": (
        "from tocsin.plugins import hookimpl\n@hookimpl\ndef tocsin_cleaner(): return []",
        "hook that does not exist: tocsin_cleaner. Did you mean 'tocsin_cleaners'",
    ),
    "raises": (
        "from tocsin.plugins import hookimpl\n@hookimpl\ndef tocsin_cleaners(): raise RuntimeError('no luck')",
        "RuntimeError: no luck",
    ),
    "wrong-type": (
        "from tocsin.plugins import hookimpl\n@hookimpl\ndef tocsin_cleaners(): return 'TweetCleaner'",
        "a list of classes is wanted",
    ),
    "not-a-cleaner": (
        "from tocsin.plugins import hookimpl\n@hookimpl\ndef tocsin_cleaners(): return [dict]",
        "dict, which is not a subclass of Cleaner",
    ),
    "an-object": (
        CLEANER.format(name="Fine").replace("[Fine]", "[Fine()]"),
        r"Have you called the class\? Return it without \(\)",
    ),
    "abstract": (
        CLEANER.format(name="Half").replace(
            "    def clean(self, text: str) -> str:\n        return text\n", ""
        ),
        "Half, which still lacks: clean",
    ),
    "clash": (CLEANER.format(name="TweetCleaner"), "TweetCleaner, a name already offered by tocsin"),
    "hidden-clash": (
        CLEANER.format(name="TweetCleaner").replace("[TweetCleaner]", "[]"),
        "TweetCleaner, a name already offered by tocsin",
    ),
    "no-hooks": ("def tocsin_cleaners(): return []", r"Have you forgotten @hookimpl\?"),
}


def cleaners(environ: Mapping[str, str] | None = None) -> Registry:
    return load_plugins(environ or {}, roles=["cleaner"])


def test_the_core_enters_through_its_own_hooks(install: Install) -> None:
    registry = cleaners()
    names = registry.components("cleaner")
    assert list(names) == ["NoCleaner", "TweetCleaner"]
    assert registry.source(names["TweetCleaner"]) == "tocsin"
    assert registry.find("cleaner", "TweetCleaner") is names["TweetCleaner"]
    assert (registry.on, registry.off) == ([], [])


def test_a_plugin_adds_a_component(install: Install) -> None:
    install(
        "good",
        entry_points={GROUP: {"g": "good_plugin"}},
        modules={"good_plugin": CLEANER.format(name="Scrub")},
    )
    registry = cleaners()
    assert registry.source(registry.find("cleaner", "Scrub")) == "good"
    assert [plugin.distribution for plugin in registry.on] == ["good"]


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_plugin_is_off_with_its_cause_and_the_rest_works(install: Install, kind: str) -> None:
    import re

    source, cause = BROKEN[kind]
    module = f"broken_{kind.replace('-', '_')}"
    install("broken", version="0.3", entry_points={GROUP: {"b": module}}, modules={module: source})
    install(
        "good",
        entry_points={GROUP: {"g": f"good_beside_{module}"}},
        modules={f"good_beside_{module}": CLEANER.format(name=f"Scrub{kind.title().replace('-', '')}")},
    )
    registry = cleaners()
    (off,) = registry.off
    assert (off.name, off.distribution, off.version) == ("b", "broken", "0.3")
    assert re.search(cause, off.cause), off.cause
    assert [plugin.distribution for plugin in registry.on] == ["good"]
    assert registry.source(registry.find("cleaner", "TweetCleaner")) == "tocsin"


def test_a_refused_plugins_classes_are_hidden_from_the_parser(install: Install) -> None:
    source = CLEANER.format(name="Leftover") + "\nraise RuntimeError('half way')\n"
    install("broken", entry_points={GROUP: {"b": "half_way"}}, modules={"half_way": source})
    cleaners()
    from tocsin.plugins import Cleaner

    left = [part for part in Cleaner.__subclasses__() if part.__name__ == "Leftover"]
    assert left
    assert all(inspect.isabstract(part) for part in left)


def test_the_first_of_two_plugins_keeps_a_name(install: Install) -> None:
    for name in ("aa", "bb"):
        source = CLEANER.format(name="Shared")
        install(name, entry_points={GROUP: {name: f"shared_{name}"}}, modules={f"shared_{name}": source})
    registry = cleaners()
    assert registry.source(registry.find("cleaner", "Shared")) == "aa"
    assert "already offered by aa" in registry.off[0].cause


def test_strict_raises_and_off_imports_nothing(install: Install) -> None:
    install(
        "broken",
        entry_points={GROUP: {"b": "strictly_broken"}},
        modules={"strictly_broken": "import nope_nope"},
    )
    with pytest.raises(PluginError, match=r"b \(broken 1.0\): ModuleNotFoundError"):
        cleaners({"TOCSIN_PLUGINS": "strict"})
    assert "switched off by TOCSIN_PLUGINS" in cleaners({"TOCSIN_PLUGINS": "off"}).off[0].cause


def test_a_plugin_for_other_hooks_is_refused_by_name_before_it_is_imported(install: Install) -> None:
    install("future", entry_points={"tocsin.v2": {"f": "exits"}}, modules={"exits": "raise SystemExit(9)"})
    (off,) = cleaners().off
    assert "tocsin.v2, this Tocsin has tocsin.v1" in off.cause


def test_an_unknown_component_names_the_closest_the_known_and_what_is_off(install: Install) -> None:
    install(
        "broken", entry_points={GROUP: {"b": "quite_broken"}}, modules={"quite_broken": "import nope_nope"}
    )
    with pytest.raises(ConfigError) as caught:
        cleaners().find("cleaner", "TwetCleaner")
    message = str(caught.value)
    assert "No cleaner is called 'TwetCleaner'. Did you mean 'TweetCleaner'?" in message
    assert "Known cleaners: NoCleaner, TweetCleaner." in message
    assert "b (broken 1.0): ModuleNotFoundError" in message


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no role 'haed'. Did you mean 'head'\?"):
        Registry().components("haed")


def test_observers_see_the_moment_and_their_failures_are_warnings(install: Install) -> None:
    source = (
        "from tocsin.plugins import hookimpl\nseen = []\n"
        "@hookimpl\ndef tocsin_run_started(run): seen.append(run)\n"
        "@hookimpl\ndef tocsin_run_ended(run, error): raise ValueError('tired')\n"
    )
    install("watcher", entry_points={GROUP: {"w": "watching"}}, modules={"watching": source})
    registry = cleaners()
    registry.notify("tocsin_run_started", run="the run")
    import watching

    assert watching.seen == ["the run"]
    with pytest.warns(UserWarning, match="watcher:w failed in tocsin_run_ended: ValueError: tired"):
        registry.notify("tocsin_run_ended", run="the run", error=None)


def test_two_registries_are_independent(install: Install) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cleaners().components("cleaner") == cleaners().components("cleaner")
