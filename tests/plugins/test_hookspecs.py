"""The hooks are a promise to strangers: names, parameters and annotations are pinned; their page stays readable."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import tocsin.plugins as door
from tocsin.plugins import builtin, hookspecs
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.roles import OBSERVERS, ROLES

HOOKS: dict[str, tuple[dict[str, str], str]] = {
    "tocsin_readers": ({}, "Sequence[type[Reader]]"),
    "tocsin_pair_readers": ({}, "Sequence[type[PairReader]]"),
    "tocsin_cleaners": ({}, "Sequence[type[Cleaner]]"),
    "tocsin_splitters": ({}, "Sequence[type[Splitter]]"),
    "tocsin_label_schemes": ({}, "Sequence[type[LabelScheme]]"),
    "tocsin_encoders": ({}, "Sequence[type[Encoder]]"),
    "tocsin_poolings": ({}, "Sequence[type[Pooling]]"),
    "tocsin_heads": ({}, "Sequence[type[Head]]"),
    "tocsin_losses": ({}, "Sequence[type[Loss]]"),
    "tocsin_vector_losses": ({}, "Sequence[type[VectorLoss]]"),
    "tocsin_optimizers": ({}, "Sequence[type[Optimizer]]"),
    "tocsin_schedules": ({}, "Sequence[type[Schedule]]"),
    "tocsin_calibrators": ({}, "Sequence[type[Calibrator]]"),
    "tocsin_ensemblers": ({}, "Sequence[type[Ensembler]]"),
    "tocsin_decision_rules": ({}, "Sequence[type[DecisionRule]]"),
    "tocsin_exporters": ({}, "Sequence[type[Exporter]]"),
    "tocsin_report_sections": ({"scores": "ScoresTable"}, "Sequence[Section]"),
    "tocsin_run_started": ({"run": "Run"}, "None"),
    "tocsin_run_ended": ({"run": "Run", "error": "BaseException | None"}, "None"),
}
"""What version 1 promises: parameters with their annotations, and what is returned. A hook may be added; none of these
lines may change while the entry-point group is `tocsin.v1`."""

SOURCE = Path(str(hookspecs.__file__)).read_text(encoding="utf-8")


def test_the_promise_belongs_to_version_1() -> None:
    assert GROUP == "tocsin.v1"


def test_names_parameters_and_annotations_are_pinned() -> None:
    found = {}
    for name, hook in vars(hookspecs).items():
        if name.startswith("tocsin_"):
            signature = inspect.signature(hook)
            annotations = {key: value.annotation for key, value in signature.parameters.items()}
            found[name] = (annotations, signature.return_annotation)
    assert found == HOOKS
    assert list(found) == list(HOOKS)


def test_parameters_have_no_defaults() -> None:
    """pluggy hands over what the caller gives: a default in a hook would never be used."""
    for name in HOOKS:
        for parameter in inspect.signature(getattr(hookspecs, name)).parameters.values():
            assert parameter.default is parameter.empty, name
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD, name


def test_each_hook_offers_a_role_or_observes_a_moment() -> None:
    assert {role.hook for role in ROLES.values()} | set(OBSERVERS) == set(HOOKS)
    assert not {role.hook for role in ROLES.values()} & set(OBSERVERS)
    assert len({role.hook for role in ROLES.values()}) == len(ROLES)
    for role in ROLES.values():
        assert HOOKS[role.hook] == ({}, f"Sequence[type[{role.base}]]")
        assert inspect.isabstract(getattr(door, role.base)), role.base
    for hook in OBSERVERS:
        assert HOOKS[hook][0], f"{hook} has nothing to observe"


def test_the_core_enters_by_the_same_hooks() -> None:
    offered = {name for name in vars(builtin) if name.startswith("tocsin_")}
    assert offered <= {role.hook for role in ROLES.values()}


@pytest.mark.parametrize("name", HOOKS)
def test_each_docstring_says_what_and_when(name: str) -> None:
    text = inspect.cleandoc(getattr(hookspecs, name).__doc__)
    summary, _, rest = text.partition("\n\n")
    assert summary.startswith("Observe " if name in OBSERVERS else "Offer ")
    assert summary.endswith(".")
    assert "Called " in rest
    assert 80 < len(text) < 600
    assert text.count("\n") < 8


def test_the_page_can_be_read_at_once() -> None:
    """Nothing but a docstring, imports, the marker and hooks without a body; names for types stand for themselves."""
    lines = SOURCE.splitlines()
    assert len(lines) < 250
    assert max(map(len, lines)) <= 120
    module = ast.parse(SOURCE)
    hooks = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    assert [hook.name for hook in hooks] == list(HOOKS)
    for hook in hooks:
        assert [ast.unparse(marker) for marker in hook.decorator_list] == ["hookspec"]
        assert [type(statement) for statement in hook.body] == [ast.Expr], hook.name
    rest = [node for node in module.body if not isinstance(node, ast.FunctionDef)]
    assert {type(node) for node in rest} == {ast.Expr, ast.ImportFrom, ast.If, ast.Assign}
    assert sum(isinstance(node, ast.Assign) for node in rest) == 1


def test_every_type_that_a_hook_names_is_at_the_door() -> None:
    named = {
        node.id
        for annotations, returned in HOOKS.values()
        for annotation in (*annotations.values(), returned)
        for node in ast.walk(ast.parse(annotation))
        if isinstance(node, ast.Name)
    }
    assert named - {"Sequence", "type", "BaseException"} <= set(door.__all__)
