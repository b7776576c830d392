"""`tocsin audit`: what a config's messages hold, and what crosses their splits, before anything is trained."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.options import OptionParser
from tocsin.privacy import shown_argument, shown_path

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from tocsin.text.audit import Audit

HELP = "count what a YAML file's messages hold, and what crosses their splits"

__all__ = ["HELP", "main"]

_THRESHOLD = 0.7


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "audit"); return the exit code.

    Raises:
        TocsinError: For a config, file or column that does not fit; SystemExit(2) for a wrong command line.
    """
    options, overrides = _parser().parse_known_args(argv)

    from tocsin.cli.evaluate import json_text, write_text
    from tocsin.text.progress import table_console

    if options.near_duplicates is not None:
        from tocsin.text.near_duplicates import check_threshold

        check_threshold(options.near_duplicates, "--near-duplicates")

    from tocsin.batches.messages import SplitWarning
    from tocsin.plugins.corpus import read_corpus
    from tocsin.text.audit import audit
    from tocsin.text.crossings import column_groups

    carried = [argument for column in options.by for argument in ("--data.init_args.slices+", column)]
    with warnings.catch_warnings():
        # The splitter's sentences stand in the audit itself.
        warnings.simplefilter("ignore", SplitWarning)
        corpus = read_corpus(options.config, [*overrides, *carried])
    texts = corpus.table["text"]
    result = audit(
        corpus.table,
        corpus.split_names,
        list(corpus.label_names),
        corpus.hard_targets_NL,
        crossing=corpus.crossing,
        similar={} if options.near_duplicates is None else _near_duplicates(texts, options.near_duplicates),
        values={column: column_groups(corpus.table, column) for column in corpus.slices},
        read=corpus.facts,
    )
    facts = json_text(
        {
            "config": shown_path(options.config),
            "overrides": list(map(shown_argument, overrides)),
            **result.to_dict(),
        }
    )
    if options.output is not None:
        write_text(options.output / "audit.json", facts)
        write_text(options.output / "audit.txt", _plain(result))
    if options.json:
        print(facts, end="")
    else:
        table_console().print(result.render())
    return 0


def _near_duplicates(texts: pa.ChunkedArray, threshold: float) -> dict[str, np.ndarray]:
    from tocsin.text.near_duplicates import near_duplicate_groups
    from tocsin.text.progress import progress_bar

    with progress_bar("comparing", 2 * len(texts), unit="texts") as advance:
        groups = near_duplicate_groups(texts, threshold, advance)
    return {f"near-duplicates (Jaccard {threshold:g})": groups}


def _plain(result: Audit) -> str:
    """Return the tables as they are printed, without colours."""
    from io import StringIO

    from rich.console import Console

    page = StringIO()
    Console(file=page, width=140, color_system=None, markup=False, emoji=False).print(result.render())
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def _parser() -> argparse.ArgumentParser:
    parser = OptionParser(
        prog="tocsin audit",
        description=f"C{HELP[1:]}. Reads the sections labels and data of a fit's YAML file exactly as the fit does; "
        "other options override it, as for a fit: --data.init_args.splitter RandomSplit. No text is shown.",
        # A shortened option of a fit's, such as --data, is no option of ours.
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file of a fit")
    parser.add_argument(
        "--near-duplicates",
        type=float,
        nargs="?",
        const=_THRESHOLD,
        metavar="J",
        help="count near-duplicates too: texts of at least this Jaccard similarity, 0.4 to 1 (%(const)s when no "
        "number is given; about 5 minutes a million messages)",
    )
    parser.add_argument(
        "--by",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN",
        help="further columns (user, event, day ...) whose values should not cross the splits: counted",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write audit.json and audit.txt here")
    return parser
