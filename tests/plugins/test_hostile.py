"""Plugins that do odd things: none takes another's components, numbers or output with it."""

from __future__ import annotations

import copy
import json
import os
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.cli.configs import write_config, write_files
from tests.plugins.distributions import Install
from tocsin.cli.main import main
from tocsin.errors import PluginError
from tocsin.plugins.discovery import COMMANDS, GROUP, declared
from tocsin.plugins.functions import load_function
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import PluginWarning, Registry

CLASS = """
class {name}(Cleaner):
    '''Leaves a text as it is.'''
    def clean(self, text: str) -> str:
        return text
"""
HEAD = "from tocsin.plugins import Cleaner, hookimpl\n"
OFFER = "@hookimpl\ndef tocsin_cleaners():\n    return [{names}]\n"


def plugin(*names: str, offered: tuple[str, ...] | None = None) -> str:
    classes = "".join(CLASS.format(name=name) for name in names)
    return HEAD + classes + OFFER.format(names=", ".join(names if offered is None else offered))


def cleaners(**environ: str) -> Registry:
    return load_plugins(environ, roles=["cleaner"])


def test_a_class_imported_in_a_hook_counts_as_brought_along(install: Install) -> None:
    modules = {
        "hostile_lazy": HEAD
        + "@hookimpl\ndef tocsin_cleaners():\n    from hostile_lazy_impl import LazyC\n    return [LazyC]\n",
        "hostile_lazy_impl": plugin("LazyC", "TweetCleaner", offered=()),
    }
    install("lazy", entry_points={GROUP: {"lazy": "hostile_lazy"}}, modules=modules)
    registry = cleaners()
    assert "TweetCleaner, a name already offered by tocsin" in registry.off[0].cause
    assert "LazyC" not in registry.components("cleaner")


def test_an_unoffered_class_gives_way_to_a_later_plugins(install: Install) -> None:
    source = plugin("HostileFirst", "HostileLate", offered=("HostileFirst",))
    install("aa", entry_points={GROUP: {"aa": "hostile_aa"}}, modules={"hostile_aa": source})
    install("zz", entry_points={GROUP: {"zz": "hostile_zz"}}, modules={"hostile_zz": plugin("HostileLate")})
    with pytest.warns(
        PluginWarning, match="hostile_aa defines a HostileLate that nobody offers, beside that of zz"
    ):
        registry = cleaners()
    assert {plugin.name for plugin in registry.on} == {"aa", "zz"}
    from hostile_aa import HostileLate

    from tocsin.plugins.manager import _HIDDEN

    assert _HIDDEN in vars(HostileLate)


def test_two_entry_points_of_one_package_stand_alone(install: Install, tmp_path: Path) -> None:
    package = tmp_path / "site" / "hostile_pair"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "good.py").write_text(plugin("PairCleaner"))
    (package / "worse.py").write_text("import hostile_pair.good\n1 / 0\n")
    for names in (("good", "worse"), ("zgood", "aworse")):  # in either order
        for module in [name for name in sys.modules if name.startswith("hostile_pair")]:
            del sys.modules[module]
        entry_points = {names[0]: "hostile_pair.good", names[1]: "hostile_pair.worse"}
        install(f"pair-{names[0]}", entry_points={GROUP: entry_points})
    registry = cleaners(TOCSIN_PLUGINS="pair-zgood")
    assert [off.name for off in registry.off if off.broken] == ["aworse"]
    found = registry.find("cleaner", "PairCleaner")
    assert found().clean("as it is") == "as it is"


def test_the_core_is_never_hidden(install: Install) -> None:
    install("bad", entry_points={GROUP: {"bad": "tocsin.plugins"}})
    registry = cleaners()
    assert "It implements no hook" in registry.off[0].cause
    assert registry.find("cleaner", "TweetCleaner")().clean("a") == "a"


def test_an_offered_class_of_a_refused_plugin_stays(install: Install) -> None:
    lender = plugin("LentCleaner").replace("@hookimpl", "raise RuntimeError('too late')\n@hookimpl")
    install("zzz", entry_points={GROUP: {"zzz": "hostile_lender"}}, modules={"hostile_lender": lender})
    whole = lender.replace("raise RuntimeError('too late')\n", "import sys\n")
    borrower = HEAD + "from hostile_lent import LentCleaner\n" + OFFER.format(names="LentCleaner")
    modules = {"hostile_borrower": borrower, "hostile_lent": whole}
    install("aaa", entry_points={GROUP: {"aaa": "hostile_borrower"}}, modules=modules)
    registry = cleaners()
    assert [off.name for off in registry.off] == ["zzz"]
    assert registry.find("cleaner", "LentCleaner")().clean("a") == "a"


