"""`tocsin predict`: label a table of messages with a bundle, batch by batch, or a few texts on the command line."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.options import OptionParser
from tocsin.cli.predict_table import TablePredictor, open_source
from tocsin.cli.readers import add_reader_argument
from tocsin.escaping import csv_cell, print_lines, rich_text, terminal_text

if TYPE_CHECKING:
    import pyarrow as pa

    from tocsin.bundles.predictions import PredictsLabels

HELP = "label a table of messages with a bundle"

__all__ = ["HELP", "main"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "predict"); return the exit code.

    Raises:
        TocsinError: For a bundle, file or column that does not fit; SystemExit(2) for a wrong command line.
    """
    options = _parser().parse_args(argv)
    _check(options)
    source = None if options.input is None else open_source(options)

    from tocsin.bundles.ensemble import load_classifier
    from tocsin.bundles.load import ROLES
    from tocsin.plugins.manager import load_plugins

    bundle = load_classifier(Path(options.bundle), load_plugins(roles=ROLES), device=_device(options.device))
    if bundle.no_chain and not options.raw:
        from tocsin.errors import BundleError

        raise BundleError(f"{bundle.no_chain}\n--raw writes the raw probabilities, and no decisions.")
    if source is None:
        _show(bundle, options)
        return 0
    if source.note:
        print_lines(terminal_text(source.note), stderr=True)
    predicting = TablePredictor(bundle, source, options)
    with _writer(options.output) as write:
        for table in predicting.tables():
            write(table)
    print_lines(f"{options.output}: {predicting.predicted:,} messages, {len(bundle.labels)} labels.")
    for remark in predicting.remarks():
        print_lines(terminal_text(remark), stderr=True)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    from tocsin.errors import ConfigError

    command = f"tocsin predict --bundle {options.bundle}"
    if (options.text is None) == (options.input is None):
        raise ConfigError(
            "give either --input TABLE with --output FILE, or --text with one or more texts. For instance: "
            f"{command} --input messages.csv --output predictions.parquet"
        )
    if options.input is not None and options.output is None:
        stem = Path(options.input).stem
        raise ConfigError(
            f"--input {options.input} wants --output FILE.parquet, where the predictions go. For instance: {command} "
            f"--input {options.input} --output {stem}-predictions.parquet"
        )
    if options.input is not None and options.output.exists() and options.output.samefile(options.input):
        raise ConfigError(
            f"--output {options.output} is the input file; predictions go to a file of their own."
        )
    if options.output is not None and options.output.suffix.lower() not in (".parquet", *_DELIMITERS):
        raise ConfigError(f"--output {options.output}: wanted a file ending in .parquet, .csv or .tsv.")
    if options.output is not None:
        _check_writable(options.output)
    taken = [name for name in options.keep if name == "id" or name.startswith(("prob.", "decision."))]
    if taken:
        raise ConfigError(
            f"--keep {' '.join(taken)}: the output uses these names itself; rename the columns."
        )
    if options.lang is not None and options.lang_column is not None:
        raise ConfigError(
            "--lang says the language of every message, --lang-column where it stands: give one of them."
        )


