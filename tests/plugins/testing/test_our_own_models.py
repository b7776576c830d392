"""Every model part that the core offers passes its role's check; one that is added later is checked too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tocsin.plugins import testing
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.signatures import parameters_of

ROLES = ("pooling", "head", "loss", "vector_loss", "optimizer", "schedule")


@pytest.mark.parametrize("role", ROLES)
def test_the_cores_components_conform(role: str) -> None:
    check: Callable[[type], None] = getattr(testing, f"check_{role}")
    components = load_plugins({"TOCSIN_PLUGINS": "off"}).components(role)
    assert components
    for component in components.values():
        assert not any(option.required for option in parameters_of(component).values())
        check(component)