def test_a_class_hidden_once_can_be_offered_later(install: Install) -> None:
    """A notebook loads plugins again with others switched off."""
    install("al", entry_points={GROUP: {"al": "hostile_al"}}, modules={"hostile_al": plugin("TwinCleaner")})
    install("be", entry_points={GROUP: {"be": "hostile_be"}}, modules={"hostile_be": plugin("TwinCleaner")})
    assert [off.name for off in cleaners().off] == ["be"]
    again = cleaners(TOCSIN_PLUGINS="be")
    assert again.source(again.find("cleaner", "TwinCleaner")) == "be"


@pytest.mark.parametrize(
    ("points", "cause"),
    [
        ("[tocsin.v1]\nodd = my-plugin\n", "its entry point says 'my-plugin'; wanted: module"),
        ("[tocsin.v1]\nodd\n", "its entry_points.txt cannot be read"),
    ],
)
def test_malformed_metadata_is_a_broken_plugin(
    install: Install, tmp_path, points: str, cause: str, capsys
) -> None:
    install("odd", entry_points={})
    next((tmp_path / "site").glob("odd*")).joinpath("entry_points.txt").write_text(points)
    install(
        "good", entry_points={GROUP: {"good": "hostile_good"}}, modules={"hostile_good": plugin("GoodOne")}
    )
    registry = cleaners()
    assert cause in registry.off[0].cause
    assert registry.find("cleaner", "GoodOne")
    assert main(["--help"]) == 0
    assert main(["plugins"]) == 0
    assert cause in capsys.readouterr().out


def test_metadata_that_is_no_text_is_passed_over(install: Install, tmp_path: Path) -> None:
    install("latin", entry_points={})
    next((tmp_path / "site").glob("latin*")).joinpath("entry_points.txt").write_bytes(b"[x]\n\xe9 = y\n")
    assert declared(GROUP) == []


def test_a_plugin_that_is_switched_off_can_still_be_used_from_python(install: Install) -> None:
    install(
        "quiet", entry_points={GROUP: {"quiet": "hostile_quiet"}}, modules={"hostile_quiet": plugin("QuietC")}
    )
    cleaners()
    assert "QuietC" not in cleaners(TOCSIN_PLUGINS="off").components("cleaner")
    from hostile_quiet import QuietC

    assert QuietC().clean("a") == "a"


