"""The hooks are a promise to strangers: their names, parameters and docstrings are pinned."""

from __future__ import annotations

import inspect

from tocsin.plugins import builtin, hookspecs
from tocsin.plugins.roles import ROLES

HOOKS = {
    "tocsin_readers": [],
    "tocsin_cleaners": [],
    "tocsin_splitters": [],
    "tocsin_label_schemes": [],
    "tocsin_encoders": [],
    "tocsin_poolings": [],
    "tocsin_heads": [],
    "tocsin_losses": [],
    "tocsin_optimizers": [],
    "tocsin_schedules": [],
    "tocsin_calibrators": [],
    "tocsin_ensemblers": [],
    "tocsin_decision_rules": [],
    "tocsin_run_started": ["run"],
    "tocsin_run_ended": ["run", "error"],
}


def test_names_and_parameters_are_pinned() -> None:
    found = {name: value for name, value in vars(hookspecs).items() if name.startswith("tocsin_")}
    assert {name: list(inspect.signature(hook).parameters) for name, hook in found.items()} == HOOKS


def test_every_hook_is_documented_and_typed() -> None:
    for name in HOOKS:
        hook = getattr(hookspecs, name)
        assert len(hook.__doc__) > 40, name
        assert "return" in hook.__annotations__, name


def test_each_role_has_a_hook_and_the_core_implements_no_unknown_one() -> None:
    assert {role.hook for role in ROLES.values()} == {name for name, given in HOOKS.items() if not given}
    offered = {name for name in vars(builtin) if name.startswith("tocsin_")}
    assert offered <= set(HOOKS)
