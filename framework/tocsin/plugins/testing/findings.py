"""Collects every fault of a component, so that its author mends them in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Findings", "NonConforming"]


class NonConforming(AssertionError):
    """A component breaks its role's contract; the text lists every fault that was found."""


class Findings:
    """Faults of one component, in the order of their finding.

    Args:
        component: The class that is checked.
        role: Its role, in words.
    """

    def __init__(self, component: type, role: str) -> None:
        self.component = component
        self.role = role
        self.faults: list[str] = []

    def add(self, fault: str) -> None:
        """Note one fault: what was done, what came out, what is wanted, and the likely fix."""
        self.faults.append(fault)

    def add_error(self, what: str, error: Exception, fix: str = "") -> None:
        """Note an exception by its first line: "`what` raised …", then the likely fix."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
        self.add(f"{what} raised {said}." + (f" {fix}" if fix else ""))

    def expect(self, holds: bool, fault: str) -> bool:
        """Note a fault unless something holds, and return whether it does."""
        if not holds:
            self.add(fault)
        return holds

    @contextmanager
    def trying(self, what: str, fix: str = "") -> Iterator[None]:
        """Turn an exception inside the block into a fault: "`what` raised …"."""
        try:
            yield
        except Exception as error:
            self.add_error(what, error, fix)

    def attempt(self, what: str, action: Callable[[], Any], fix: str = "") -> Any:
        """Return what an action returns, or None and a fault where it raises."""
        result = None
        with self.trying(what, fix):
            result = action()
        return result

    def conclude(self) -> None:
        """Raise NonConforming with every fault; do nothing when there is none."""
        if not self.faults:
            return
        name = self.component.__name__
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        listed = "\n".join(f"  {number}. {fault}" for number, fault in enumerate(self.faults, start=1))
        raise NonConforming(f"{name} is no conforming {self.role}: {count}.\n{listed}")