ODD = {
    "an error that cannot say itself": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd()",
        "Odd",
    ),
    "a class of another module": (
        plugin("Displaced").replace("@hookimpl", "Displaced.__module__ = 'generated.stuff'\n@hookimpl"),
        "not to be found as generated.stuff.Displaced: define it at the top of a module",
    ),
    "a class inside a function": (
        HEAD
        + "def make():\n"
        + "\n".join("    " + line for line in CLASS.format(name="Inner").splitlines())
        + "\n    return Inner\nInnerClass = make()\n"
        + OFFER.format(names="InnerClass"),
        "define it at the top of a module",
    ),
    "a type for type checkers alone": (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from pathlib import Path\n"
        + plugin("Typed").replace(
            "    def clean", "    def __init__(self, path: Path, n: int = 1): pass\n    def clean"
        ),
        "whose argument path has the type 'Path', which cannot be found at run time",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_plugins_are_named_and_end_nothing(install: Install, kind: str) -> None:
    source, cause = ODD[kind]
    module = "hostile_odd_" + str(sorted(ODD).index(kind))
    install("odd", entry_points={GROUP: {"odd": module}}, modules={module: source})
    registry = cleaners()
    assert cause in registry.off[0].cause
    assert registry.find("cleaner", "TweetCleaner")


DISTURBING = """
import os, random, sys, warnings
import numpy, torch
from tocsin.plugins import hookimpl

def disturb():
    random.random(); numpy.random.rand(3); torch.rand(5)
    torch.set_default_dtype(torch.float64)
    os.chdir("/")
    warnings.simplefilter("error")

disturb()
print("hello")

@hookimpl
def tocsin_run_started(run):
    disturb()
"""


def test_what_belongs_to_the_process_is_put_back(
    install: Install, tmp_path: Path, monkeypatch, capsys
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    install("loud", entry_points={GROUP: {"loud": "hostile_loud"}}, modules={"hostile_loud": DISTURBING})

    def state() -> tuple[object, ...]:
        drawn = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        return *drawn, torch.get_default_dtype(), os.getcwd(), list(warnings.filters)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = state()
        registry = cleaners()
        assert state() == before
        assert capsys.readouterr() == ("", "hello\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = state()
        registry.notify("tocsin_run_started", run=None)
        assert state() == before
    changed = "torch's default dtype and the working folder and the warning filters, which was put back"
    assert f"The plugin loud (loud 1.0): in tocsin_run_started it changed {changed}." in str(
        caught[0].message
    )


def test_json_stays_json_beside_a_plugin_that_prints(install: Install, capsys) -> None:
    source = "print('hello')\n" + plugin("PrintingCleaner")
    install("loud", entry_points={GROUP: {"loud": "hostile_printing"}}, modules={"hostile_printing": source})
    assert main(["plugins", "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plugins"][0]["state"] == "ok"


def test_a_verb_that_raises_our_own_error_is_named(install: Install, capsys) -> None:
    source = "from tocsin.plugins import ConfigError\nraise ConfigError('settings missing')"
    install("settings", entry_points={COMMANDS: {"set": "hostile_verb:x"}}, modules={"hostile_verb": source})
    with pytest.raises(
        PluginError, match=r"The verb 'set' of settings 1\.0 cannot be loaded: ConfigError: settings missing"
    ):
        load_function(declared(COMMANDS)[0])
    assert main(["plugins", "--check"]) == 1
    assert "settings missing" in capsys.readouterr().out


def test_names_in_the_environment_are_compared_as_pip_does(install: Install) -> None:
    install(
        "My_Odd.Name",
        entry_points={GROUP: {"n": "hostile_named"}},
        modules={"hostile_named": plugin("NamedC")},
    )
    assert "NamedC" in cleaners(TOCSIN_PLUGINS="my-odd-name").components("cleaner")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from jsonargparse import _common

    monkeypatch.setattr(_common, "parsing_settings", dict(_common.parsing_settings))
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TOCSIN_RUN_FOLDER"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    write_config(tmp_path)
    return tmp_path


STRICT = plugin("StrictCleaner").replace(
    "    def clean",
    "    def __init__(self, width: int = 1) -> None:\n"
    "        if width < 2: raise ValueError('width must be 2 or more')\n    def clean",
)
FIT = ["fit", "--config", "experiments/tiny/config.yaml"]


def test_a_constructors_error_is_one_sentence(install: Install, work: Path, capsys) -> None:
    install("strict", entry_points={GROUP: {"strict": "hostile_strict"}}, modules={"hostile_strict": STRICT})
    assert main([*FIT, "--data.init_args.cleaner", "StrictCleaner"]) == 2
    told = capsys.readouterr().err
    assert (
        "tocsin: StrictCleaner (strict 1.0) cannot be built: ValueError: width must be 2 or more.\n" in told
    )
    assert "Traceback" not in told


def test_a_saved_config_names_the_plugin_that_is_off_or_gone(
    install: Install, work: Path, monkeypatch, capsys
) -> None:
    from jsonargparse import _common

    modules = {"hostile_gone": plugin("GoneCleaner")}
    install("gone", version="0.7", entry_points={GROUP: {"gone": "hostile_gone"}}, modules=modules)
    settings = copy.deepcopy(_common.parsing_settings)
    assert main([*FIT, "--data.init_args.cleaner", "GoneCleaner"]) == 0
    # what one parser of a process may name, a later one may too: another process knows nothing of it
    monkeypatch.setattr(_common, "parsing_settings", settings)
    test = ["test", "--config", "runs/tiny/latest-fit/config.yaml"]
    with monkeypatch.context() as patch:
        patch.setenv("TOCSIN_PLUGINS", "off")
        assert main(test) == 2
    told = capsys.readouterr().err
    assert "'hostile_gone.GoneCleaner' may not be named here" in told
    assert "gone (gone 0.7): switched off by TOCSIN_PLUGINS" in told
    for path in (work / "site").glob("gone*/*"):
        path.unlink()
    assert main(test) == 2
    assert "That run used plugins that are not installed here: gone 0.7." in capsys.readouterr().err


def test_sections_of_the_wrong_shape_are_left_out(install: Install) -> None:
    from tests.scores.cases import make_table

    for number, section in enumerate(
        (
            "Section('T', ('a', 'b'), (('x', 1),))",
            "Section('T', ('a', 'b'), (('x',),))",
            "Section('T', ('a',), (('x',),), 'a note')",
        )
    ):
        module = f"hostile_section_{number}"
        source = (
            "from tocsin.plugins import Section, hookimpl\n"
            f"@hookimpl\ndef tocsin_report_sections(scores):\n    return [{section}]\n"
        )
        install(f"s{number}", entry_points={GROUP: {f"s{number}": module}}, modules={module: source})
    registry = cleaners()
    with pytest.warns(PluginWarning) as caught:
        assert registry.report_sections(make_table(5)) == []
    told = [str(one.message) for one in caught]
    assert "a tuple of text is wanted: write numbers out" in told[0]
    assert "1 cells in row 1 and 2 columns" in told[1]
    assert "has 'a note' as notes" in told[2]
