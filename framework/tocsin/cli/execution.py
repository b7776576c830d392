"""A run from its beginning to its end, whatever ends it: signals, lost processes, errors."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from tocsin.errors import ConfigError, Interrupted, TrainingError
from tocsin.plugins.registry import Registry
from tocsin.training.fallback import FallbackCheckpointIO
from tocsin.training.runs import Run, is_first_rank
from tocsin.training.signals import SignalWatch, active
from tocsin.training.stopping import StopOnSignal
from tocsin.training.trainer import Trainer

__all__ = ["execute", "session", "short"]

# Set by the first process for those that Lightning starts from it.
_LAUNCHER = "TOCSIN_LAUNCHER"
_ENDS_WITHIN = 30.0  # seconds that the other processes of a fit have to end after the first
_FAILED_WITHIN = 5.0  # where an error ended it: they may wait for it without end
_LOST_WORKER = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ?[\d, ]+\)?.*(killed by signal|exited unexpectedly)"
)


def short(path: Path) -> str:
    """Return a path as one would type it: relative when it lies below the working folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextmanager
def session(run: Run, verb: str, argv: Sequence[str], registry: Registry) -> Iterator[None]:
    """Record how the block ended, tell plugins, let go of the run; a signal's last line says how to go on."""
    watch = active()
    if watch is not None:
        watch.last_words = lambda signum: _end_without_main_thread(signum, run, _go_on(run, verb, argv))
    error: BaseException | None = None
    try:
        registry.notify("tocsin_run_started", run=run)
        yield
    except BaseException as stop:
        error = stop
        raise
    finally:
        go_on = None if error is None else _go_on(run, verb, argv)
        try:
            registry.notify("tocsin_run_ended", run=run, error=error)
        finally:
            run.end(error, go_on)
            run.close()
            if isinstance(error, Interrupted):
                error.note += _requeued(error, f"; go on with: {go_on}")
            if watch is not None:
                watch.last_words = None


def _end_without_main_thread(signum: int | None, run: Run, go_on: str) -> None:
    """Record and say how a run ends whose main thread waits for a process that is gone, or in another's call."""
    error = TrainingError("another process of this fit ended") if signum is None else Interrupted(signum)
    run.end(error, go_on)
    if is_first_rank():
        print(f"tocsin: {error}; go on with: {go_on}", file=sys.stderr, flush=True)


def _go_on(run: Run, verb: str, argv: Sequence[str]) -> str:
    """The command that goes on: with the run from its newest checkpoint, or from its beginning."""
    if verb == "fit" and (run.path / "config.yaml").is_file():
        return shlex.join(["tocsin", "fit", "--resume", short(run.path)])
    return shlex.join(["tocsin", verb, *argv])


def _requeued(stop: Interrupted, go_on: str) -> str:
    """Put SLURM's job back into its queue where its signal came before the time limit; say so, else how to go on."""
    job = os.environ.get("SLURM_JOB_ID")
    if signal.Signals(stop.signum).name != "SIGUSR1" or not job or not is_first_rank():
        return go_on
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"; scontrol requeue {job} cannot be run ({error.strerror}){go_on}"
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        return (
            f"; scontrol requeue {job} failed ({said[0] if said else f'exit code {done.returncode}'}){go_on}"
        )
    return f"; the job {job} is queued again, where the command goes on that its script gives (--resume auto)"


def execute(trainer: Trainer, verb: str, model: Any, data: Any, checkpoint: str | None) -> None:
    """Fit, validate or test, and end all processes of it together.

    Raises:
        Interrupted: A signal ended it.
        ConfigError: Lightning refuses a setting.
        TrainingError: A process or a worker of it is gone.
    """
    others, within = _Others(trainer), _FAILED_WITHIN
    watch = active()
    if watch is not None:
        others.join(watch)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(0, StopOnSignal(watch))
    try:
        if verb == "fit":
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        else:
            score = trainer.validate if verb == "validate" else trainer.test
            score(model, datamodule=data, ckpt_path=checkpoint, weights_only=True, verbose=False)
        if watch is not None:
            watch.obey()
        _say_where(trainer)
        within = _ENDS_WITHIN
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error
    except (RuntimeError, EOFError, ConnectionError) as error:
        raise (_understood(error, others) or error) from error
    except SystemExit as stop:
        # Lightning turns a KeyboardInterrupt into exit code 1; shells and schedulers want to know what it was.
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    except Interrupted:
        within = _ENDS_WITHIN  # they have the signal, too
        if watch is not None:
            watch.leaving = watch.deferred = True
        raise
    finally:
        if watch is not None:
            watch.deferred = watch.pending is not None
        others.end(within)


