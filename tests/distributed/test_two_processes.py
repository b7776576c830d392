"""Two processes on the CPU (gloo) do what one does: the same steps, the same curve, each evaluated row once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import message_file, messages, tiny_encoder
from tests.distributed import worker

# 45 training messages in steps of 11: the last step of an epoch holds one message, and one rank a filler.
# 23 and 19 messages to evaluate: neither number is even.
LIMIT = {"train": 45, "validation": 23, "test": 19}
STEPS = 10


@dataclass
class Outcome:
    facts: dict[str, Any]
    weights: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Outcome]:
    folder = tmp_path_factory.mktemp("distributed")
    message_file(folder / "messages.parquet", messages(120))
    tiny_encoder(folder / "encoder")
    return {devices: run(folder, devices) for devices in (1, 2)}


def run(folder: Path, devices: int) -> Outcome:
    out, job = folder / f"out-{devices}.json", folder / f"job-{devices}.json"
    given = {
        "folder": str(folder),
        "devices": devices,
        "batch_size": 11,
        "max_steps": STEPS,
        "limit": LIMIT,
        "probe": True,
        "out": str(out),
    }
    job.write_text(json.dumps(given))
    if devices > 1:
        run_apart(job)
    else:
        worker.main(given)
    with np.load(out.with_suffix(".npz")) as stored:
        return Outcome(json.loads(out.read_text()), dict(stored))


def run_apart(job: Path, script: Any = worker) -> None:
    """Run a worker in a process of its own, which starts the second."""
    ranks = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
    environment = {name: value for name, value in os.environ.items() if name not in ranks}
    done = subprocess.run(
        [sys.executable, script.__file__, str(job)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "USE_LIBUV": "0"},
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_ranks_share_the_steps_of_one_process(outcomes: dict[int, Outcome]) -> None:
    (alone,), (first, second) = outcomes[1].facts["rows"], outcomes[2].facts["rows"]
    assert len(alone) == len(first) == len(second) == STEPS
    for whole, mine, theirs in zip(alone, first, second, strict=True):
        assert sorted(whole) == sorted(row for row in mine + theirs if row >= 0)
    assert [len(step) for step in alone] == [11, 11, 11, 11, 1] * 2
    # The last step of an epoch is smaller than the number of processes: one of them has nothing but a filler.
    assert second[4] == second[9] == [-1]
    assert -1 not in [row for step in first for row in step]


def test_weights_are_those_of_one_process(outcomes: dict[int, Outcome]) -> None:
    one, two = outcomes[1].weights, outcomes[2].weights
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=2e-4, atol=2e-5, err_msg=name)


def test_the_curves_of_learning_rate_and_loss_are_the_same(outcomes: dict[int, Outcome]) -> None:
    one, two = outcomes[1].facts, outcomes[2].facts
    assert two["rates"] == one["rates"]
    assert len(set(one["rates"])) > 5
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_each_row_is_evaluated_once(outcomes: dict[int, Outcome], split: str) -> None:
    one, two = (outcomes[devices].facts["scores"][split] for devices in (1, 2))
    assert two["ids"] == one["ids"]
    assert len(set(two["ids"])) == len(two["ids"]) == LIMIT[split]
    np.testing.assert_allclose(two["logits"], one["logits"], rtol=1e-3, atol=1e-4)


def test_metrics_are_those_of_one_process(outcomes: dict[int, Outcome]) -> None:
    one, two = (outcomes[devices].facts["metrics"] for devices in (1, 2))
    evaluated = {name for name in one if name.startswith(("validation/", "test/"))}
    assert {"validation/macro_roc_auc", "test/macro_roc_auc", "test/loss"} <= evaluated <= two.keys()
    for name in evaluated:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)
