"""Training throughput and peak memory of Tocsin beside transformers' Trainer; see benchmarks/README.md.

Every measurement is a process of its own, the programs take turns, and nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

PARTS = Path(__file__).resolve().parent / "training"
sys.path.insert(0, str(PARTS))

from common import Task  # noqa: E402
from tables import (  # noqa: E402
    BREAKDOWN_NOTE,
    breakdown_table,
    limit_lines,
    machine_lines,
    parity_table,
    ratio_table,
    speed_table,
)

SCRIPTS = {
    "tocsin": "tocsin_program",
    "trainer-best": "trainer_program",
    "trainer-default": "trainer_program",
}


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that every program is run")
    parser.add_argument("--steps", type=int, help="optimiser steps timed in a run (CPU 6, GPU 300)")
    parser.add_argument("--warmup", type=int, help="steps before the clock starts (CPU 2, GPU 30)")
    parser.add_argument("--batch-size", type=int, default=32, help="messages of an optimiser step")
    parser.add_argument("--max-length", type=int, default=96, help="tokens a message keeps at most")
    parser.add_argument(
        "--pool-steps", type=int, default=50, help="steps of a pool, for both programs that group"
    )
    parser.add_argument(
        "--vocabularies", default="full,60000", help="'full' and numbers of pieces, with commas between"
    )
    parser.add_argument(
        "--encoder", default="", help="encoder folder; default: E5SmallMultilingual of tocsin-wheels"
    )
    parser.add_argument(
        "--data", default="", help="message file; default: the crisis messages where they are found"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--no-breakdown", action="store_true", help="leave out the run that takes a step apart"
    )
    parser.add_argument("--json", type=Path, help="also write every measurement to this file")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of 2 steps of 8 messages: shows that it works, measures nothing",
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.steps, options.warmup, options.batch_size = 1, 2, 1, 8
    return options


def run_part(script: str, task: Task, folder: Path, parts: Path = PARTS) -> dict[str, Any]:
    """Run one part in a fresh process and return its figures; parts of another folder may import those of this one."""
    given, told = folder / "task.json", folder / "result.json"
    given.write_text(json.dumps(task.to_dict()), encoding="utf-8")
    told.unlink(missing_ok=True)
    environ = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", PYTHONWARNINGS="ignore")
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PARTS), os.environ.get("PYTHONPATH"))))
    # On several GPUs the Trainer would split every batch between them by itself.
    environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    command = [sys.executable, str(parts / f"{script}.py"), str(given), str(told)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode or not told.is_file():
        raise SystemExit(
            f"{done.stdout}\n{done.stderr}\n{script} ({task.program}) ended with {done.returncode}"
        )
    figures: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return figures


def programs_of(machine: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name shown, program, precision): Tocsin first, the Trainer at its best, the Trainer as it comes."""
    precision = machine["precision"]
    rows = [
        (f"Tocsin, {precision}", "tocsin", precision),
        (f"Trainer at its best: {precision}, grouped by length", "trainer-best", precision),
        ("Trainer, default", "trainer-default", "32-true"),
    ]
    if machine["device"] == "cuda" and precision != "16-mixed":
        rows.insert(1, ("Tocsin, 16-mixed", "tocsin", "16-mixed"))
    return rows


def training_flops(lengths: list[int], limit: dict[str, Any]) -> float:
    """Floating-point operations of training on these messages once, without any padding.

    Six a weight and token (two forward, four backward), and the attention's two products: 4 T² D forward a layer,
    twice that backward. The head, one row a message, is left out.
    """
    attention = 12 * limit["layers"] * limit["width"] * sum(length**2 for length in lengths)
    return 6.0 * limit["weights"] * sum(lengths) + attention


def bench_vocabulary(
    options: argparse.Namespace, machine: dict[str, Any], pieces: int | None, scratch: Path
) -> dict[str, Any]:
    """All measurements with one vocabulary."""
    cuda = machine["device"] == "cuda"
    # The whole split is read, so that rows in use are those of a full fit; the chosen messages are trained on.
    task = Task(
        program="prepare",
        folder=options.encoder,
        table=options.data,
        labels=[],
        cache=str(scratch),
        device=machine["device"],
        precision=machine["precision"],
        max_length=options.max_length,
        batch_size=options.batch_size,
        warmup=options.warmup or (30 if cuda else 2),
        steps=options.steps or (300 if cuda else 6),
        pool_steps=options.pool_steps,
        pieces=pieces,
    )
    facts = run_part("prepare", task, scratch)
    lengths = facts["lengths"]
    mean = statistics.fmean(lengths)
    tokens = min(16384 if cuda else 1024, round(options.batch_size * mean))
    task = replace(
        task, folder=facts["folder"], table=facts["table"], labels=facts["labels"], pass_tokens=tokens
    )
    print(f"\n## {facts['vocabulary']:,} pieces\n")
    print(f"{facts['source']}; {task.messages:,} of them timed ({task.steps} steps of {task.batch_size}),")
    print(
        f"{mean:.1f} tokens a message (whole corpus {facts['corpus_mean']:.1f}), max_length {task.max_length}.\n"
    )
    programs = programs_of(machine)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name, _, _ in programs}
    limits = []
    for number in range(options.rounds):
        # Rounds begin with another program each, so that a drift of the machine favours none.
        shift = number % len(programs)
        for name, program, precision in programs[shift:] + programs[:shift]:
            figures = run_part(SCRIPTS[program], replace(task, program=program, precision=precision), scratch)
            if figures["tokens"] != sum(lengths):
                raise SystemExit(
                    f"{name} worked on {figures['tokens']} tokens, not on the {sum(lengths)} chosen."
                )
            runs[name].append(figures)
            print(
                f"round {number + 1}: {name}: {figures['messages_per_s']:.2f} messages/s, {figures['peak_mb']:,.0f} MB",
                file=sys.stderr,
                flush=True,
            )
        limits.append(run_part("limit", replace(task, program="limit"), scratch))
    return {
        "task": task.to_dict(),
        "facts": facts,
        "runs": runs,
        "programs": {name: program for name, program, _ in programs},
        "limits": limits,
        "flops": training_flops(lengths, limits[0]),
        "breakdown": None
        if options.no_breakdown
        else run_part("tocsin_program", replace(task, program="tocsin", profile=True), scratch),
        "parity": run_part("parity", replace(task, program="parity"), scratch)["parity"] if cuda else None,
    }


def report(result: dict[str, Any], pieces: int | None) -> None:
    """Print the tables of one vocabulary."""
    print(speed_table(result))
    print(f"\n{ratio_table(result, pieces is None)}")
    print(f"\n{limit_lines(result)}")
    if result["breakdown"]:
        print(f"\n{breakdown_table(result['breakdown'])}\n\n{BREAKDOWN_NOTE}")
    if result["parity"]:
        print(f"\n{parity_table(result['parity'])}")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    options = parsed(argv)
    started = time.perf_counter()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as folder:
        scratch = Path(folder)
        probe = Task(program="machine", folder="", table="", labels=[], cache="", device=options.device)
        machine = run_part("machine", probe, scratch)
        print("# Training beside transformers' Trainer\n")
        busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        print(machine_lines(machine, busy))
        for vocabulary in options.vocabularies.split(","):
            pieces = None if vocabulary.strip() == "full" else int(vocabulary)
            place = scratch / vocabulary.strip()
            place.mkdir()
            results[vocabulary.strip()] = bench_vocabulary(options, machine, pieces, place)
            report(results[vocabulary.strip()], pieces)
    print(f"\n{time.perf_counter() - started:.0f} s in all.")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, **results}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
