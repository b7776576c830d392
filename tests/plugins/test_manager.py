"""Plugins are loaded one by one: a broken one names itself, and the rest works."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping

import pytest

from tests.plugins.distributions import Install
from tocsin.arguments import Origin
from tocsin.errors import ConfigError, PluginError
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import PluginWarning, Registry

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
    "returns-nothing": (
        "from tocsin.plugins import hookimpl\n@hookimpl\ndef tocsin_cleaners(): pass",
        r"returned None; a list of classes is wanted. Have you forgotten `return`\?",
    ),
    "wrapper": (
        CLEANER.format(name="Wrapped")
        .replace("@hookimpl", "@hookimpl(wrapper=True)")
        .replace("return", "yield"),
        "Its tocsin_cleaners is a wrapper",
    ),
    "open-arguments": (
        CLEANER.format(name="Open").replace(
            "    def clean", "    def __init__(self, **rest): pass\n    def clean"
        ),
        r"Open, whose constructor takes \*\*rest",
    ),
    "no-annotation": (
        CLEANER.format(name="Bare").replace(
            "    def clean", "    def __init__(self, width=3): pass\n    def clean"
        ),
        "Bare, whose argument width has no type.*Annotate it, for instance width: float",
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
    assert [plugin.origin.distribution for plugin in registry.on] == ["good"]


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
    assert (off.name, off.origin) == ("b", Origin("broken", "0.3"))
    assert re.search(cause, off.cause), off.cause
    assert [plugin.origin.distribution for plugin in registry.on] == ["good"]
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
    with pytest.warns(
        UserWarning, match=r"The plugin w \(watcher 1.0\): it failed in tocsin_run_ended: ValueError: tired"
    ):
        registry.notify("tocsin_run_ended", run="the run", error=None)


def test_a_slow_import_is_reported_and_used(install: Install) -> None:
    source = "import time\ntime.sleep(0.6)\n" + CLEANER.format(name="Leisurely")
    install("sleeper", entry_points={GROUP: {"s": "sleeping_plugin"}}, modules={"sleeping_plugin": source})
    with pytest.warns(PluginWarning, match=r"The plugin s \(sleeper 1.0\) took 0\.\d s to import"):
        registry = cleaners()
    assert "Leisurely" in registry.components("cleaner")
    (plugin,) = registry.on
    assert plugin.slow
    assert plugin.hooks == ("tocsin_cleaners",)
    assert plugin.import_seconds > 0.6 > plugin.offer_seconds


def test_a_refused_plugin_does_not_take_the_classes_of_another_with_it(install: Install) -> None:
    """The first uses the second's class and then fails: the second must not pay for it."""
    source = CLEANER.format(name="Borrowed")
    install("z-lender", entry_points={GROUP: {"z": "lending_plugin"}}, modules={"lending_plugin": source})
    borrower = "from lending_plugin import Borrowed\nraise RuntimeError('after the loan')"
    install(
        "a-borrower", entry_points={GROUP: {"a": "borrowing_plugin"}}, modules={"borrowing_plugin": borrower}
    )
    registry = cleaners()
    assert [off.name for off in registry.off] == ["a"]
    assert registry.source(registry.find("cleaner", "Borrowed")) == "z-lender"


def test_plugins_add_sections_to_a_report_and_a_faulty_one_is_named(install: Install) -> None:
    from tests.scores.cases import make_table

    source = (
        "from tocsin.plugins import Section, hookimpl\n"
        "@hookimpl\ndef tocsin_report_sections(scores):\n"
        "    return [Section('Messages', ('', 'count'), (('all', str(len(scores))),))]\n"
    )
    install("counter", entry_points={GROUP: {"c": "counting_plugin"}}, modules={"counting_plugin": source})
    wrong = source.replace("[Section('Messages', ('', 'count'), (('all', str(len(scores))),))]", "'many'")
    install("talker", entry_points={GROUP: {"t": "talking_plugin"}}, modules={"talking_plugin": wrong})
    leaver = source.replace("return [", "raise SystemExit(4)\n    return [")
    install("leaver", entry_points={GROUP: {"l": "leaving_plugin"}}, modules={"leaving_plugin": leaver})
    registry = cleaners()
    with pytest.warns(PluginWarning) as caught:
        (section,) = registry.report_sections(make_table(7))
    assert section.rows == (("all", "7"),)
    told = [str(one.message) for one in caught]
    assert "The plugin l (leaver 1.0): it failed in tocsin_report_sections: it called sys.exit(4)." in told
    assert any("t (talker 1.0): tocsin_report_sections returned a str, 'many'" in text for text in told)


def test_two_registries_are_independent(install: Install) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cleaners().components("cleaner") == cleaners().components("cleaner")
