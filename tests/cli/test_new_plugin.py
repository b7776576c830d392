"""`tocsin new-plugin`: what it writes, what it refuses, and that a plugin of every role works as it is written."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.distributions import Install, write_distribution
from tocsin.cli.main import main
from tocsin.plugins import templates
from tocsin.plugins.roles import ROLES
from tocsin.plugins.templates import NewPlugin, new_plugin

RULES = Path(__file__).parents[2] / "ruff.toml"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install) -> Path:
    """An empty working folder; `install` hides the plugins of the working copy."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(plugin: NewPlugin, folder: Path) -> Path:
    """Write a plugin's files without asking what is installed."""
    for name, content in plugin.files().items():
        path = folder / plugin.distribution / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder / plugin.distribution


def plugin_of_each_role(folder: Path, name: str) -> list[NewPlugin]:
    plugins = [new_plugin(f"{name}-{role}", role) for role in ROLES]
    for plugin in plugins:
        write(plugin, folder)
    return plugins


def test_a_plugin_is_written_and_shown(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-plugin", "stranger"]) == 0
    folder = work / "tocsin-stranger"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "README.md",
        "pyproject.toml",
        "setup.cfg",
        "tests/test_head.py",
        "tocsin_stranger/__init__.py",
        "tocsin_stranger/head.py",
        "tocsin_stranger/py.typed",
    ]
    assert "class StrangerHead(Head):" in (folder / "tocsin_stranger" / "head.py").read_text()
    assert "    head: StrangerHead\n" in (folder / "README.md").read_text()
    out = capsys.readouterr().out
    assert out.startswith("tocsin-stranger/\n├── README.md\n")
    assert "    ├── head.py       StrangerHead itself" in out
    assert out.endswith(
        "\nNext:\n  pip install -e tocsin-stranger\n  pytest tocsin-stranger\n  tocsin components StrangerHead\n"
    )


