"""Keeps what a plugin does to its process from changing anybody's numbers or output."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from typing import Any

__all__ = ["undisturbed"]


@contextmanager
def undisturbed(report: Callable[[str], None], *, quiet: bool = False) -> Iterator[None]:
    """Put back, after a plugin's code has run, what belongs to the whole process.

    The states of the random generators (Python's, numpy's, torch's on the CPU), torch's default dtype and the
    working folder and the warning filters are as before afterwards: an observer that draws a random
    number must not give the run other numbers. Libraries that are not loaded yet are not looked at.

    Args:
        report: Called with what had to be put back, in words; random states are put back in silence.
        quiet: Whether what it prints goes to stderr: nobody reads a plugin's words as a verb's output.
    """
    put_back = [*_random_states(), *_settings()]
    with redirect_stdout(sys.stderr) if quiet else nullcontext():
        try:
            yield
        finally:
            changed = [words for words in (restore() for restore in put_back) if words]
            if changed:
                report(f"it changed {' and '.join(changed)}, which was put back")


def _random_states() -> Iterator[Callable[[], str]]:
    """Yield what puts each random generator back; says nothing."""

    def restoring(put_back: Callable[[Any], Any], state: Any) -> Callable[[], str]:
        return lambda: put_back(state) or ""

    yield restoring(random.setstate, random.getstate())
    numpy: Any = sys.modules.get("numpy")
    if hasattr(numpy, "random"):
        yield restoring(numpy.random.set_state, numpy.random.get_state())
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "get_rng_state"):
        yield restoring(torch.set_rng_state, torch.get_rng_state())


def _settings() -> Iterator[Callable[[], str]]:
    """Yield what puts each setting back, and says in words what had been changed."""

    def restoring(words: str, get: Callable[[], Any], put_back: Callable[[Any], Any]) -> Callable[[], str]:
        before = get()

        def restore() -> str:
            if get() == before:
                return ""
            put_back(before)
            return words

        return restore

    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "set_default_dtype"):
        yield restoring("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype)
    with suppress(OSError):  # a working folder that is gone
        yield restoring("the working folder", os.getcwd, os.chdir)
    yield _restoring_filters(list(warnings.filters))


def _restoring_filters(before: list[Any]) -> Callable[[], str]:
    def restore() -> str:
        added = [one for one in warnings.filters if one not in before]
        # Libraries that a plugin imports for the first time add harmless filters of their own: these stay.
        harmless = [one for one in added if one[0] != "error"]
        as_before = [one for one in warnings.filters if one in before] == before
        if as_before and harmless == added:
            return ""
        warnings.filters[:] = [*harmless, *before]  # type: ignore[index]
        with (
            warnings.catch_warnings()
        ):  # entering and leaving tells the module that its filters are others now
            pass
        return "the warning filters"

    return restore
