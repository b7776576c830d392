"""`tocsin components`."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG
from tests.plugins.distributions import Install
from tocsin import __version__
from tocsin.cli.main import main
from tocsin.cli.parser import Config
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.docstrings import argument_descriptions, short_description
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.roles import ROLES, TASKS
from tocsin.plugins.signatures import parameters_of, type_words
from tocsin.plugins.strict_yaml import strict_dump, strict_load


def test_roles_and_their_components(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(
        "broken",
        entry_points={GROUP: {"b": "components_broken"}},
        modules={"components_broken": "import nope_nope"},
    )
    assert main(["components"]) == 0
    out = capsys.readouterr().out
    assert all(f"{role}:\n" in out for role in (*TASKS, *ROLES))
    assert "  LinearHead " in out
    assert "  MultilabelClassifier " in out
    assert "Plugins that are off:\n  b (broken 1.0): ModuleNotFoundError" in out


def test_one_role(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["components", "cleaners"]) == 0
    out = capsys.readouterr().out
    assert "TweetCleaner" in out
    assert "LinearHead" not in out


def test_one_components_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["components", "LabelledMessages"]) == 0
    out = capsys.readouterr().out
    assert f"LabelledMessages  (data, from tocsin {__version__}; tocsin.batches.messages)" in out
    assert "  train: text or a list of text; required\n" in out
    assert "  on_empty: one of drop, keep; default: drop\n" in out
    assert "  lang: text or null; default: null\n" in out
    assert "  labels:" not in out
    assert "In a YAML file, at data:\n  data: {class_path: LabelledMessages, init_args: {train: …}}\n" in out


# What stands for "…" where text will not do.
_SAMPLES = {
    "Columns": "[water]",
    "Categories": "{kind: [flood, fire]}",
    "RandomSplit": "7",
    "StratifiedGroupedSplit": "[water]",
    "Union": "[{class_path: Columns, init_args: {names: [water]}}]",
}


def test_what_is_shown_for_yaml_and_command_line_is_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every component's own words, put where they say, make a config that parses."""
    registry = load_plugins({"TOCSIN_PLUGINS": "off"})
    shown = 0
    for role in ROLES:
        for name in registry.components(role):
            assert main(["components", name]) == 0
            out = capsys.readouterr().out
            if "In a YAML file" not in out:
                continue
            path = out.split("In a YAML file, at ")[1].split(":")[0]
            lines = out.split(f"at {path}:\n")[1].split("On the command line")[0].splitlines()
            given = strict_load("\n".join(lines).replace("…", _SAMPLES.get(name, "x")))
            config = strict_load(CONFIG)
            place = config
            for key in path.split(".")[:-1]:
                place = place[key]
            place.update(given)
            file = tmp_path / "config.yaml"
            file.write_text(strict_dump(config))
            parsed = Config("fit", ["--config", str(file)], registry).text()
            assert f".{name}\n" in parsed
            shown += 1
    assert shown > 15


def test_an_unknown_name_is_answered_with_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["components", "LinerHead"]) == 2
    assert "no component 'LinerHead'. Did you mean 'LinearHead'?" in capsys.readouterr().err


def test_every_component_of_ours_is_documented() -> None:
    """Docstrings are --help: each argument annotated and described, no `**kwargs`."""
    registry = load_plugins({"TOCSIN_PLUGINS": "off"})
    for component in registry.classes():
        name = component.__name__
        assert short_description(component), name
        variadic = [
            parameter
            for parameter in inspect.signature(component).parameters.values()
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        assert not variadic or "__init__" not in vars(component), name
        described = argument_descriptions(component)
        for option in parameters_of(component).values():
            assert described.get(option.name), f"{name}.{option.name} is not described"
            assert type_words(option.annotation) != "anything", f"{name}.{option.name} is not annotated"