def _say_where(trainer: Trainer) -> None:
    """Say where checkpoints lie that never had room in the run's folder."""
    files = trainer.strategy.checkpoint_io
    moved = files.moved if isinstance(files, FallbackCheckpointIO) else {}
    for path, place in moved.items():
        where = f"lies in {place}" if place is not None else "had no room anywhere and is lost"
        print(f"The checkpoint {path.name} {where}, not in {short(path.parent)}.", flush=True)


def _understood(error: Exception, others: _Others) -> Exception | None:
    """Return in our words what a library could not put into its own; None for all else."""
    if str(error).startswith("Early stopping conditioned on metric"):
        return ConfigError(f"trainer.callbacks: {error}")
    if _LOST_WORKER.search(str(error)) or _is_cut_off_from_a_worker(error):
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return TrainingError(
            f"A worker process of the data ended before its time ({told}). Was it killed for want of memory? Lower the "
            "number of workers, or set it to 0."
        )
    lost = others.lost(wait=6.0) if others.several and _is_lost_connection(error) else None
    return TrainingError(lost) if lost else None


def _is_cut_off_from_a_worker(error: Exception) -> bool:
    """Whether a DataLoader lost its connection to a worker, which it may notice before the worker's end."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return isinstance(error, EOFError | ConnectionError) and any(
        frame.f_globals.get("__name__") == "torch.utils.data.dataloader" for frame in frames
    )


def _is_lost_connection(error: Exception) -> bool:
    words = str(error).lower()
    return type(error).__name__.startswith("Dist") or any(
        word in words for word in ("gloo", "nccl", "connection", "peer", "socket")
    )


class _Others:
    """The other processes of a fit on this machine; only the first knows those that it started."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._processes: list[subprocess.Popen[bytes]] = []
        self.several = trainer.world_size > 1

    def join(self, watch: SignalWatch) -> None:
        """Tell one another of signals, and notice who is gone."""
        if not self.several:
            return
        parent = os.environ.get(_LAUNCHER)
        if parent == str(os.getppid()):
            watch.follow(int(parent))
            return
        os.environ[_LAUNCHER] = str(os.getpid())
        watch.tell(lambda: [process.pid for process in self._known() if process.poll() is None])
        watch.guard(lambda: self.lost() is not None)

    def _known(self) -> list[subprocess.Popen[bytes]]:
        """Take over the processes that Lightning started: its own observer kills this one where one of them ends."""
        started = getattr(self._trainer.strategy.launcher, "procs", None)
        if isinstance(started, list) and started and isinstance(started[0], subprocess.Popen):
            self._processes += started
            started.clear()
        return self._processes

    def lost(self, wait: float = 0.0) -> str | None:
        """Say which process ended in error; None for none within so many seconds."""
        until = time.monotonic() + wait
        while True:
            for rank, process in enumerate(self._known(), start=1):
                if process.poll():
                    code = process.returncode
                    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                    return f"Process {rank} of this fit {how}, so that the others cannot go on."
            if time.monotonic() >= until:
                return None if not wait or self._processes else "Another process of this fit is gone."
            time.sleep(0.2)

    def end(self, within: float) -> None:
        """Wait so many seconds for the others, and kill who does not end."""
        until = time.monotonic() + within
        for process in self._known():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(OSError):
                    process.kill()
                process.wait()
        os.environ.pop(_LAUNCHER, None)
