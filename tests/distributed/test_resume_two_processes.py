"""A fit of two processes, both killed: it goes on equal with two, and with one, which is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.kill_trials import FIT, differences, make_files, rows_of, run_of, work_folder

_TOCSIN = "import sys; from tocsin.cli.main import main; sys.exit(main())\n"
_BEST = "[{class_path: BestCheckpoint, init_args: {every_minutes: 0.0001}}]"
_TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.callbacks", _BEST)


def start(folder: Path, *argv: str) -> subprocess.Popen[bytes]:
    # Lightning starts the second process with the same command, so that it has to be a file.
    script = folder / "run_tocsin.py"
    script.write_text(_TOCSIN)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return subprocess.Popen(
            [sys.executable, str(script), *argv],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "TOCSIN_PLUGINS": "off"},
            start_new_session=True,
        )
    finally:
        os.close(log)


def finish(folder: Path, *argv: str) -> None:
    assert start(folder, *argv).wait(timeout=300) == 0, (folder / "log").read_text()


@pytest.mark.slow
def test_a_fit_of_two_processes_goes_on_with_two_and_with_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_files(tmp_path)
    whole, killed = (work_folder(tmp_path, name, "classify") for name in ("whole", "killed"))
    finish(whole, *FIT, *_TWO)
    process = start(killed, *FIT, *_TWO)
    begun = time.monotonic()
    while time.monotonic() - begun < 300 and process.poll() is None:
        runs = [path for path in killed.glob("runs/tiny/*-fit") if not path.is_symlink()]
        if runs and (runs[0] / "checkpoints" / "last.ckpt").exists() and len(rows_of(runs[0])) >= 4:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    one = tmp_path / "one"
    shutil.copytree(killed, one, symlinks=True)
    finish(killed, "fit", "--resume", str(run_of(killed)))
    assert differences(run_of(whole), run_of(killed)) == []
    finish(one, "fit", "--resume", str(run_of(one)), "--trainer.devices", "1", "--trainer.strategy", "auto")
    log = (one / "log").read_text()
    assert "trainer.devices: 2 then, 1 now" in log
    assert "written by 2 processes, the fit goes on with 1" in log
    assert "Not bit-equal" in log
    steps = [[row["step"] for row in rows_of(run_of(folder))] for folder in (whole, one)]
    assert steps[0] == steps[1]
