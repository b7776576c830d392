"""`tocsin fit` in processes that are killed by SIGKILL, resumed, and compared with a run that never was."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.kill_trials import (
    FIT,
    KINDS,
    Server,
    differences,
    make_files,
    rows_of,
    run_of,
    work_folder,
)
from tocsin.training.checkpoint_files import AtomicCheckpointIO

KILLED = -9


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    (folder / "data").mkdir()
    make_files(folder)
    return folder


@pytest.fixture(scope="module")
def server(top: Path) -> Iterator[Server]:
    server = Server(top)
    yield server
    server.close()


@pytest.fixture(scope="module")
def classified(top: Path, server: Server) -> Path:
    """The run that nobody killed."""
    folder = work_folder(top, "classified", "classify")
    assert server.run(folder, *FIT)["code"] == 0, (folder / "log").read_text()
    return folder


def test_a_run_killed_again_and_again_equals_one_that_never_was(
    top: Path, server: Server, classified: Path
) -> None:
    folder = work_folder(top, "killed", "classify")
    # In the first step between micro-batches, during a validation, during the writing of a checkpoint and at the
    # renames of one, while it resumes, and in the middle of an epoch.
    assert server.run(folder, *FIT, point="micro-batch", number=2)["code"] == KILLED
    run = run_of(folder)
    for point, number in (
        ("validation", 3), ("write", 2), ("replace", 12), ("replace", 2), ("fsync", 40), ("step", 4)
    ):  # fmt: skip
        code = server.run(folder, *FIT, "--resume", "auto", point=point, number=number)["code"]
        assert code == KILLED, (point, (folder / "log").read_text())
    assert server.run(folder, "fit", "--resume", str(run))["code"] == 0, (folder / "log").read_text()
    assert run_of(folder) == run  # in its place
    assert differences(run_of(classified), run) == []
    log = (folder / "log").read_text()
    assert f"Resuming tiny/{run.name} from last.ckpt, step" in log
    assert server.run(folder, "fit", "--resume", str(run))["code"] == 0
    assert "is complete: there is nothing to resume" in (folder / "log").read_text()
    assert server.run(folder, *FIT, "--resume", "auto", "--trainer.max_epochs", "1")["code"] == 0
    assert "no unfinished run of tiny in runs; a new one begins" in (folder / "log").read_text()


def test_a_distillation_that_was_killed_equals_one_that_never_was(top: Path, server: Server) -> None:
    whole, folder = (
        work_folder(top, "distilled", "distil-lora", minutes=10),
        work_folder(top, "killed-distil", "distil-lora", minutes=10),
    )
    assert server.run(whole, *FIT)["code"] == 0, (whole / "log").read_text()
    assert server.run(folder, *FIT, point="optimiser", number=2)["code"] == KILLED
    assert server.run(folder, *FIT, "--resume", "auto", point="validation", number=2)["code"] == KILLED
    assert server.run(folder, *FIT, "--resume", "auto")["code"] == 0, (folder / "log").read_text()
    assert differences(run_of(whole), run_of(folder)) == []
    log = (folder / "log").read_text()
    assert f"Resuming tiny/{run_of(folder).name} from its beginning: it has no checkpoint yet." in log


def test_a_damaged_last_checkpoint_costs_one_step_and_is_said(
    top: Path, server: Server, classified: Path
) -> None:
    folder = work_folder(top, "damaged", "classify")
    assert server.run(folder, *FIT, point="step", number=12)["code"] == KILLED
    last = run_of(folder) / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert server.run(folder, *FIT, "--ckpt_path", str(last))["code"] == 0, (folder / "log").read_text()
    log = (folder / "log").read_text()
    assert "last.ckpt was altered or damaged" in log
    assert "goes on from last-previous.ckpt (step" in log
    assert differences(run_of(classified), run_of(folder)) == []


def test_scores_name_their_checkpoint_after_a_kill_between_the_two(
    top: Path, server: Server, classified: Path
) -> None:
    from tocsin.scores.table import ScoresTable

    folder = work_folder(top, "scores", "classify", minutes=10)
    passed = server.run(folder, *FIT, point="scores", number=2)
    assert passed["code"] == KILLED
    run = run_of(folder)
    scores, best = run / "scores" / "validation.parquet", run / "checkpoints" / "best.ckpt"

    def named() -> tuple[str | None, str]:
        manifest = json.loads(best.with_name("best.ckpt.sha256").read_text())
        return ScoresTable.read(scores).metadata.get("checkpoint"), manifest["sha256"]

    told, wanted = named()
    assert told != wanted  # the new best is there, its scores are not yet
    assert server.run(folder, *FIT, "--resume", "auto", point="step", number=2)["code"] == KILLED
    told, wanted = named()
    assert told == wanted
    assert ScoresTable.read(scores).metadata["step"] == str(
        AtomicCheckpointIO().load_checkpoint(best)["global_step"]
    )
    assert server.run(folder, *FIT, "--resume", "auto")["code"] == 0
    assert differences(run_of(classified), run) == []


def test_a_changed_configuration_is_refused_by_name_or_said(top: Path, server: Server) -> None:
    folder = work_folder(top, "changed", "classify")
    assert server.run(folder, *FIT, point="step", number=5)["code"] == KILLED
    last = run_of(folder) / "checkpoints" / "last.ckpt"

    def told(*more: str) -> str:
        (folder / "log").write_text("")
        assert server.run(folder, *FIT, *more)["code"] == 2, (folder / "log").read_text()
        log = (folder / "log").read_text()
        assert "Traceback" not in log
        return log

    for option, then, now in (
        ("data.init_args.batch_size", "12", "8"),
        ("data.init_args.max_length", "16", "12"),
        ("model.init_args.optimizer.init_args.lr", "0.005", "0.1"),
        ("seed_everything", "7", "8"),
    ):
        assert f"{option}: {then} then, {now} now" in told("--resume", "auto", f"--{option}", now)
    assert "lies inside an epoch" in told("--ckpt_path", str(last), "--data.init_args.max_length", "12")
    code = server.run(folder, *FIT, "--resume", "auto", "--trainer.max_epochs", "1")["code"]
    assert code == 0, (folder / "log").read_text()
    assert "trainer.max_epochs: 3 then, 1 now" in (folder / "log").read_text()
    assert (run_of(folder) / "config-2.yaml").is_file()
    steps = [int(row["step"]) for row in rows_of(run_of(folder))]
    assert steps == sorted(steps)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thirty_random_moments(kind: str, top: Path, server: Server) -> None:
    whole = work_folder(top, f"whole-{kind}", kind)
    reference = server.run(whole, *FIT)
    assert reference["code"] == 0, (whole / "log").read_text()
    again = work_folder(top, f"again-{kind}", kind, minutes=10)
    duration = server.run(again, *FIT)["seconds"]
    assert differences(run_of(whole), run_of(again)) == []
    generator = random.Random(kind)
    killed = 0
    while killed < 30:
        folder = work_folder(top, f"random-{kind}", kind, minutes=generator.choice([1e-6, 1e-3, 10]))
        codes = [server.run(folder, *FIT, seconds=generator.uniform(0.1, duration))["code"]]
        while codes[-1] == KILLED and generator.random() < 0.5:  # twice in a row, and while it resumes
            moment = {"seconds": generator.uniform(0.1, duration)}
            codes.append(server.run(folder, *FIT, "--resume", "auto", **moment)["code"])
        killed += codes.count(KILLED)
        if codes[-1] == KILLED:
            codes.append(server.run(folder, *FIT, "--resume", "auto")["code"])
        assert codes[-1] == 0, (codes, (folder / "log").read_text())
        assert differences(run_of(whole), run_of(folder)) == [], codes
        shutil.rmtree(folder)
