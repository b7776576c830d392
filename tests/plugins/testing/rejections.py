"""What a conformance check said against a component."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tocsin.plugins.testing import NonConforming


def faults(check: Callable[..., None], component: Any, /, **arguments: Any) -> list[str]:
    """Every fault that the check names; the check must reject the component."""
    with pytest.raises(NonConforming) as caught:
        check(component, **arguments)
    head, *found = re.split(r"\n  \d+\. ", str(caught.value))
    name = component.__name__ if isinstance(component, type) else type(component).__name__
    assert head.startswith(f"{name} is no conforming ")
    assert found
    return found


def only_fault(check: Callable[..., None], component: Any, /, **arguments: Any) -> str:
    """The one fault that the check names: a wrong component with one fault must not get a list of them."""
    found = faults(check, component, **arguments)
    assert len(found) == 1, "\n".join(found)
    return found[0]
