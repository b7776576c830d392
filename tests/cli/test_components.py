"""`tocsin components`."""

from __future__ import annotations

import inspect

import pytest

from tests.plugins.distributions import Install
from tocsin.cli.main import main
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.docstrings import argument_descriptions, short_description
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.roles import ROLES, TASKS
from tocsin.plugins.signatures import parameters_of, type_words


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
    assert "LabelledMessages  (data, from tocsin; tocsin.batches.messages)" in out
    assert "  train: text or a list of text; required\n" in out
    assert "  on_empty: one of drop, keep; default: drop\n" in out
    assert "  lang: text or null; default: null\n" in out
    assert "  labels:" not in out


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
