"""Signals that end a process: noticed at once, obeyed where nothing is lost, answered with the code that shells expect.

Nothing here needs torch or lightning: every verb runs under a `SignalWatch`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from tocsin.errors import Interrupted

__all__ = ["ENDING", "SignalWatch", "active", "watching"]

# SIGUSR1 is what SLURM sends before the time limit (--signal=USR1@90); SIGHUP comes when a terminal is closed.
ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
_ANSWERS_WITHIN = (
    20.0  # seconds in which the main thread has to notice; it cannot inside a call that never returns
)
_STEP_WITHIN = 60.0  # seconds in which processes that train together have to reach the end of their step
_ECHO = 2.0  # seconds in which processes that train together tell one another of one signal


class SignalWatch:
    """What this process does about signals that end it; made by `watching`.

    The first such signal raises `Interrupted` in the main thread, or is left in `pending` for a fit that looks at it
    between its steps (`deferred`). A second one ends the process at once. A thread reads the signals' numbers as the
    system delivers them, so that both hold while the main thread waits inside a call of another library.

    Attributes:
        pending: The signal that came first; None before.
        deferred: Whether somebody looks at `pending` soon, so that nothing is raised.
        leaving: Whether somebody has obeyed by now and is busy with saving; no deadline holds then.
        last_words: Called when the process has to end without its main thread, with the signal; with None where a
            process that it trains with is gone.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self.deferred = False
        self.leaving = False
        self.last_words: Callable[[int | None], None] | None = None
        self._raised = False
        self._since = 0.0
        self._peers: Callable[[], list[int]] | None = None
        self._parent: int | None = None
        self._look: Callable[[], bool] | None = None
        self._lost = 0.0
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before: dict[int, Any] = {}
        self._wakeup = -1
        self._thread = threading.Thread(target=self._watch, name="tocsin-signals", daemon=True)

    # Beginning and end -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Install the handlers; signals that the process was told to ignore stay ignored (nohup, background jobs)."""
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        self._thread.start()

    def stop(self, *, restore: bool = True) -> None:
        """Put back what was there before; without `restore`, a further signal ends the process at once."""
        if not restore:
            self.deferred = self.leaving = True
            return
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._wakeup)
        with suppress(OSError):
            self._writer.send(b"\0")  # no signal's number: the thread ends
        self._thread.join()
        self._reader.close()
        self._writer.close()

    # Processes that train together -----------------------------------------------------------------------------------

    def tell(self, peers: Callable[[], list[int]]) -> None:
        """Pass a signal on to other processes of this fit, once.

        Args:
            peers: Gives their ids.
        """
        self._peers = peers

    def follow(self, parent: int) -> None:
        """End this process when the process that started it is gone; tell it of signals.

        Args:
            parent: Its id.
        """
        self._parent = parent
        self.tell(lambda: [parent] if os.getppid() == parent else [])
        with suppress(OSError):
            self._writer.send(b"\xff")  # no signal's number: the thread begins to look

    def guard(self, lost: Callable[[], bool]) -> None:
        """End this process when one that it trains with is gone, if it does not notice itself.

        Args:
            lost: Says whether one is gone; asked twice a second.
        """
        self._look = lost
        with suppress(OSError):
            self._writer.send(b"\xff")

    # Signals ---------------------------------------------------------------------------------------------------------

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pending is None:
            self.pending = number
        if not self.deferred and not self._raised:
            self._raised = True
            raise Interrupted(self.pending)

    def obey(self) -> None:
        """Raise `Interrupted` where a signal came while it was deferred; defer no longer."""
        self.deferred = False
        if self.pending is not None:
            self._raised = True
            raise Interrupted(self.pending)

    def _watch(self) -> None:
        while True:
            waiting = self._parent is not None or self._look is not None or self._since
            ready, _, _ = select.select([self._reader], [], [], 0.5 if waiting else None)
            try:
                numbers = self._reader.recv(256) if ready else b""
            except OSError:
                return
            if b"\0" in numbers:
                return
            for number in numbers:
                if number in self._before:
                    self._noticed(number)
            if self._parent is not None and os.getppid() != self._parent:
                os._exit(1)
            if self._look is not None and not self._since and self._look():
                self._lost = self._lost or time.monotonic()
                if time.monotonic() - self._lost > _ANSWERS_WITHIN:
                    self._leave(1)
            if self._since and time.monotonic() - self._since > self._patience():
                self._leave(128 + (self.pending or signal.SIGTERM))

    def _noticed(self, number: int) -> None:
        now = time.monotonic()
        if not self._since:
            self._since = now
            for peer in self._peers() if self._peers is not None else []:
                with suppress(OSError):
                    os.kill(peer, number)
        elif self._peers is None or now - self._since > _ECHO:
            os._exit(128 + number)

    def _patience(self) -> float:
        if self.leaving:
            return float("inf")
        if self.deferred:
            # alone, a long step is waited for; together, one that never ends may wait for a process that is gone
            return float("inf") if self._peers is None else _STEP_WITHIN
        return 3 * _ANSWERS_WITHIN if self._raised else _ANSWERS_WITHIN

    def _leave(self, code: int) -> None:
        with suppress(Exception):
            if self.last_words is not None:
                self.last_words(self.pending)
        os._exit(code)


_active: SignalWatch | None = None


def active() -> SignalWatch | None:
    """Return this process's watch; None where nobody watches, as in a program that uses the Trainer itself."""
    return _active


@contextmanager
def watching(*, whole_process: bool) -> Iterator[SignalWatch | None]:
    """Run a verb under a `SignalWatch`; None in another thread than the main one, where no handler can be set.

    Args:
        whole_process: Whether the process ends after the block, so that a second signal stays deadly until then.
    """
    global _active
    if threading.current_thread() is not threading.main_thread() or _active is not None:
        yield _active
        return
    watch = _active = SignalWatch()
    watch.start()
    try:
        yield watch
    finally:
        _active = None
        watch.stop(restore=not (whole_process and watch.pending is not None))


def _after_fork() -> None:
    """Leave a forked child (a worker of a DataLoader) the signals as they were, and its parent's thread alone."""
    global _active
    watch, _active = _active, None
    if watch is not None:
        signal.set_wakeup_fd(-1)
        for number, handler in watch._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