@pytest.mark.parametrize(
    ("name", "role", "distribution", "component"),
    [
        ("stranger", "Head", "tocsin-stranger", "StrangerHead"),
        ("tocsin-stranger", "head", "tocsin-stranger", "StrangerHead"),
        ("early-alarm", "Head", "tocsin-early-alarm", "EarlyAlarmHead"),
        ("tocsin_early_alarm", "label-scheme", "tocsin-early-alarm", "EarlyAlarmLabelScheme"),
        ("label-attention-head", "Head", "tocsin-label-attention-head", "LabelAttentionHead"),
        ("two-column-pair-reader", "pair_reader", "tocsin-two-column-pair-reader", "TwoColumnPairReader"),
        ("e5", "LabelScheme", "tocsin-e5", "E5LabelScheme"),
        ("step-2", "VECTOR-LOSS", "tocsin-step-2", "Step2VectorLoss"),
        ("head", "Head", "tocsin-head", "HeadHead"),
    ],
)
def test_names_follow_from_the_name(name: str, role: str, distribution: str, component: str) -> None:
    plugin = new_plugin(name, role)
    assert (plugin.distribution, plugin.component) == (distribution, component)
    assert plugin.module == distribution.replace("-", "_")
    assert plugin.module.isidentifier()


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_taken_under_each_of_its_spellings(role: str) -> None:
    base = ROLES[role].base
    for spelling in (role, base, role.replace("_", "-"), role.upper()):
        assert new_plugin("stranger", spelling).component == f"Stranger{base}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["EarlyAlarm"], "'EarlyAlarm' cannot be a plugin's name. Did you mean 'early-alarm'?"),
        (["early alarm"], "Did you mean 'early-alarm'?"),
        (["tocsin-"], "'tocsin-' cannot be a plugin's name. Lower-case words"),
        (["2-steps"], "a letter first"),
        (["../escape"], "Did you mean 'escape'?"),
        (["früh"], "a to z"),
        (
            ["stranger", "--role", "Haed"],
            "there is no role 'Haed'. Did you mean Head? Roles: Reader, PairReader",
        ),
        (["stranger", "--role", "LabelSheme"], "Did you mean LabelScheme?"),
        (["stranger", "--folder", ""], "--folder is empty"),
        (["linear"], "LinearHead is a head of tocsin already"),
        (["tweet", "--role", "cleaner"], "TweetCleaner is a cleaner of tocsin already"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    arguments: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-plugin", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(work.parent.rglob("tocsin-*"))


def test_a_folder_that_holds_something_is_left_alone(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = work / "tocsin-stranger"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert main(["new-plugin", "stranger", "--role", "cleaner"]) == 2
    assert "tocsin-stranger exists and is not empty; nothing was written" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    assert main(["new-plugin", "stranger", "--role", "cleaner"]) == 0, "an empty folder is filled"
    assert (folder / "tocsin_stranger" / "cleaner.py").is_file()


def test_another_folder_can_be_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-plugin", "stranger", "--role", "cleaner", "--folder", "our plugins"]) == 0
    assert (work / "our plugins" / "tocsin-stranger" / "setup.cfg").is_file()
    assert "pip install -e 'our plugins/tocsin-stranger'" in capsys.readouterr().out
    (work / "file").touch()
    assert main(["new-plugin", "stranger", "--role", "cleaner", "--folder", "file"]) == 2
    assert "--folder: file is a file; a folder is wanted." in capsys.readouterr().err


def test_a_name_that_is_installed_is_refused(
    install: Install, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("tocsin-stranger", entry_points={}, version="3.2")
    assert main(["new-plugin", "stranger", "--role", "cleaner"]) == 2
    error = capsys.readouterr().err
    assert "tocsin-stranger 3.2 is installed already" in error
    assert "pip uninstall tocsin-stranger" in error


def test_a_component_of_another_plugin_is_refused(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = new_plugin("stranger", "cleaner")
    source = plugin.files()["tocsin_stranger/cleaner.py"] + "\n\nfrom tocsin.plugins import hookimpl\n"
    source += "\n\n@hookimpl\ndef tocsin_cleaners():\n    return [StrangerCleaner]\n"
    install("stranger-things", entry_points={"tocsin.v1": {"things": "things"}}, modules={"things": source})
    assert main(["new-plugin", "stranger", "--role", "cleaner"]) == 2
    assert "StrangerCleaner is a cleaner of stranger-things already" in capsys.readouterr().err


def test_a_failed_write_leaves_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Path] = []

    def write_text(path: Path, content: str, **_: object) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)

    monkeypatch.setattr(Path, "write_text", write_text)
    assert main(["new-plugin", "stranger", "--role", "cleaner"]) == 2
    assert "tocsin-stranger cannot be written: No space left on device." in capsys.readouterr().err
    assert len(written) == 2
    assert not list(work.iterdir())


@pytest.mark.parametrize("name", ["stranger", "early-alarm"])
def test_the_code_is_linted_and_formatted(name: str, work: Path) -> None:
    pytest.importorskip("ruff", reason="linting needs the extra dev")
    plugin_of_each_role(work, name)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--diff"]):
        # As a stranger would, by the plugin's own settings; then by the rules of this repository.
        for rules in ([], ["--config", str(RULES)]):
            done = subprocess.run(
                [*ruff, *command, *rules, "--no-cache", "."], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_a_component_imports_nothing_of_ours_but_the_door(role: str) -> None:
    plugin = new_plugin("stranger", role)
    files = plugin.files()
    of_ours = set()
    for name in (f"{plugin.module}/__init__.py", f"{plugin.module}/{role}.py"):
        for node in ast.walk(ast.parse(files[name])):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            of_ours |= {module for module in modules if module.split(".")[0] == "tocsin"}
    assert of_ours == {"tocsin.plugins"}


@pytest.mark.parametrize("role", ROLES)
def test_no_placeholder_is_left(role: str) -> None:
    for name, content in new_plugin("stranger", role).files().items():
        assert "template" not in (name + content).lower().replace("templateprocessing", ""), name
        assert "$" not in content.replace("${", ""), name


def test_the_texts_are_installed_with_the_framework() -> None:
    setup = configparser.ConfigParser()
    setup.read(RULES.with_name("setup.cfg"), encoding="utf-8")
    pattern = setup["options.package_data"]["tocsin.plugins.templates"]
    texts = [path.name for path in Path(templates.__file__).parent.iterdir() if path.suffix != ".py"]
    texts = [name for name in texts if not name.startswith("__")]
    assert texts
    assert fnmatch.filter(texts, pattern) == texts


def test_a_plugin_of_every_role_loads_and_passes_its_own_tests(work: Path) -> None:
    plugins = plugin_of_each_role(work, "stranger")
    # One more whose code is spoilt: what is run below must be able to fail.
    broken = new_plugin("broken", "head")
    file = write(broken, work) / "tocsin_broken" / "head.py"
    code = file.read_text(encoding="utf-8")
    file.write_text(
        code.replace("self.layers(vector_BD)", "self.layers(vector_BD.detach())"), encoding="utf-8"
    )
    site = work / "site"
    for plugin in [*plugins, broken]:
        points = {"tocsin.v1": {plugin.name: plugin.module}}
        write_distribution(site, plugin.distribution, entry_points=points)
    folders = [site, *(work / plugin.distribution for plugin in [*plugins, broken])]
    program = (
        "import sys, pytest\nfrom tocsin.cli.main import main\n"
        "checked = main(['plugins', '--check'])\n"
        "sys.exit(10 * checked + pytest.main(sys.argv[1:]))\n"
    )
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib", "."]
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # these tests need nothing but pytest
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *options], capture_output=True, text=True, env=environ
    )
    out = done.stdout
    assert done.returncode == 1, out + done.stderr
    for plugin in plugins:
        assert f"{plugin.role}: {plugin.component}" in out, f"{plugin.component} is not on offer:\n{out}"
    failed = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert [line.split()[1] for line in failed] == ["tocsin-broken/tests/test_head.py::test_it_conforms"], out
    assert "The logits do not depend on vector_BD" in out
