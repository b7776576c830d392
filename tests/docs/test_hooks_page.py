"""docs/hooks.md is the page of the hooks: a section each under its signature; and what its guide shows works."""

from __future__ import annotations

import configparser
import csv
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.hooks_page import PAGE, faults, hook_sections, hooks_of, sections, written_signature
from tests.plugins.distributions import Install
from tests.plugins.door_imports import foreign_imports
from tocsin.cli.main import main
from tocsin.plugins import hookspecs, testing
from tocsin.plugins.discovery import COMMANDS, DATASETS, GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.roles import ROLES

TEXT = PAGE.read_text(encoding="utf-8")
HOOKS = hooks_of(hookspecs)
SECTIONS = {section.hook: section for section in hook_sections(TEXT)}
GUIDE = {section.heading: section for section in sections(TEXT) if section.hook not in SECTIONS}
ROLE_OF = {role.hook: name for name, role in ROLES.items()}


# The page ------------------------------------------------------------------------------------------------------------


def test_each_hook_has_one_section_under_its_signature_with_a_short_plugin() -> None:
    assert faults(TEXT, hookspecs) == []


def test_signatures_are_those_of_the_source() -> None:
    """Headings are compared with what is written, not with what Python makes of it."""
    assert written_signature(hookspecs.tocsin_heads) == "tocsin_heads() -> Sequence[type[Head]]"
    source = Path(str(hookspecs.__file__)).read_text(encoding="utf-8")
    for hook in HOOKS.values():
        assert f"def {written_signature(hook)}:" in source


HEADS = "## tocsin_heads() -> Sequence[type[Head]]"
ENDED = "## tocsin_run_ended(run: Run, error: BaseException | None) -> None"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (HEADS, "### Heads", "tocsin_heads has no section"),
        (HEADS, HEADS.replace("Head]", "Module]"), "is headed otherwise than its hook"),
        (ENDED, ENDED.replace(" | None", ""), "is headed otherwise than its hook"),
        (ENDED, ENDED.replace("error", "problem"), "is headed otherwise than its hook"),
        (HEADS, f"## tocsin_widgets() -> Sequence[type[Widget]]\n\n{HEADS}", "is a section of no hook"),
        (HEADS, f"{HEADS}\n\n{HEADS}", "tocsin_heads has 2 sections"),
        ("return [BottleneckHead]\n", "return [BottleneckHead]\n" + "# more\n" * 25, "the plugin has"),
        ("def tocsin_heads() -> list[type[Head]]", "def tocsin_head()", "does not implement the hook"),
    ],
)
def test_the_guard_sees_what_is_wrong_with_a_page(old: str, new: str, fault: str) -> None:
    assert old in TEXT
    found = faults(TEXT.replace(old, new), hookspecs)
    assert any(fault in problem for problem in found), found


def test_the_guard_sees_sections_out_of_order_and_a_new_hook() -> None:
    heads, ended = SECTIONS["tocsin_heads"], SECTIONS["tocsin_run_ended"]
    swapped = TEXT.replace(heads.heading, "X").replace(ended.heading, heads.heading)
    assert faults(swapped.replace("## X", f"## {ended.heading}"), hookspecs)
    reordered = "".join(f"## {section.heading}\n{section.body}" for section in reversed(SECTIONS.values()))
    (fault,) = faults(reordered, hookspecs)
    assert fault.startswith("the sections stand in the order tocsin_run_ended, tocsin_run_started")
    grown = ModuleType("grown")
    vars(grown).update(HOOKS, tocsin_widgets=hookspecs.tocsin_heads)
    assert faults(TEXT, grown) == ["tocsin_widgets has no section"]


def test_a_heading_inside_a_fence_is_none() -> None:
    page = "## tocsin_heads() -> X\n```python\n## tocsin_readers() -> Y\n```\n"
    assert [section.hook for section in sections(page)] == ["tocsin_heads"]


def test_the_table_lists_each_hook_with_what_it_offers() -> None:
    rows = [line.split("|")[1:4] for line in GUIDE["The hooks"].body.splitlines() if "`tocsin_" in line]
    offered = {hook.strip(" `"): what.strip(" `") for hook, what, _ in rows}
    assert offered == {name: ROLES[ROLE_OF[name]].base if name in ROLE_OF else "observes" for name in HOOKS}
    assert len(rows) == len(HOOKS)
    assert all(contract.strip() for *_, contract in rows)


