"""Real processes that get real signals: where they stop, what they leave and how it goes on."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.kill_trials import FIT, Server, differences, make_files, run_of, work_folder
from tocsin.scores.table import ScoresTable

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    make_files(folder)
    return folder


@pytest.fixture(scope="module")
def server(top: Path) -> Iterator[Server]:
    started = Server(top)
    yield started
    started.close()


@pytest.fixture(scope="module")
def whole(top: Path, server: Server) -> Path:
    """The run of a fit that nobody stopped."""
    folder = work_folder(top, "whole", "classify", minutes=60)
    assert server.run(folder, *FIT)["code"] == 0, (folder / "log").read_text()
    return run_of(folder)


def last_line(folder: Path) -> str:
    text = (folder / "log").read_text()
    assert "Traceback" not in text, text
    return text.rstrip().splitlines()[-1]


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "provenance.json").read_text())
    return found


@pytest.mark.parametrize(
    ("number", "point", "times", "saved"),
    [
        (signal.SIGTERM, "micro-batch", 9, True),
        (signal.SIGINT, "validation", 2, True),
        pytest.param(signal.SIGTERM, "write", 1, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, "step", 1, True, marks=pytest.mark.slow),
        (signal.SIGTERM, "reading", 1, False),
    ],
)
def test_a_signal_saves_and_the_command_goes_on_to_the_same_end(
    top: Path, server: Server, whole: Path, number: signal.Signals, point: str, times: int, saved: bool
) -> None:
    folder = work_folder(top, f"{number.name}-{point}", "classify", minutes=60)
    answer = server.run(folder, *FIT, point=point, number=times, signals=[number])
    line = last_line(folder)
    assert answer["code"] == CODES[number], line
    run = run_of(folder)
    assert (run / "checkpoints" / "last.ckpt").is_file() == saved
    told, command = line.split("; go on with: ")
    assert told.startswith(f"tocsin: stopped by {number.name}")
    found = record(run)
    assert (found["status"], found["signal"], found["error"]) == ("interrupted", number.name, None)
    assert found["go_on"] == command
    words = shlex.split(command)
    assert words[:2] == ["tocsin", "fit"]
    if saved:
        assert words[2:] == ["--resume", str(run.relative_to(folder))]
        assert "; saved after step " in told
    assert server.run(folder, *words[1:])["code"] == 0, (folder / "log").read_text()
    runs = [path for path in run.parent.iterdir() if not path.is_symlink()]
    assert not differences(max(runs), whole)


def test_a_second_signal_ends_at_once(top: Path, server: Server) -> None:
    folder = work_folder(top, "twice", "classify", minutes=60)
    answer = server.run(folder, *FIT, point="micro-batch", number=5, signals=[signal.SIGTERM, signal.SIGINT])
    assert answer["code"] == 130
    assert "Traceback" not in (folder / "log").read_text()
    assert not list(run_of(folder).glob("checkpoints/*"))


def test_slurms_signal_queues_the_job_again(top: Path, server: Server) -> None:
    folder = work_folder(top, "slurm", "classify", minutes=60)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text(f"#!/bin/sh\necho $@ > {folder}/asked\n")
    (programs / "scontrol").chmod(0o755)
    stop = {"point": "micro-batch", "number": 5, "signals": [signal.SIGUSR1]}
    environment = {"SLURM_JOB_ID": "4711", "PATH": f"{programs}:/usr/bin:/bin"}
    assert server.run(folder, *FIT, environment=environment, **stop)["code"] == 138
    assert "; saved after step 2; the job 4711 is queued again" in last_line(folder)
    assert (folder / "asked").read_text() == "requeue 4711\n"
    assert (run_of(folder) / "checkpoints" / "last.ckpt").is_file()

    (programs / "scontrol").write_text("#!/bin/sh\necho invalid job >&2; exit 1\n")
    assert (
        server.run(folder, "fit", "--resume", "auto", *FIT[1:], environment=environment, **stop)["code"]
        == 138
    )
    assert "scontrol requeue 4711 failed (invalid job); go on with: tocsin fit --resume" in last_line(folder)

    assert server.run(folder, "fit", "--resume", "auto", *FIT[1:], **stop)["code"] == 138
    assert re.search(
        r"stopped by SIGUSR1; saved after step \d+; go on with: tocsin fit --resume", last_line(folder)
    )


def test_other_verbs_end_cleanly(top: Path, server: Server, whole: Path) -> None:
    folder = work_folder(top, "predict", "classify")
    words = ["predict", "--bundle", str(whole / "bundle"), "--input", "data/messages.parquet"]
    words += ["--output", "labels.csv"]
    answer = server.run(folder, *words, point="fsync", number=1, signals=[signal.SIGTERM])
    assert answer["code"] == 143
    assert last_line(folder) == "tocsin: stopped by SIGTERM"
    assert not [path.name for path in folder.iterdir() if "labels" in path.name]


def test_a_folder_that_becomes_read_only_ends_nothing(
    top: Path, server: Server, whole: Path, tmp_path: Path
) -> None:
    folder = work_folder(top, "read-only", "classify", minutes=60)
    tried = tmp_path / "tried"
    tried.mkdir()
    mount = "mount --bind {0} {0} && mount -o remount,bind,ro {0}"
    if subprocess.run(mount.format(tried), shell=True, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    subprocess.run(["umount", str(tried)], check=True)
    command = "r=$(readlink -f runs/tiny/latest-fit) && " + mount.format("$r")
    try:
        answer = server.run(
            folder, *FIT, point="step", number=9, command=command, environment={"TMPDIR": str(tmp_path)}
        )
    finally:
        subprocess.run(["umount", str(run_of(folder))], check=False)
    text = (folder / "log").read_text()
    assert answer["code"] == 0, text
    assert "Traceback" not in text
    (found,) = tmp_path.glob("tocsin-tiny-*")
    assert f"The checkpoint best.ckpt lies in {found / 'checkpoints' / 'best.ckpt'}, not in runs/tiny" in text
    assert (found / "bundle" / "tocsin.json").is_file()
    assert f"tocsin predict --bundle {found / 'bundle'}" in text
    for name in ("best.ckpt", "last.ckpt"):
        kept, wanted = (
            torch.load(path / "checkpoints" / name, weights_only=True)["state_dict"]
            for path in (found, whole)
        )
        assert all(torch.equal(kept[key], wanted[key]) for key in wanted), name
    scores = [ScoresTable.read(path / "scores" / "validation.parquet").logits_NL for path in (found, whole)]
    assert (scores[0] == scores[1]).all()
