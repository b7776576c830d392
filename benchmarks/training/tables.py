"""The figures as Markdown; pure functions of plain data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

WANTED = {
    "best, full": 2.5,
    "best, cut": 1.5,
    "default, full": 4.0,
    "memory, best, full": 0.6,
    "memory, default, full": 0.6,
}
"""What Tocsin promises beside the Trainer: least ratios of speed, largest ratios of memory."""

BREAKDOWN_NOTE = (
    "Parts are timed around the calls of the step; kinds are torch's profile of the same steps. "
    "The profiler's own cost is included in both."
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first to the right."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def spread(values: Sequence[float], digits: int = 1, unit: str = "") -> str:
    """Median and, of several, the range."""
    middle = f"{statistics.median(values):,.{digits}f}{unit}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def machine_lines(machine: dict[str, Any], busy: float, peer: str = "the Trainer") -> str:
    """The machine, the precision and why."""
    lines = [
        f"{machine['processor']}, {machine['processors']} processors, {machine['threads']} threads of torch, "
        f"{machine['system']}; {', '.join(machine['instructions']) or 'no vector instructions named'}.",
        ", ".join(f"{name} {number}" for name, number in machine["versions"].items()) + ".",
    ]
    if machine["gpu"]:
        lines.append(f"GPU: {machine['gpu']}.")
    if machine["device"] == "cpu":
        if machine["precision"] == "bf16-mixed":
            lines.append(
                f"Precision: bf16, which this processor is fast at, for Tocsin and for {peer} at its best."
            )
        else:
            lines.append(
                f"Precision: fp32 for all. This processor has no fast bf16 products, so {peer}'s best is fp32 "
                "grouped by length."
            )
    if busy > 0.5:
        lines.append(
            f"WARNING: the load average is {busy:.1f}. Another busy process makes these figures worthless."
        )
    return "\n".join(lines)


def speed_table(result: dict[str, Any], what: str = "messages") -> str:
    """Throughput, padding and memory of every program: medians over rounds, and ranges."""
    rows = []
    gpu = any("gpu_peak_mb" in run for runs in result["runs"].values() for run in runs)
    for name, runs in result["runs"].items():
        row = [
            name,
            spread([run["messages_per_s"] for run in runs]),
            spread([run["tokens"] / run["seconds"] for run in runs], 0),
            f"{runs[0]['padded_tokens'] / runs[0]['tokens']:.2f}",
            spread([run["peak_mb"] for run in runs], 0),
        ]
        if gpu:
            row.append(spread([run["gpu_peak_mb"] for run in runs], 0))
        rows.append(row)
    head = ["program", f"{what}/s", "real tokens/s", "padded over real tokens", "peak memory, MB"]
    return table(head + (["peak GPU memory, MB"] if gpu else []), rows)


def ratio_table(result: dict[str, Any], full: bool, wanted: dict[str, float] = WANTED) -> str:
    """Tocsin over each peer, round by round; for memory less is better."""
    programs = result["programs"]
    ours = next(name for name, program in programs.items() if program == "tocsin")
    rows = []
    for name, program in programs.items():
        if program == "tocsin":
            continue
        short = program.rpartition("-")[2]
        pairs = list(zip(result["runs"][ours], result["runs"][name], strict=True))
        speed = [mine["messages_per_s"] / theirs["messages_per_s"] for mine, theirs in pairs]
        memory = [mine["peak_mb"] / theirs["peak_mb"] for mine, theirs in pairs]
        size = "full" if full else "cut"
        rows.append(
            [
                f"over: {name}",
                spread(speed, 2),
                _verdict(statistics.median(speed), wanted.get(f"{short}, {size}")),
            ]
        )
        bound = wanted.get(f"memory, {short}, {size}")
        rows.append(
            [
                f"memory, over: {name}",
                spread(memory, 2),
                _verdict(statistics.median(memory), bound, least=False),
            ]
        )
    return table(["ratio of Tocsin", "median of rounds (range)", "wanted"], rows)


def _verdict(value: float, bound: float | None, least: bool = True) -> str:
    if bound is None:
        return ""
    met = value >= bound if least else value <= bound
    return f"{'at least' if least else 'at most'} {bound}: {'met' if met else 'NOT met'}"


def limit_lines(result: dict[str, Any], what: str = "message") -> str:
    """The machine's own limit, and how near the step of each program is to it."""
    limits = result["limits"]
    first = limits[0]
    gflops = statistics.median(limit["gflops"] for limit in limits)
    task = result["task"]
    messages = task["steps"] * task["batch_size"]
    per_message = result["flops"] / messages
    tokens = sum(result["facts"]["lengths"])
    ideal = gflops * 1e9 / per_message
    lines = [
        f"Matrix products of this encoder, {first['tokens']} tokens at once, {task['precision']}: "
        f"{spread([limit['gflops'] for limit in limits], 0)} GFLOP/s "
        "(forward and both backward products; the rate of each shape in GFLOP/s: "
        + "; ".join(
            f"{shape} {', '.join(f'{name} {rate:.0f}' for name, rate in rates.items())}"
            for shape, rates in first["rates"].items()
        )
        + ").",
        f"A real token costs {result['flops'] / tokens / 1e6:.0f} MFLOP of training, a {what} "
        f"{per_message / 1e9:.2f} GFLOP: at that rate and without padding {ideal:.1f} {what}s/s.",
    ]
    ours = next(name for name, program in result["programs"].items() if program == "tocsin")
    rows, pieces = result["runs"][ours][0]["rows_in_use"], result["facts"]["vocabulary"]
    lines.append(
        f"Tocsin trains {rows:,} of {pieces:,} embedding rows: those whose pieces the training split has."
    )
    for name, runs in result["runs"].items():
        share = statistics.median(run["messages_per_s"] for run in runs) / ideal
        lines.append(f"{name}: {share:.0%} of the limit.")
    return "\n".join(lines)


def breakdown_table(figures: dict[str, Any]) -> str:
    """Shares of the timed steps' wall time, by part and by kind."""
    wall = figures["seconds"]
    sections = []
    for title, shares in (("part of the step", figures["parts"]), ("kind of operation", figures["kinds"])):
        rows = [
            [name, f"{seconds / wall:.1%}"]
            for name, seconds in sorted(shares.items(), key=lambda item: -item[1])
        ]
        rows.append(["the rest (Python, Lightning)", f"{max(0.0, 1 - sum(shares.values()) / wall):.1%}"])
        sections.append(table([title, "share of the time"], rows))
    padding = 1 - figures["tokens"] / figures["padded_tokens"]
    sections.append(f"Padding is {padding:.1%} of all tokens computed; {figures['passes']} passes.")
    return "\n\n".join(sections)


def parity_table(parity: dict[str, Any]) -> str:
    """One step on the device beside the same step on the CPU in fp32."""
    rows = [
        [
            precision,
            f"{figures['loss_difference']:.1e}",
            f"{figures['gradient_difference']:.1e}",
            f"{figures['gradient_cosine']:.6f}",
        ]
        for precision, figures in parity.items()
    ]
    return table(
        ["one step beside the CPU's in fp32", "loss apart", "gradient apart", "gradient cosine"], rows
    )