def test_what_is_shown_imports_only_the_door() -> None:
    shown = [code for section in sections(TEXT) for code in section.fences("python")]
    assert len(shown) > len(SECTIONS)
    assert [found for code in shown for found in foreign_imports(code)] == []


# The guide above the sections ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smallest(install: Install) -> str:
    """The page's first plugin, installed as its own setup.cfg says; the name of its distribution."""
    guide = GUIDE["A plugin"]
    settings = configparser.ConfigParser(delimiters="=")
    settings.read_string(guide.fences("ini")[0])
    points = dict(line.split(" = ") for line in settings["options.entry_points"][GROUP].strip().splitlines())
    module = settings["options"]["py_modules"]
    assert points == {"lab-texts": module}
    assert settings["options"]["install_requires"] == "tocsin"
    install(
        settings["metadata"]["name"],
        version=settings["metadata"]["version"],
        summary=settings["metadata"]["description"],
        entry_points={GROUP: points},
        modules={module: guide.fences("python")[0]},
    )
    return settings["metadata"]["name"]


def test_the_smallest_plugin_works(smallest: str, capsys: pytest.CaptureFixture[str]) -> None:
    cleaner = load_plugins({}, roles=["cleaner"]).find("cleaner", "LowerCase")
    testing.check_cleaner(cleaner)
    assert cleaner().clean("Need WATER") == "need water"
    assert main(["components", "cleaner"]) == 0
    assert "LowerCase" in capsys.readouterr().out
    assert main(["plugins"]) == 0
    assert "lab-texts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "found"), [("", True), ("off", False), ("lab-texts", True), ("strict", True)]
)
def test_the_environment_does_as_the_table_says(smallest: str, value: str, found: bool) -> None:
    rows = GUIDE["Which plugins are used"].body
    assert (f"`{value}`" if value else "| unset |") in rows or f"`{value}," in rows
    registry = load_plugins({"TOCSIN_PLUGINS": value}, roles=["cleaner"])
    assert ("LowerCase" in registry.components("cleaner")) is found


def test_the_hook_that_imports_its_class_works(install: Install, tmp_path: Path) -> None:
    lazy = GUIDE["A plugin"].fences("python")[1]
    assert "from lab_heads.bottleneck import BottleneckHead" in lazy
    (source,) = SECTIONS["tocsin_heads"].fences("python")
    # A name of its own: the page's example is installed by another test.
    lazy, source = (text.replace("BottleneckHead", "LazyBottleneckHead") for text in (lazy, source))
    lazy = lazy.replace("lab_heads.bottleneck", "lab_heads_bottleneck")
    install(
        "lab-heads",
        entry_points={GROUP: {"lab-heads": "lab_heads"}},
        modules={"lab_heads": lazy, "lab_heads_bottleneck": source.partition("@hookimpl")[0]},
    )
    assert "LazyBottleneckHead" in load_plugins({}, roles=["head"]).components("head")


def test_the_verb_runs(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = GUIDE["Verbs and data sets"]
    assert "`disk-use = lab_disk:main`" in " ".join(guide.body.split())
    install(
        "lab-disk",
        summary="Disk of runs",
        entry_points={COMMANDS: {"disk-use": "lab_disk:main"}},
        modules={"lab_disk": guide.fences("python")[0]},
    )
    for name, size in (("small", 200_000), ("large", 3_000_000)):
        folder = tmp_path / "runs" / name / "2026-11-21T18-04-05-fit"
        folder.mkdir(parents=True)
        (folder / "scores.parquet").write_bytes(bytes(size))
    monkeypatch.chdir(tmp_path)
    assert main(["--help"]) == 0
    assert "Disk of runs [lab-disk]" in capsys.readouterr().out
    assert main(["disk-use"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["3.0", "0.2"]
    assert "large" in lines[0]


def test_the_data_set_is_fetched(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = GUIDE["Verbs and data sets"]
    assert "`practice-messages = lab_practice:practice_messages`" in " ".join(guide.body.split())
    install(
        "lab-practice",
        summary="Messages to practise on",
        entry_points={DATASETS: {"practice-messages": "lab_practice:practice_messages"}},
        modules={"lab_practice": guide.fences("python")[1]},
    )
    monkeypatch.chdir(tmp_path)
    assert main(["fetch"]) == 0
    assert "Messages to practise on [lab-practice 1.0]" in capsys.readouterr().out
    assert main(["fetch", "practice-messages"]) == 0
    with (tmp_path / "data" / "practice-messages.csv").open(newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)][:2] == [
            ("text", "flood", "fire"),
            ("The river stands in our kitchen", "1", "0"),
        ]
