"""The training benchmark runs from end to end on a tiny encoder, and its sampling is what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.builders import message_file, messages, tiny_encoder

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PROGRAMS = ("Tocsin, 32-true", "Trainer at its best: 32-true, grouped by length", "Trainer, default")


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a part of the benchmark, whose parts import one another by their file names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "training"))
    specification = importlib.util.spec_from_file_location(name, BENCHMARKS / "training" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, module)
    specification.loader.exec_module(module)
    return module


def environ(tmp_path: Path) -> dict[str, str]:
    # A busy runner's probe of bf16 must not choose another precision than the one expected here.
    return dict(os.environ, TOCSIN_CPU_PRECISION="32-true", TOCSIN_CACHE=str(tmp_path / "cache"))


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return tiny_encoder(tmp_path / "encoder")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return message_file(tmp_path / "messages.parquet", messages(400))


@pytest.mark.slow
def test_quick_run(encoder: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="transformers' Trainer needs the extra bench")
    told = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "bench_training.py"), "--quick", "--device", "cpu"]
    command += ["--encoder", str(encoder), "--data", str(data), "--max-length", "32"]
    command += ["--vocabularies", "full,60", "--json", str(told)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ(tmp_path), check=False)
    assert done.returncode == 0, done.stderr
    for heading in ("messages/s", "ratio of Tocsin", "GFLOP/s", "part of the step", "of the limit"):
        assert done.stdout.count(heading) >= 2, done.stdout
    results = json.loads(told.read_text())
    assert results["machine"]["precision"] == "32-true"
    for vocabulary in ("full", "60"):
        given = results[vocabulary]
        assert list(given["runs"]) == list(PROGRAMS)
        tokens = {runs[0]["tokens"] for runs in given["runs"].values()}
        # The same messages, each once, whatever the program.
        assert tokens == {sum(given["facts"]["lengths"])}
        assert all(runs[0]["messages"] == 16 for runs in given["runs"].values())
        ours, best, default = (given["runs"][name][0]["padded_tokens"] for name in PROGRAMS)
        assert ours <= best <= default
    assert results["60"]["facts"]["vocabulary"] == 60


@pytest.mark.slow
def test_parity_of_a_device_with_itself_is_exact(encoder: Path, data: Path, tmp_path: Path) -> None:
    given = tmp_path / "task.json"
    task: dict[str, Any] = {
        "program": "parity",
        "folder": str(encoder),
        "table": str(data),
        "labels": ["water", "food"],
        "cache": str(tmp_path / "cache"),
        "device": "cpu",
        "precision": "32-true",
        "max_length": 32,
        "batch_size": 8,
        "warmup": 0,
        "steps": 1,
        "pool_steps": 50,
        "pieces": None,
        "seed": 1,
        "pass_tokens": 64,
        "profile": False,
    }
    given.write_text(json.dumps(task))
    command = [
        sys.executable,
        str(BENCHMARKS / "training" / "parity.py"),
        str(given),
        str(tmp_path / "r.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environ(tmp_path), check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "r.json").read_text())["parity"]["32-true"]
    assert figures["gradient_difference"] == 0.0
    assert figures["loss_difference"] == 0.0


def test_chosen_steps_stand_for_their_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    common, prepare = load("common", monkeypatch), load("prepare", monkeypatch)
    texts, labels = prepare.synthetic(2000)
    assert len(labels) == 36
    lengths = [len(text.split()) for text in texts]
    task = common.Task("prepare", "", "", [], "", batch_size=8, warmup=2, steps=10, pool_steps=50)
    chosen = prepare.choose(lengths, task)
    assert len(chosen) == len(set(chosen)) == 12 * 8
    measured = [lengths[row] for row in chosen[16:]]
    assert measured == sorted(measured)
    # As narrow as steps of a whole pool of 50, and of the corpus's mean length.
    assert sum(max(measured[at : at + 8]) * 8 for at in range(0, 80, 8)) < 1.15 * sum(measured)
    assert sum(measured) / 80 == pytest.approx(sum(lengths) / 2000, rel=0.1)
    assert prepare.choose(lengths, task) == chosen


def test_too_few_messages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    common, prepare = load("common", monkeypatch), load("prepare", monkeypatch)
    with pytest.raises(SystemExit, match="fewer --steps"):
        prepare.choose([4] * 50, common.Task("prepare", "", "", [], "", batch_size=8, steps=10))


def test_unknown_labels_count_as_zero(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load("common", monkeypatch)
    prepare = load("prepare", monkeypatch)
    texts, labels, source = prepare.read_corpus(str(data))
    assert len(texts) == pq.read_table(data)["split"].to_pylist().count("train")
    assert set(labels) == {"water", "food", "fire"}
    assert set(labels["fire"]) == {0, 1}
    assert "messages.parquet" in source


def test_cost_and_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = load("tables", monkeypatch)
    assert tables.spread([3.0, 1.0, 2.0]) == "2.0 (1.0–3.0)"

    def run(speed: float, memory: float) -> dict[str, float]:
        return {"messages_per_s": speed, "peak_mb": memory}

    result = {
        "programs": {"A": "tocsin", "B": "trainer-best", "C": "trainer-default"},
        "runs": {"A": [run(30, 100)] * 2, "B": [run(10, 200)] * 2, "C": [run(10, 120)] * 2},
    }
    text = tables.ratio_table(result, full=True)
    assert "over: B | 3.00 (3.00–3.00) | at least 2.5: met" in text
    assert "over: C | 3.00 (3.00–3.00) | at least 4.0: NOT met" in text
    assert "memory, over: B | 0.50 (0.50–0.50) | at most 0.6: met" in text
    assert "memory, over: C | 0.83 (0.83–0.83) | at most 0.6: NOT met" in text


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::native_dropout_backward", "dropout"),
        ("aten::random_", "dropout"),
        ("_DropBackward", "dropout"),
        ("aten::index_select", "attention"),
        ("aten::index", "embedding rows"),
        ("aten::_fused_adamw_", "optimiser and clipping"),
        ("aten::native_layer_norm", "norms and GELU"),
        ("aten::_softmax_backward_data", "attention"),
        ("aten::embedding_dense_backward", "embedding rows"),
        ("aten::add_", "additions, copies, sums"),
        ("aten::view", "other"),
    ],
)
def test_operations_fall_into_kinds(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load("common", monkeypatch)
    assert load("breakdown", monkeypatch).kind_of(name) == kind
