"""What the benchmark of distillation prints beside the tables of training; pure functions of plain data."""

from __future__ import annotations

import statistics
from typing import Any

from tables import table

WANTED = {
    "best, full": 3.0,
    "best, cut": 2.2,
    "default, cut": 5.0,
    "memory, best, full": 0.3,
    "memory, best, cut": 0.3,
}
"""What Tocsin aims at beside sentence-transformers on hardware with bf16: least ratios of speed, largest of memory."""


def collator_lines(result: dict[str, Any]) -> str:
    """What the peer's tokenising inside the loop costs it, and what distinct sentences save Tocsin."""
    lines = []
    for name, runs in result["runs"].items():
        if "tokenising_s" in runs[0]:
            share = statistics.median(run["tokenising_s"] / run["seconds"] for run in runs)
            lines.append(
                f"{name}: {share:.1%} of its time tokenises, pads and gathers; {runs[0]['optimiser']}."
            )
    ours, both = sum(result["facts"]["lengths"]), result["facts"]["tokens"]
    lines.append(
        f"Tocsin computes an English sentence once a step however many of its pairs share it: {ours:,} real tokens "
        f"of the {both:,} that both sides of all pairs have."
    )
    return "\n".join(lines)


def cell(found: dict[str, float], sign: str = "") -> str:
    """A figure with its interval."""
    return f"{found['point']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"


def accuracy_table(result: dict[str, Any]) -> str:
    """Matching accuracy of every student, the mean over languages with 95% intervals, and the paired differences."""
    rows = []
    for name, found in result["accuracy"].items():
        run = result["runs"].get(name)
        rows.append(
            [
                name,
                *(cell(found[side]) for side in ("forward", "backward", "mean")),
                "" if name.startswith("sentence-transformers") else cell(result["minus_peer"][name], "+"),
                f"{run['messages_per_s']:.1f}" if run else "",
            ]
        )
    head = ["student", "English to text", "text to English", "mean", "minus sentence-transformers", "pairs/s"]
    task = result["task"]
    return (
        f"{task['steps'] * task['batch_size']:,} pairs seen, one epoch; {result['pairs']:,} held-out pairs in "
        f"{result['languages']} languages.\n\n" + table(head, rows)
    )
