"""What a state must be before it is taken over: lists as long as labels ask for, numbers that a fit can leave.

A bundle's file may be damaged or changed; what passes here neither fails later, at a message in a certain language, nor
is stretched over labels that it was not fitted for. Everything raises ValueError (or the TypeError or KeyError of data
of another kind), which loading a bundle turns into its own error.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

__all__ = ["groups_of", "items", "labels_of", "number", "numbers", "rising"]

T = TypeVar("T")

_LARGEST = sys.float_info.max


def labels_of(state: dict[str, Any]) -> tuple[str, ...]:
    """Return the label names that a state was learned for."""
    labels = items(state["labels"], "labels")
    if not labels or len(set(labels)) != len(labels) or not all(isinstance(name, str) for name in labels):
        raise ValueError(f"labels are {labels!r:.80}; wanted names, each once")
    return tuple(labels)


def items(value: Any, what: str, count: int | None = None) -> list[Any]:
    """Return a list as it is, of so many items where a count is given."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        given = f"{len(value)} items" if isinstance(value, list) else f"{value!r:.40}"
        raise ValueError(f"{what}: {given} given, a list{'' if count is None else f' of {count}'} wanted")
    return value


def number(value: Any, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number from `low` to `high`, as float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is {value!r:.40}; a number is wanted")
    if not (low <= value <= high and -_LARGEST <= value <= _LARGEST):  # false of NaN, too
        raise ValueError(f"{what} is {value!r:.40}; wanted a finite number from {low:g} to {high:g}")
    return float(value)


def numbers(
    value: Any, what: str, count: int | None = None, low: float = -math.inf, high: float = math.inf
) -> list[float]:
    """Return a list of finite numbers from `low` to `high`, as floats."""
    return [number(each, what, low, high) for each in items(value, what, count)]


def rising(values: list[float], what: str) -> list[float]:
    """Return numbers of which none is below the one before."""
    if any(later < earlier for earlier, later in pairwise(values)):
        raise ValueError(f"{what} fall somewhere; they must rise")
    return values


def groups_of(state: dict[str, Any], checked: Callable[[Any, str], T]) -> dict[str, T]:
    """Return what was learned for each value of a column, checked.

    Args:
        state: With a mapping under `groups`.
        checked: Takes what stands there of one value and a word for messages, and returns it checked.
    """
    groups = state["groups"]
    if not isinstance(groups, dict) or not all(isinstance(name, str) for name in groups):
        raise TypeError(f"groups are {groups!r:.80}; a mapping from names is wanted")
    return {name: checked(value, f"group {name!r}") for name, value in groups.items()}
