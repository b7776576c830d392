"""Two processes on the CPU (gloo) do what one does: the same steps, the same curve, each evaluated row once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
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


# A plain fit that starts from a probe, and one of each option that keeps or adds weights of its own.
FITS: dict[str, dict[str, Any]] = {
    "probe": {"probe": True},
    "average": {"model": {"ema_decay": 0.9}},
    "layer rates": {"model": {"layer_decay": 0.7}},
    "adapters": {"lora": {"rank": 4}, "model": {"ema_decay": 0.9, "layer_decay": 0.7}},
}


@dataclass
class Outcome:
    facts: dict[str, Any]
    weights: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    message_file(folder / "messages.parquet", messages(120))
    config = tiny_encoder(folder / "encoder") / "config.json"
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(json.loads(config.read_text()) | rates))
    return folder


@pytest.fixture(scope="module")
def every(folder: Path) -> dict[int, dict[str, Outcome]]:
    """What each fit did, by the number of processes and its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "0")  # so that what the worker sets is undone
        return {devices: run(folder, devices) for devices in (1, 2)}


@pytest.fixture(scope="module")
def outcomes(every: dict[int, dict[str, Outcome]]) -> dict[int, Outcome]:
    return {devices: found["probe"] for devices, found in every.items()}


def run(folder: Path, devices: int) -> dict[str, Outcome]:
    jobs, file = [], folder / f"jobs-{devices}.json"
    for name, options in FITS.items():
        given = {
            "folder": str(folder),
            "devices": devices,
            "batch_size": 11,
            "max_steps": STEPS,
            "limit": LIMIT,
            "out": str(folder / f"{name}-{devices}.json"),
        }
        if "lora" not in options or find_spec("peft") is not None:
            jobs.append({**given, **options})
    file.write_text(json.dumps(jobs))
    if devices > 1:
        run_apart(file)
    else:
        for job in jobs:
            worker.main(job)
    found = {}
    for job in jobs:
        out = Path(job["out"])
        with np.load(out.with_suffix(".npz")) as stored:
            found[out.stem.rpartition("-")[0]] = Outcome(json.loads(out.read_text()), dict(stored))
    return found


def run_apart(job: Path, script: Any = worker) -> None:
    """Run a worker in a process of its own, which starts the second."""
    ranks = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
    environment = {name: value for name, value in os.environ.items() if name not in ranks}
    done = subprocess.run(
        [sys.executable, script.__file__, str(job)],
        capture_output=True,
        text=True,
        timeout=600,
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


@pytest.mark.parametrize("name", FITS)
def test_weights_are_those_of_one_process(every: dict[int, dict[str, Outcome]], name: str) -> None:
    if name not in every[1]:
        pytest.skip("the extra `lora` brings peft")
    one, two = every[1][name].weights, every[2][name].weights
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=2e-4, atol=2e-5, err_msg=key)


def test_the_options_did_something(every: dict[int, dict[str, Outcome]]) -> None:
    """So that the comparison above is one of fits with an option, and of fits that moved."""
    heads = {name: found.weights["head.linear.weight"] for name, found in every[1].items()}
    for name, weight in heads.items():
        others = [other for another, other in heads.items() if another != name]
        assert all(np.abs(weight - other).max() > 1e-3 for other in others), name
    adapters = every[1].get("adapters")
    if adapters is not None:
        seconds = [value for key, value in adapters.weights.items() if ".lora_B." in key]
        assert seconds
        assert all(np.abs(value).max() > 1e-3 for value in seconds)


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
