"""`tocsin evaluate`: figures of scores files, with intervals, beside trivial baselines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.options import OptionParser
from tocsin.escaping import json_escaped, print_lines
from tocsin.privacy import with_shown_paths

if TYPE_CHECKING:
    from tocsin.plugins.registry import Registry
    from tocsin.scores.sections import Section
    from tocsin.scores.table import ScoresTable

HELP = "print figures of scores files with 95% intervals, trivial baselines beside"

__all__ = ["HELP", "main"]


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "evaluate"); return the exit code.

    Raises:
        TocsinError: For files, columns or settings that do not fit; SystemExit(2) for a wrong command line.
    """
    options = _parser().parse_args(argv)
    check_threshold(options.threshold)

    from tocsin.errors import ConfigError
    from tocsin.plugins.manager import load_plugins
    from tocsin.scores.baselines import prevalence
    from tocsin.scores.report import assess, sections, to_dict
    from tocsin.scores.sections import render_sections, sections_to_markdown
    from tocsin.scores.table import ScoresTable
    from tocsin.text.progress import table_console

    tables = [ScoresTable.read(path) for path in options.scores]
    check_groups(options.groups, options.scores, tables)
    names = model_names(options.scores, tables, options.name)
    prior = None
    if options.prior is not None:
        train = ScoresTable.read(options.prior)
        for table in tables:
            if table.labels != train.labels:
                raise ConfigError(
                    f"--prior {options.prior} has the labels {list(train.labels)}, not {list(table.labels)}."
                )
        prior = prevalence(train.known_targets("A prior"))
    results = [
        assess(
            table,
            name,
            prior=prior,
            thresholds=options.threshold,
            by=options.by,
            draws=options.draws,
            seed=options.seed,
            groups=options.groups,
            details=options.labels or options.output is not None,
        )
        for table, name in zip(tables, names, strict=True)
    ]
    added = _added_sections(load_plugins(roles=()), tables, names)
    facts = to_dict(results) | {"sections": [asdict(section) for section in added]}
    if options.output is not None:
        write_text(options.output / "metrics.json", json_text(facts))
        report = [*sections(results, per_label=True), *added]
        pictures = _write_figures(options.output, tables, names, options.threshold)
        title = f"Evaluation of {', '.join(names)}"
        write_text(options.output / "report.md", sections_to_markdown(report, title=title, pictures=pictures))
    if options.json:
        print(json_text(facts), end="")
    else:
        table_console().print(render_sections([*sections(results, per_label=options.labels), *added]))
        if options.output is not None:
            print_lines(f"Written: {options.output}")
    return 0


def _write_figures(
    folder: Path, tables: Sequence[ScoresTable], names: Sequence[str], threshold: float
) -> dict[str, str]:
    """Write the figures of each table as PNG and return what they show and where they lie in the folder.

    Where matplotlib is missing there are none, and what would add it is said.
    """
    import re

    from tocsin.errors import ConfigError
    from tocsin.scores.figures import figures

    written = {}
    for number, (table, name) in enumerate(zip(tables, names, strict=True), start=1):
        # a name may be a path; two names may differ in signs alone
        part = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
        target = folder / "figures" if len(tables) == 1 else folder / "figures" / f"{number}-{part}"
        try:
            found = figures(table, threshold)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            print_lines("No figures: pip install 'tocsin[figures]' adds matplotlib.", stderr=True)
            return {}
        try:
            target.mkdir(parents=True, exist_ok=True)
            for title, figure in found.items():
                figure.savefig(target / f"{title}.png")
                shown = title if len(tables) == 1 else f"{name}: {title}"
                written[shown] = (target / f"{title}.png").relative_to(folder).as_posix()
        except OSError as error:
            raise ConfigError(f"--output: {target} cannot be written ({error.strerror or error}).") from error
    return written


def _added_sections(registry: Registry, tables: Sequence[ScoresTable], names: Sequence[str]) -> list[Section]:
    """Return the sections that plugins add, the model's name in front where there are several models."""
    return [
        replace(section, title=f"{name}: {section.title}") if len(tables) > 1 else section
        for table, name in zip(tables, names, strict=True)
        for section in registry.report_sections(table)
    ]


def model_names(
    paths: Sequence[Path], tables: Sequence[ScoresTable], given: Sequence[str] | None
) -> list[str]:
    """Return a heading a table: the given names, else the run in each file's metadata, else the files' names.

    Raises:
        ConfigError: When the number of names is not that of the files, or a name stands twice.
    """
    from tocsin.errors import ConfigError

    if given:
        if len(given) != len(paths) or len(set(given)) != len(given):
            raise ConfigError(
                f"--name got {', '.join(given)}; a name of its own for each of the {len(paths)} scores files "
                "is wanted."
            )
        return list(given)
    names = [table.metadata.get("run") or path.stem for table, path in zip(tables, paths, strict=True)]
    if len(set(names)) == len(names):
        return names
    files = {str(path): None for path in paths}
    if len(files) < len(paths):
        raise ConfigError("The same scores file was given twice. Tell them apart with --name.")
    return list(with_shown_paths(files))


def json_text(data: object) -> str:
    """Return indented JSON with a last newline; undefined figures are null already."""
    import json

    return json_escaped(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, its folder made where needed; ConfigError when it cannot be."""
    from tocsin.errors import ConfigError
    from tocsin.files import write_text as write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written ({error.strerror or error}).") from error


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `evaluate` and `compare` share."""
    parser.add_argument(
        "--name",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="heading of each file (default: its run, or file name)",
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws (default %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the draws (default %(default)s)")
    parser.add_argument(
        "--groups", metavar="COLUMN", help="draw messages with one value of this column together"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="probability from which a label is on, for F1 (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def check_groups(groups: str | None, paths: Sequence[Path | str], tables: Sequence[ScoresTable]) -> None:
    """Refuse a --groups that a table has no column for."""
    from tocsin.errors import DataError

    for path, table in zip(paths, tables, strict=True):
        known = ["lang", *table.slices]
        if groups is not None and groups not in known:
            raise DataError(
                f"--groups {groups}: there is no column {groups!r} in it. --groups names a column, such as the event "
                "or the source of a message, whose rows with one value belong together and are drawn as one. Columns: "
                f"{', '.join(known)}.",
                file=path,
            )


def check_threshold(threshold: float) -> None:
    """Refuse a --threshold that is no probability."""
    from tocsin.errors import ConfigError

    if not 0 <= threshold <= 1:
        likely = threshold / 100 if 1 < threshold <= 100 else 0.5
        raise ConfigError(
            f"--threshold is {threshold}; wanted a probability from 0 to 1, such as {likely:g}."
        )


def _parser() -> argparse.ArgumentParser:
    parser = OptionParser(prog="tocsin evaluate", description=f"P{HELP[1:]}.")
    parser.add_argument(
        "--scores",
        nargs="+",
        action="extend",
        type=Path,
        required=True,
        metavar="FILE",
        help="scores files (Parquet, CSV or TSV)",
    )
    add_common_arguments(parser)
    parser.add_argument(
        "--by",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN",
        help="also cut by these columns: lang, genre ...",
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="print the figures of every label too, confusions and the worst errors",
    )
    parser.add_argument(
        "--prior",
        type=Path,
        metavar="FILE",
        help="scores file of the training split: its label shares make the prior baseline",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write metrics.json, report.md and figures/ here"
    )
    return parser
