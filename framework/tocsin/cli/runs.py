"""`tocsin runs`: what was run, how it ended, how well it did."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.options import OptionParser
from tocsin.escaping import print_lines, rich_text, terminal_text

if TYPE_CHECKING:
    from rich.table import Table

    from tocsin.training.listing import RunSummary

HELP = "list runs with their key figures"

__all__ = ["HELP", "main"]

_SORTS = {
    "started": "started",
    "name": "name",
    "verb": "verb",
    "status": "status",
    "duration": "duration_seconds",
    "roc-auc": "macro_roc_auc",
    "ap": "macro_average_precision",
}


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "runs"); return the exit code.

    Raises:
        ConfigError: There is no such folder; SystemExit(2) for a wrong command line.
    """
    parser = OptionParser(prog="tocsin runs", description=f"L{HELP[1:]}, from each run's own files.")
    parser.add_argument(
        "root", nargs="?", type=Path, default=Path("runs"), metavar="ROOT", help="folder of runs (runs)"
    )
    parser.add_argument(
        "--sort", choices=_SORTS, default="started", help="latest, longest and best first; names from a to z"
    )
    parser.add_argument("--reverse", action="store_true", help="turn that order round")
    parser.add_argument("--json", action="store_true", help="print every fact as JSON")
    options = parser.parse_args(argv)

    from tocsin.cli.evaluate import json_text
    from tocsin.text.progress import table_console
    from tocsin.training.listing import list_runs, sorted_runs

    runs = sorted_runs(list_runs(options.root), _SORTS[options.sort], options.reverse)
    if options.json:
        print(json_text([asdict(run) for run in runs]), end="")
    elif not runs:
        print_lines(f"No runs in {options.root}.")
    else:
        table_console().print(_table(runs))
        for run in runs:
            for line in (*_ending(run), *run.problems):
                print_lines(terminal_text(f"{run.path}: {line}"))
    return 0


def _ending(run: RunSummary) -> list[str]:
    """Say how a run ended that did not complete, and how to go on; nothing of others."""
    if run.status not in ("failed", "interrupted", "killed"):
        return []
    words = "interrupted by" if run.status == "interrupted" else f"{run.status}:"
    told = f"{words} {run.reason}" if run.reason else run.status
    return [told + (f"; go on with: {run.go_on}" if run.go_on else "")]


def _table(runs: list[RunSummary]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("run", "verb", "started", "status"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "run")
    for heading in ("duration", "scores of", "macro ROC-AUC", "macro AP", "seed", "commit"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        cells = (
            run.name,
            run.verb or "–",
            "–" if run.started is None else run.started[:19].replace("T", " "),
            run.status,
            _duration(run.duration_seconds),
            run.split or "–",
            _figure(run.macro_roc_auc),
            _figure(run.macro_average_precision),
            "–" if run.seed is None else str(run.seed),
            "–" if run.commit is None else run.commit[:8] + ("+" if run.dirty else ""),
        )
        table.add_row(*map(rich_text, cells))
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
