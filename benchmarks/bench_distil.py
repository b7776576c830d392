"""Distillation beside sentence-transformers: throughput, peak memory, or (--accuracy) quality at equal pairs.

See benchmarks/README.md. Every measurement is a process of its own, the programs take turns, and nothing else should
run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = HERE / "distilling"
sys.path[:0] = [str(HERE), str(HERE / "training"), str(PARTS)]

from bench_training import run_part, training_flops  # noqa: E402
from common import Task  # noqa: E402
from pair_tables import WANTED, accuracy_table, collator_lines  # noqa: E402
from pair_task import PairTask  # noqa: E402
from tables import limit_lines, machine_lines, ratio_table, speed_table  # noqa: E402

PEER = "sentence-transformers"
SCRIPTS = {"tocsin": "tocsin_distil", "tocsin-compiled": "tocsin_distil"}  # every other program is the peer's


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that every program is run")
    parser.add_argument(
        "--pairs",
        type=int,
        help="pairs timed in a run, whole steps (CPU 256, GPU 12,800); with --accuracy 3,200",
    )
    parser.add_argument("--warmup", type=int, help="steps before the clock starts (CPU 1, GPU 20)")
    parser.add_argument("--vocabulary", choices=["full", "60k", "both"], default="both")
    parser.add_argument("--layers", type=int, help="layers that the student keeps; default: all")
    parser.add_argument("--batch-size", type=int, default=64, help="pairs of an optimiser step")
    parser.add_argument("--max-length", type=int, default=128, help="tokens a sentence keeps at most")
    parser.add_argument(
        "--pool-steps", type=int, default=20, help="steps of a pool, for both programs that group by length"
    )
    parser.add_argument(
        "--compile", action="store_true", help="also run Tocsin with torch_compile; warm-up translates"
    )
    parser.add_argument("--accuracy", action="store_true", help="measure quality at equal pairs, not speed")
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate of both, with --accuracy")
    parser.add_argument("--held-out", type=int, default=20, help="held-out pairs of a language at most")
    parser.add_argument("--pieces", type=int, default=60_000, help="what 60k stands for")
    parser.add_argument("--encoder", default="", help="student's folder; default: E5SmallMultilingual")
    parser.add_argument("--teacher", default="", help="teacher's folder; default: MiniLmEnglish")
    parser.add_argument(
        "--data", default="", help="table of pairs; default: the gettext catalogs of installed packages"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--json", type=Path, help="also write every measurement to this file")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of 2 steps of 8 pairs: shows that it works, measures nothing",
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.warmup, options.batch_size, options.pairs = 1, 1, 8, 16
    return options


def programs_of(machine: dict[str, Any], compiled: bool) -> list[tuple[str, str, str]]:
    """(name shown, program, precision): Tocsin first, the peer at its best, the peer as it comes."""
    precision = machine["precision"]
    rows = [
        (f"Tocsin, {precision}", "tocsin", precision),
        (f"{PEER} at its best: {precision}, grouped by length", "peer-best", precision),
        (f"{PEER}, default", "peer-default", "32-true"),
    ]
    if precision != "32-true":
        # What its own switches give, without a sampler that the user brings.
        rows.insert(2, (f"{PEER}, {precision}, not grouped", "peer-half", precision))
    if compiled:
        rows.insert(1, (f"Tocsin, {precision}, torch_compile", "tocsin-compiled", precision))
    return rows


def task_of(
    options: argparse.Namespace, machine: dict[str, Any], pieces: int | None, scratch: Path
) -> PairTask:
    """What is common to all processes with one vocabulary."""
    cuda = machine["device"] == "cuda"
    pairs = options.pairs or (3200 if options.accuracy else 12_800 if cuda else 256)
    warmup = options.warmup if options.warmup is not None else 20 if cuda else 1
    return PairTask(
        program="prepare",
        folder=options.encoder,
        table=str(Path(options.data).resolve()) if options.data else "",
        labels=[],
        cache=str(scratch),
        device=machine["device"],
        precision=machine["precision"],
        max_length=options.max_length,
        batch_size=options.batch_size,
        warmup=0 if options.accuracy else warmup,
        steps=max(1, pairs // options.batch_size),
        pool_steps=options.pool_steps,
        pieces=pieces,
        layers=options.layers,
        teacher=options.teacher,
        held_out=options.held_out,
        equal=options.accuracy,
        lr=options.lr,
    )


def bench_speed(
    options: argparse.Namespace, machine: dict[str, Any], task: PairTask, facts: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    """Speed and memory with one vocabulary."""
    cuda = machine["device"] == "cuda"
    tokens = min(16384 if cuda else 1024, round(2 * options.batch_size * facts["corpus_mean"]))
    programs = programs_of(machine, options.compile)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name, _, _ in programs}
    limits = []
    for number in range(options.rounds):
        # Rounds begin with another program each, so that a drift of the machine favours none.
        shift = number % len(programs)
        for name, program, precision in programs[shift:] + programs[:shift]:
            one = replace(task, program=program, precision=precision)
            figures = run_part(SCRIPTS.get(program, "peer_distil"), one, scratch, PARTS)
            runs[name].append(figures)
            print(
                f"round {number + 1}: {name}: {figures['messages_per_s']:.2f} pairs/s, {figures['peak_mb']:,.0f} MB",
                file=sys.stderr,
                flush=True,
            )
        limits.append(run_part("limit", replace(task, pass_tokens=tokens), scratch))
    lengths: list[int] = []
    for name, program, _ in programs:
        for run in runs[name]:
            lengths = run.pop("lengths", lengths)
            wanted = sum(lengths) if program in SCRIPTS else facts["tokens"]
            if run["tokens"] != wanted:
                raise SystemExit(f"{name} worked on {run['tokens']} tokens; those chosen are {wanted}.")
    return {
        "task": task.to_dict(),
        "facts": facts | {"lengths": lengths},
        "runs": runs,
        "programs": {name: program for name, program, _ in programs},
        "limits": limits,
        "flops": training_flops(lengths, limits[0]),
    }


def bench_accuracy(task: PairTask, scratch: Path) -> dict[str, Any]:
    """Both programs trained once on the same pairs, and their students matched."""
    students = {
        f"{PEER}: MSELoss": replace(task, program="peer-best"),
        "Tocsin: the same loss": replace(task, program="tocsin"),
        "Tocsin: its recipe": replace(task, program="tocsin", recipe=True),
    }
    folders, runs = {"student before": ""}, {}
    for number, (name, one) in enumerate(students.items()):
        folders[name] = str(scratch / f"trained-{number}-{task.pieces or 'full'}")
        one = replace(one, student=folders[name])
        figures = run_part(SCRIPTS.get(one.program, "peer_distil"), one, scratch, PARTS)
        figures.pop("lengths", None)
        runs[name] = figures
        print(f"{name}: {figures['messages_per_s']:.2f} pairs/s", file=sys.stderr, flush=True)
    found = run_part("match_students", replace(task, students=folders), scratch, PARTS)
    return {"task": task.to_dict(), "runs": runs, **found}


def report_speed(result: dict[str, Any], full: bool) -> None:
    """Print the tables of one vocabulary."""
    print(speed_table(result, "pairs"))
    print(f"\n{ratio_table(result, full, WANTED)}")
    print(f"\n{limit_lines(result, 'pair')}\n{collator_lines(result)}")


def main(argv: list[str] | None = None) -> int:
    options = parsed(argv)
    started = time.perf_counter()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as folder:
        scratch = Path(folder)
        probe = Task(program="machine", folder="", table="", labels=[], cache="", device=options.device)
        machine = run_part("machine", probe, scratch)
        print(f"# Distillation beside {PEER}\n")
        print(machine_lines(machine, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, PEER))
        print(f"{PEER} {version(PEER)}.")
        if options.quick:
            print("A trial of the script: its figures say nothing.")
        if machine["precision"] != "bf16-mixed":
            print("No bf16 here: the aims below were set for hardware that has it.")
        chosen = {"full": [None], "60k": [options.pieces], "both": [None, options.pieces]}
        for pieces in chosen[options.vocabulary]:
            task = task_of(options, machine, pieces, scratch)
            facts = run_part("prepare_pairs", task, scratch, PARTS)
            task = replace(task, folder=facts["folder"], chosen=facts["chosen"])
            name = "full" if pieces is None else str(pieces)
            print(f"\n## {facts['vocabulary']:,} pieces\n\n{facts['source']};")
            print(f"{task.messages:,} trained on, {task.batch_size} a step, max_length {task.max_length}.\n")
            if options.accuracy:
                results[name] = bench_accuracy(task, scratch)
                print(accuracy_table(results[name]))
            else:
                results[name] = bench_speed(options, machine, task, facts, scratch)
                report_speed(results[name], pieces is None)
            sys.stdout.flush()
    print(f"\n{time.perf_counter() - started:.0f} s in all.")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, **results}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
