"""Two processes of one fit end together, whichever of them gets a signal or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG, write_config, write_files

LINUX = sys.platform == "linux"
PROGRAM = "import sys\nfrom tocsin.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
OPTIONS = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "5000"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    write_files(folder)
    callbacks = CONFIG.index("  callbacks:")
    write_config(folder, CONFIG[:callbacks])
    (folder / "program.py").write_text(PROGRAM)
    return folder


@pytest.fixture
def fit(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """A fit in two processes that is past its first step: the first process, the other's id, the output."""
    log = folder / f"{time.monotonic_ns()}.log"
    environment = {name: value for name, value in os.environ.items() if name != "PL_GLOBAL_SEED"}
    environment |= {"TOCSIN_PLUGINS": "off", "PYTHONPATH": os.pathsep.join(sys.path), "NCCL_DEBUG": "WARN"}
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "program.py", "fit", "--config", "experiments/tiny/config.yaml", *OPTIONS],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=file,
        )
    other = 0
    try:
        until = time.monotonic() + 240
        while b"fit: step" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        other = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        yield process, other, log
    finally:
        for pid in (process.pid, other):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def gone(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if " Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def check_saved(process: subprocess.Popen[bytes], other: int, log: Path) -> None:
    assert process.wait(60) == 143, log.read_text()
    assert gone(other, 20)
    text = log.read_text()
    assert "Traceback" not in text
    line = text.rstrip().splitlines()[-1]
    assert "; saved after step " in line
    run = line.rpartition("--resume ")[2]
    assert (log.parent / run / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.skipif(not LINUX, reason="children are read from /proc")
def test_sigterm_to_the_second_process_saves_and_ends_both(fit) -> None:
    process, other, log = fit
    os.kill(other, signal.SIGTERM)
    check_saved(process, other, log)


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="children are read from /proc")
def test_sigterm_to_the_first_process_saves_and_ends_both(fit) -> None:
    process, other, log = fit
    process.send_signal(signal.SIGTERM)
    check_saved(process, other, log)


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="children are read from /proc")
def test_a_killed_second_process_ends_the_first(fit) -> None:
    process, other, log = fit
    os.kill(other, signal.SIGKILL)
    assert process.wait(60) == 2
    assert "Process 1 of this fit was killed by signal 9" in log.read_text()


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="children are read from /proc")
def test_a_killed_first_process_ends_the_second(fit) -> None:
    process, other, _ = fit
    process.kill()
    assert gone(other, 60)
