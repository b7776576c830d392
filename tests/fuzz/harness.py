"""Runs a call on many damaged inputs and collects what must never come out of one.

What may come out is a result or a `TocsinError`. Everything else is collected: another exception, code that was run, an
input that takes seconds or hundreds of megabytes. One input is kept for each place in the code, the smallest.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tocsin.errors import TocsinError

__all__ = ["COUNTS", "FOREIGN", "Findings", "fuzz"]

COUNTS = [pytest.param(500, id="500"), pytest.param(10_000, id="10000", marks=pytest.mark.slow)]

FOREIGN = "evil_stuff"
"""A module that does not exist; nothing may even ask for it."""

SECONDS = 5.0
"""Of processor time for an input of a few kilobytes; a second on an idle machine, with room for a busy one."""

_ALARM = 30
_MEGABYTES = 500
_CODE = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
    "socket.getaddrinfo",
)


class _Watch:
    """Notes code that an input made Python run. An audit hook cannot be taken off, so there is one for all tests."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and (event in _CODE or (event == "import" and str(arguments[0]).startswith(FOREIGN))):
            self.seen.append(f"{event} {arguments!r}"[:200])


_watch: list[_Watch] = []


class _TooLong(BaseException):
    """The alarm; no `except Exception` keeps it."""


class _Enough(BaseException):
    """An input had to be stopped: others of its kind would each take as long."""


class Findings:
    """What came out of the inputs.

    Attributes:
        found: What, and where in the code -> the smallest input, how often it came, and the exception.
    """

    def __init__(self) -> None:
        self.found: dict[str, tuple[Any, int, str]] = {}
        self.refused = self.accepted = 0
        if not _watch:
            _watch.append(_Watch())

    def run(self, given_input: Any, call: Callable[[], Any]) -> None:
        """Call, and note what must not be."""
        watch = _watch[0]
        watch.seen.clear()
        memory, start = _peak_megabytes(), time.process_time()
        try:
            with _alarm(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                watch.on = True
                try:
                    call()
                finally:
                    watch.on = False
            self.accepted += 1
        except TocsinError as error:
            self.refused += 1
            if not str(error).strip():
                self._note(f"an empty {type(error).__name__}", given_input, "")
        except (KeyboardInterrupt, pytest.fail.Exception):
            raise
        except BaseException as error:
            self._note(f"{type(error).__name__} at {_place(error.__traceback__)}", given_input, _last(error))
            if isinstance(error, _TooLong):
                raise _Enough from error
        seconds, grown = time.process_time() - start, _peak_megabytes() - memory
        if seconds > SECONDS:
            self._note("takes long", given_input, f"{seconds:.1f} s")
        if grown > _MEGABYTES:
            self._note("takes much memory", given_input, f"{grown} MB")
        if watch.seen:
            self._note("runs code", given_input, watch.seen[0])

    def _note(self, key: str, given_input: Any, detail: str) -> None:
        smallest, times, text = self.found.get(key, (given_input, 0, detail))
        if len(repr(given_input)) < len(repr(smallest)):
            smallest, text = given_input, detail
        self.found[key] = (smallest, times + 1, text)

    def check(self) -> None:
        """Fail with each kind of fault and its smallest input."""
        shown = [
            f"{key}, {times} times: {detail}\n    {repr(smallest)[:2_000]}"
            for key, (smallest, times, detail) in self.found.items()
        ]
        if shown:
            pytest.fail(f"{len(shown)} kinds of faults\n" + "\n".join(shown), pytrace=False)
        assert self.refused, "no input was refused: the damage damages nothing"


def fuzz(count: int, strategy: st.SearchStrategy[Any], call: Callable[[Any], Any]) -> Findings:
    """Call on `count` inputs of a strategy, the same in each run; fail where one gives what must not be."""
    findings = Findings()

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(drawn: Any) -> None:
        findings.run(drawn, lambda: call(drawn))

    with contextlib.suppress(_Enough):
        each()
    findings.check()
    return findings


@contextmanager
def _alarm() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"no end after {_ALARM} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _ALARM)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak_megabytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)


def _place(trace: TracebackType | None) -> str:
    ours = [frame for frame in traceback.extract_tb(trace) if f"{os.sep}tocsin" in frame.filename]
    if not ours:
        return "?"
    return f"{os.sep.join(ours[-1].filename.split(os.sep)[-2:])}:{ours[-1].lineno} ({ours[-1].name})"


def _last(error: BaseException) -> str:
    return " ".join(traceback.format_exception_only(error)[-1].split())[:300]
