"""Every model part and label scheme of the core passes its role's check; one that is added later is checked too."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from tocsin.labels.lists import Lists
from tocsin.labels.schemes import Columns
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


NAMES = ["water", "food", "fire"]
SCHEMES = {
    "Columns": {"names": NAMES},
    "Categories": {"values": {"kind": NAMES}},
    "Lists": {"names": NAMES},
    "Soft": {"names": NAMES},
    "Union": {"schemes": [Columns(NAMES), Lists("tags", ["flood", "quake"])]},
}


def test_the_cores_label_schemes_conform() -> None:
    components = load_plugins({"TOCSIN_PLUGINS": "off"}).components("label_scheme")
    assert set(components) == set(SCHEMES)
    kinds = pa.table({"kind": ["water", None, "fire"]})
    both = pa.table(
        {"water": [1, 0, None], "food": [0, 0, 1], "fire": [1, 1, 0], "tags": ["flood", "[]", None]}
    )
    for name, component in components.items():
        tables = {"Categories": [kinds], "Union": [both]}.get(name, [])  # what the check does not invent
        testing.check_label_scheme(component, *tables, **SCHEMES[name])
