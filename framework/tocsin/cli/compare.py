"""`tocsin compare`: is one model better than another on the same messages?"""

from __future__ import annotations

from pathlib import Path

from tocsin.cli.options import OptionParser
from tocsin.escaping import print_lines

HELP = "compare two scores files of the same messages: differences with intervals, then p-values"

__all__ = ["HELP", "main"]


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "compare"); return the exit code.

    Raises:
        TocsinError: For files that cannot be compared; SystemExit(2) for a wrong command line.
    """
    from tocsin.cli.evaluate import (
        add_common_arguments,
        check_groups,
        check_threshold,
        json_text,
        model_names,
        write_text,
    )
    from tocsin.errors import ConfigError
    from tocsin.text.progress import table_console

    parser = OptionParser(
        prog="tocsin compare", description=f"C{HELP[1:]}: differences are first minus second."
    )
    parser.add_argument(
        "--scores",
        nargs="+",
        action="extend",  # a wrong number is refused below, in words
        type=Path,
        required=True,
        metavar="FILE",
        help="two scores files of one split (Parquet, CSV or TSV)",
    )
    add_common_arguments(parser)
    parser.add_argument(
        "--by",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN",
        help="also compare within: lang, genre ...",
    )
    parser.add_argument(
        "--adjust",
        choices=("holm", "benjamini-hochberg"),
        default="holm",
        help="how p-values of many labels or slices are adjusted (default %(default)s)",
    )
    parser.add_argument("--labels", action="store_true", help="show every label, not those alone that differ")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write comparison.json and comparison.md here"
    )
    options = parser.parse_args(argv)
    if len(options.scores) != 2:
        given = " ".join(map(str, options.scores))
        raise ConfigError(
            f"compare wants two scores files, --scores A B, and got {len(options.scores)}: {given}. "
            "`tocsin evaluate` takes any number."
        )
    check_threshold(options.threshold)

    from tocsin.scores.comparison import compare
    from tocsin.scores.comparison_report import comparison_sections, comparison_to_dict
    from tocsin.scores.sections import render_sections, sections_to_markdown
    from tocsin.scores.table import ScoresTable

    a, b = (ScoresTable.read(path) for path in options.scores)
    check_groups(options.groups, options.scores[:1], [a])
    names = model_names(options.scores, (a, b), options.name)
    found = compare(
        a,
        b,
        draws=options.draws,
        seed=options.seed,
        groups=options.groups,
        thresholds=options.threshold,
        by=options.by,
        adjustment=options.adjust,
    )
    pair = names[0], names[1]
    facts = comparison_to_dict(pair, found)
    if options.output is not None:
        write_text(options.output / "comparison.json", json_text(facts))
        report = comparison_sections(pair, found, per_label=True)
        write_text(
            options.output / "comparison.md",
            sections_to_markdown(report, title=f"{names[0]} beside {names[1]}"),
        )
    if options.json:
        print(json_text(facts), end="")
    else:
        table_console().print(render_sections(comparison_sections(pair, found, per_label=options.labels)))
        if options.output is not None:
            print_lines(f"Written: {options.output}")
    return 0
