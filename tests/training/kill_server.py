"""Runs `tocsin` in children forked from one process that has imported everything, and kills them on request.

Each line of standard input is a request, JSON: `argv`, `cwd`, `log`, `environment` (added), and where to kill: `point`
and `number` (the `number`th time that the point is passed, from 1), or `seconds`; `signals` are sent there, one after
the other, instead of SIGKILL; or a `command` of the shell is run there. Each answer is a line of JSON: `code` (exit
code, or minus the signal), `seconds`, and `passed` (how often each point was passed, of a child that ended by itself).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")


def wrapped(owner: Any, name: str, before: Callable[[], None]) -> None:
    function = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        before()
        return function(*arguments, **named)

    setattr(owner, name, call)


def watch(request: dict[str, Any], passed: Counter[str]) -> None:
    """Kill this process at the request's point."""
    import torch
    from lightning.pytorch import LightningModule
    from lightning.pytorch.loops import _EvaluationLoop

    from tocsin.batches.messages import LabelledMessages
    from tocsin.models.stepping import StepsByHand
    from tocsin.training.checkpoints import BestCheckpoint
    from tocsin.training.recorder import RunRecorder

    def point(name: str) -> Callable[[], None]:
        def pass_it() -> None:
            passed[name] += 1
            if request.get("point") == name and passed[name] == request["number"]:
                if "command" in request:
                    subprocess.run(request["command"], shell=True, check=True)
                    return
                for number in request.get("signals", [signal.SIGKILL]):
                    os.kill(os.getpid(), number)
                    time.sleep(0.2)

        return pass_it

    wrapped(LabelledMessages, "prepare_data", point("reading"))
    wrapped(LightningModule, "manual_backward", point("micro-batch"))
    wrapped(StepsByHand, "on_before_optimizer_step", point("optimiser"))
    wrapped(_EvaluationLoop, "_evaluation_step", point("validation"))
    wrapped(BestCheckpoint, "on_train_batch_start", point("step"))
    wrapped(BestCheckpoint, "save_now", point("save"))
    wrapped(RunRecorder, "on_best_saved", point("scores"))
    wrapped(torch, "save", point("write"))
    wrapped(os, "replace", point("replace"))
    wrapped(os, "fsync", point("fsync"))


def child(request: dict[str, Any], passed: Counter[str]) -> int:
    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(request.get("environment", {}))
    tempfile.tempdir = None  # $TMPDIR may be another now
    # who started this may ignore it, as shells do for jobs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watch(request, passed)
    from tocsin.cli.main import main

    sys.argv = ["tocsin", *request["argv"]]
    return main()


def run(request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        passed: Counter[str] = Counter()
        code = 1
        try:
            code = child(request, passed)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os.write(writing, json.dumps(passed).encode())
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    if "seconds" in request:
        while (
            time.monotonic() - begun < request["seconds"]
            and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.001)
        os.kill(pid, request.get("signals", [signal.SIGKILL])[0])
    with os.fdopen(reading, "rb") as told:
        content = told.read()
    _, status = os.waitpid(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - begun,
        "passed": json.loads(content) if content else {},
    }


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)
    import tensorboard.summary  # noqa: F401
    import torch.utils.tensorboard
    import transformers  # noqa: F401

    import tocsin.cli.fit
    import tocsin.scores.report  # noqa: F401

    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
