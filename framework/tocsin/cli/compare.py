"""`tocsin compare`: is one model better than another on the same messages?"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "compare two scores files of the same messages by paired bootstrap"

__all__ = ["HELP", "main"]

_FIGURES = (
    "macro_roc_auc",
    "macro_average_precision",
    "macro_f1",
    "micro_roc_auc",
    "micro_average_precision",
)


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "compare"); return the exit code.

    Raises:
        TocsinError: For files that cannot be compared; SystemExit(2) for a wrong command line.
    """
    from tocsin.cli.evaluate import add_common_arguments, console, json_text, model_names

    parser = argparse.ArgumentParser(
        prog="tocsin compare", description=f"C{HELP[1:]}: differences are first minus second."
    )
    parser.add_argument(
        "--scores",
        nargs=2,
        type=Path,
        required=True,
        metavar=("A", "B"),
        help="two scores files of one split",
    )
    add_common_arguments(parser)
    options = parser.parse_args(argv)

    from dataclasses import asdict

    from tocsin.scores.metrics import evaluate
    from tocsin.scores.report import comparison
    from tocsin.scores.sections import render_sections
    from tocsin.scores.statistics import paired_bootstrap
    from tocsin.scores.table import ScoresTable

    a, b = (ScoresTable.read(path) for path in options.scores)
    name_a, name_b = model_names(options.scores, (a, b), options.name)
    differences = paired_bootstrap(
        a, b, _FIGURES, options.draws, options.seed, options.groups, thresholds=options.threshold
    )
    if options.json:
        plain = {
            figure: {key: None if value != value else value for key, value in asdict(difference).items()}
            for figure, difference in differences.items()
        }
        print(json_text({"a": name_a, "b": name_b, "a_minus_b": plain}), end="")
    else:
        metrics = evaluate(a, options.threshold), evaluate(b, options.threshold)
        console().print(render_sections([comparison((name_a, name_b), metrics, differences)]))
    return 0
