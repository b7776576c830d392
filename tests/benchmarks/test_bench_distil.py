"""The benchmark of distillation runs from end to end on tiny encoders, and both programs learn from the same pairs."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import WORDS, tiny_encoder

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(tmp_path: Path, *options: str) -> tuple[str, dict]:
    """Run the script on invented pairs; return what it printed and the figures."""
    generator = random.Random(5)
    sentences = [" ".join(generator.choices(WORDS, k=generator.choice([2, 4, 8]))) for _ in range(90)]
    rows = [
        {"english": english, "text": f"{english} {lang} {number}", "lang": lang}
        for number, english in enumerate(sentences)
        for lang in ("fra", "deu", "hat")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    student, teacher = tiny_encoder(tmp_path / "student"), tiny_encoder(tmp_path / "teacher", seed=3)
    told = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "bench_distil.py"), "--quick", "--device", "cpu"]
    command += [
        "--encoder",
        str(student),
        "--teacher",
        str(teacher),
        "--data",
        str(tmp_path / "pairs.parquet"),
    ]
    command += ["--max-length", "32", "--json", str(told), *options]
    # A busy runner's probe of bf16 must not choose another precision than the one expected here.
    environ = dict(os.environ, TOCSIN_CPU_PRECISION="32-true", TOCSIN_CACHE=str(tmp_path / "cache"))
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(told.read_text())


@pytest.fixture(autouse=True)
def _peer() -> None:
    for name in ("accelerate", "sentence_transformers", "datasets"):
        pytest.importorskip(name, reason="the peer needs the extra bench")


@pytest.mark.slow
def test_quick_run(tmp_path: Path) -> None:
    printed, results = run(tmp_path, "--vocabulary", "60k", "--pieces", "60")
    for heading in ("pairs/s", "ratio of Tocsin", "GFLOP/s", "of the limit", "No bf16 here", "peak memory"):
        assert heading in printed, printed
    found = results["60"]
    assert found["facts"]["vocabulary"] == 60
    assert list(found["programs"].values()) == ["tocsin", "peer-best", "peer-default"]
    ours, best, default = (runs[0] for runs in found["runs"].values())
    assert {each["messages"] for each in (ours, best, default)} == {16}
    # Both sides of all pairs there; here an English sentence once a step.
    assert best["tokens"] == default["tokens"] == found["facts"]["tokens"]
    assert ours["tokens"] == sum(found["facts"]["lengths"]) <= best["tokens"]
    assert best["padded_tokens"] <= default["padded_tokens"]


@pytest.mark.slow
def test_quality_at_equal_pairs(tmp_path: Path) -> None:
    printed, results = run(tmp_path, "--vocabulary", "full", "--accuracy", "--held-out", "5")
    found = results["full"]
    assert found["languages"] == 3
    students = list(found["accuracy"])
    assert students == [
        "student before",
        "sentence-transformers: MSELoss",
        "Tocsin: the same loss",
        "Tocsin: its recipe",
    ]
    for figures in found["accuracy"].values():
        assert 0 <= figures["mean"]["low"] <= figures["mean"]["point"] <= figures["mean"]["high"] <= 1
    assert found["minus_peer"]["sentence-transformers: MSELoss"]["point"] == 0
    assert all(name in printed for name in students)


def test_the_aims_are_those_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("training", "distilling"):
        monkeypatch.syspath_prepend(str(BENCHMARKS / folder))
    tables, pair_tables = (
        module(monkeypatch, *names) for names in (("training", "tables"), ("distilling", "pair_tables"))
    )
    speeds = {"A": ("tocsin", 30, 30), "B": ("peer-best", 12, 100), "C": ("peer-default", 5, 100)}
    result = {
        "programs": {name: program for name, (program, _, _) in speeds.items()},
        "runs": {
            name: [{"messages_per_s": speed, "peak_mb": memory}]
            for name, (_, speed, memory) in speeds.items()
        },
    }
    cut = tables.ratio_table(result, False, pair_tables.WANTED)
    assert "over: B | 2.50 | at least 2.2: met" in cut
    assert "memory, over: B | 0.30 | at most 0.3: met" in cut
    assert "over: C | 6.00 | at least 5.0: met" in cut
    assert "over: B | 2.50 | at least 3.0: NOT met" in tables.ratio_table(result, True, pair_tables.WANTED)


def module(monkeypatch: pytest.MonkeyPatch, folder: str, name: str) -> ModuleType:
    """Import a part of the benchmark, whose parts import one another by their file names."""
    specification = importlib.util.spec_from_file_location(name, BENCHMARKS / folder / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    found = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, found)
    specification.loader.exec_module(found)
    return found