def _parser() -> argparse.ArgumentParser:
    parser = OptionParser(
        prog="tocsin predict",
        description="Label messages with a bundle. Writes Parquet, CSV or TSV: id, kept columns, prob.<label> "
        "(calibrated where the bundle has a calibrator), decision.<label> (by its decision rule, else from .5).",
    )
    parser.add_argument(
        "--bundle", required=True, metavar="DIR", help="a folder that `tocsin fit` or `tocsin ensemble` wrote"
    )
    parser.add_argument("--input", metavar="TABLE", help="Parquet, CSV, TSV or JSON file of messages")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write: .parquet, .csv or .tsv")
    parser.add_argument(
        "--text",
        nargs="+",
        action="extend",
        metavar="TEXT",
        help="texts to label and show, instead of a table",
    )
    add_reader_argument(parser, "as the fit's files of the same ending, else by the ending")
    parser.add_argument(
        "--text-column", metavar="NAME", help="column that holds the message (the fit's, else text)"
    )
    parser.add_argument(
        "--id-column",
        metavar="NAME",
        help="column that identifies it (the fit's or id, where there is one, else row numbers)",
    )
    parser.add_argument(
        "--lang-column",
        metavar="NAME",
        help="column that holds the language code, for bundles calibrated by language (the fit's or lang, where there "
        "is one)",
    )
    parser.add_argument("--lang", metavar="CODE", help="language of every message")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="write or show the probabilities before calibration, and no decisions",
    )
    parser.add_argument(
        "--keep",
        nargs="*",
        action="extend",
        default=[],
        metavar="NAME",
        help="further columns to copy into the output",
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="stop at an unreadable row, or name it and go on",
    )
    parser.add_argument(
        "--empty",
        choices=["undecided", "score"],
        default="undecided",
        help="leave texts without content (white space, what the cleaner takes away, only unknown tokens) without "
        "scores and decisions, or score them all the same (undecided); a row without a text never has any",
    )
    parser.add_argument(
        "--max-unknown",
        type=_share,
        default=0.5,
        metavar="SHARE",
        help="refuse a table of whose first tokens the model does not know a larger share (0.5)",
    )
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="with --text: labels to show for each (5)"
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="cpu, cuda, or auto: the GPU where there is one (auto)",
    )
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to 1")
    return share


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _show(bundle: PredictsLabels, options: argparse.Namespace) -> None:
    from rich import box
    from rich.table import Table

    from tocsin.text.inputs import proper_text
    from tocsin.text.progress import table_console

    predictions = bundle.predict(options.text, options.lang, empty=options.empty)
    if options.raw:
        title, decisions_NL = "Probabilities before calibration", None
        probabilities_NL = predictions.raw_probabilities
    else:
        rule = None if bundle.chain is None else bundle.chain.decision_rule
        by = "at the bundle's threshold" if rule is None else f"by the bundle's rule {type(rule).__name__}"
        title, decisions_NL = f"Predictions (* on, {by})", predictions.decided
        probabilities_NL = predictions.probabilities
    table = Table(box=box.SIMPLE_HEAD, title=rich_text(title), title_justify="left")
    table.add_column("text", ratio=2)
    table.add_column("labels, most probable first", ratio=3)
    for row, text in enumerate(map(proper_text, options.text)):
        if predictions.undecided[row]:
            table.add_row(rich_text(text), "undecided: nothing to read (--empty score scores it)")
            continue
        probabilities = probabilities_NL[row]
        order = (-probabilities).argsort()[: options.top]
        on = (
            [""] * len(bundle.labels)
            if decisions_NL is None
            else ["*" if one else "" for one in decisions_NL[row]]
        )
        shown = ", ".join(f"{bundle.labels[i]} {probabilities[i]:.2f}{on[i]}" for i in order)
        table.add_row(rich_text(text), rich_text(shown))
    table_console().print(table)


@contextmanager
def _writer(target: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Write tables to a file of the kind that its ending says, which appears under its name only when it is whole.

    Raises:
        ConfigError: The disk is full, or the folder cannot be written.
    """
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    from tocsin.files import whole_file

    delimiter = _DELIMITERS.get(target.suffix.lower())
    writer: pq.ParquetWriter | csv.CSVWriter | None = None
    with ExitStack() as stack:
        with _named_failures(target):
            part = stack.enter_context(whole_file(target))

        def write(table: pa.Table) -> None:
            nonlocal writer
            with _named_failures(target):
                if delimiter is None:
                    writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
                    writer.write_table(table)
                    return
                _check_flat(table, target)
                text = _as_text(table)
                kind = csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
                writer = writer or csv.CSVWriter(str(part), text.schema, write_options=kind)
                writer.write_table(text)

        try:
            yield write
            with _named_failures(target):
                if writer is not None:
                    writer.close()
                stack.close()  # to the disk, and under its name
        except BaseException:
            if isinstance(writer, pq.ParquetWriter):
                with suppress(Exception):
                    writer.close()
                writer.is_open = False  # else it would fail once more when it is collected
            raise


@contextmanager
def _named_failures(target: Path) -> Iterator[None]:
    """Say in one sentence why a file cannot be written."""
    from tocsin.errors import ConfigError

    try:
        yield
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = (
            "Make room there, or name a file elsewhere"
            if full
            else "Name a file in a folder that can be written"
        )
        raise ConfigError(
            f"--output {target} cannot be written ({cause}), and nothing was. {advice}."
        ) from error


def _check_flat(table: pa.Table, target: Path) -> None:
    import pyarrow as pa

    from tocsin.errors import ConfigError

    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise ConfigError(
                f"--keep {field.name}: a cell of {target.suffix} holds one value, not {field.type}; write .parquet."
            )


def _check_writable(target: Path) -> None:
    """Refuse, before anything is computed, a place where no file can be written."""
    folder = next(each for each in target.absolute().parents if each.exists())
    with _named_failures(target):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "")


def _as_text(table: pa.Table) -> pa.Table:
    """Return the table with names and texts that no spreadsheet takes for formulas; numbers stay numbers."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        column, kind = table.column(place), field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            cells = [None if cell is None else csv_cell(cell) for cell in column.to_pylist()]
            column = pa.chunked_array([pa.array(cells, pa.large_string())])
        table = table.set_column(place, csv_cell(field.name), column)
    return table
