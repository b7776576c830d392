"""What checks without tensors share: random generators left as they were, arguments a bundle can hold, short quotes."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tocsin.plugins.testing.findings import Findings

__all__ = ["check_arguments_remembered", "kind_of", "outcome", "quoted", "undisturbed"]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the global random generators in the state in which they were found; also a decorator.

    They are not seeded meanwhile: a component that draws from them should be seen to do so.
    """
    torch = sys.modules.get("torch")  # a component that needs no torch should not wait for its import
    python, numpys = random.getstate(), np.random.get_state()
    torchs = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpys)
        if torch is not None:
            torch.set_rng_state(torchs)


def check_arguments_remembered(findings: Findings, component: type, arguments: dict[str, Any]) -> bool:
    """Check that `arguments` of a built component is plain data from which it can be built again."""
    name = component.__name__
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError):
        return False  # a fault that `begin` has named
    try:
        remembered = json.loads(json.dumps(component(**arguments).arguments, allow_nan=False))
    except (TypeError, ValueError) as error:
        findings.add(
            f"`{name}(…).arguments` cannot be written as JSON ({error}), and a bundle names a component by it. Set no "
            "attribute `arguments` yourself: the role's base fills it."
        )
        return False
    again = findings.attempt(
        f"{name}(**{quoted(remembered)}), built again from its `arguments`, as a bundle does,",
        lambda: component(**remembered),
        "Set no attribute `arguments` yourself: the role's base fills it.",
    )
    if again is None:
        return False
    return findings.expect(
        json.loads(json.dumps(again.arguments)) == remembered,
        f"Built again from its `arguments` {quoted(remembered)}, {name} remembers other ones: "
        f"{quoted(again.arguments)}. Set no attribute `arguments` yourself: the role's base fills it.",
    )


def outcome(findings: Findings, what: str, action: Callable[[], Any], fix: str = "") -> tuple[bool, Any]:
    """Return whether an action did not raise, and what it returned; a fault says what it raised."""
    before = len(findings.faults)
    result = findings.attempt(what, action, fix)
    return len(findings.faults) == before, result


def quoted(value: object, length: int = 60) -> str:
    """A value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}…"


def kind_of(value: object) -> str:
    """What something is, for a message: shape and type of an array, else its type."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return f"an object of type {type(value).__name__}"
