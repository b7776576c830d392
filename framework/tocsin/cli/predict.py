"""`tocsin predict`: label a table of messages with a bundle, batch by batch, or a few texts on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.escaping import csv_cell, print_lines, rich_text, terminal_text

if TYPE_CHECKING:
    import pyarrow as pa

    from tocsin.bundles.predictions import PredictsLabels
    from tocsin.errors import DataError
    from tocsin.text.reading import Reader

HELP = "label a table of messages with a bundle"

__all__ = ["HELP", "main"]

_CHUNK = 4096  # messages that are sorted by length and scored together
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "predict"); return the exit code.

    Raises:
        TocsinError: For a bundle, file or column that does not fit; SystemExit(2) for a wrong command line.
    """
    options = _parser().parse_args(argv)
    _check(options)
    table = None if options.input is None else _open(options)

    from tocsin.bundles.ensemble import load_classifier
    from tocsin.bundles.load import ROLES
    from tocsin.plugins.manager import load_plugins

    bundle = load_classifier(Path(options.bundle), load_plugins(roles=ROLES), device=_device(options.device))
    if bundle.no_chain and not options.raw:
        from tocsin.errors import BundleError

        raise BundleError(f"{bundle.no_chain}\n--raw writes the raw probabilities, and no decisions.")
    if table is None:
        _show(bundle, options)
        return 0
    rows, without_text, bad = _predict_table(bundle, options, *table)
    print_lines(f"{options.output}: {rows:,} messages, {len(bundle.labels)} labels.")
    if without_text:
        print_lines(f"{without_text:,} messages have no text; their scores are null.", stderr=True)
    for error in bad[:20]:
        print_lines(f"left out: {terminal_text(error)}", stderr=True)
    if len(bad) > 20:
        print_lines(f"left out: {len(bad) - 20:,} more rows", stderr=True)
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
    taken = [name for name in options.keep if name == "id" or name.startswith(("prob.", "decision."))]
    if taken:
        raise ConfigError(
            f"--keep {' '.join(taken)}: the output uses these names itself; rename the columns."
        )
    if options.lang is not None and options.lang_column is not None:
        raise ConfigError(
            "--lang says the language of every message, --lang-column where it stands: give one of them."
        )


def _open(options: argparse.Namespace) -> tuple[Reader, list[str]]:
    """Return the reader of the table and its columns, checked: a model takes long to load."""
    from tocsin.errors import DataError
    from tocsin.text.readers import reader_for
    from tocsin.text.reading import check_columns

    path = Path(options.input)
    if not path.is_file():
        raise DataError("there is no such file", file=path)
    reader = reader_for(path)
    known = reader.columns(path)
    named = [options.id_column, options.lang_column, *options.keep]
    if known:  # else the file has no readable row, which its reader says better
        try:
            check_columns(path, [options.text_column, *(name for name in named if name is not None)], known)
        except DataError as error:
            if options.text_column in known:
                raise
            raise DataError(
                f"{error}. --text-column NAME says which column holds the messages; {options.text_column!r} was "
                "looked for."
            ) from None
    return reader, known


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tocsin predict",
        description="Label messages with a bundle. Writes Parquet, CSV or TSV: id, kept columns, prob.<label> "
        "(calibrated where the bundle has a calibrator), decision.<label> (by its decision rule, else from .5).",
    )
    parser.add_argument(
        "--bundle", required=True, metavar="DIR", help="a folder that `tocsin fit` or `tocsin ensemble` wrote"
    )
    parser.add_argument("--input", metavar="TABLE", help="Parquet, CSV, TSV or JSONL file of messages")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write: .parquet, .csv or .tsv")
    parser.add_argument(
        "--text", nargs="+", metavar="TEXT", help="texts to label and show, instead of a table"
    )
    parser.add_argument(
        "--text-column", default="text", metavar="NAME", help="column that holds the message (text)"
    )
    parser.add_argument(
        "--id-column",
        metavar="NAME",
        help="column that identifies it (id where there is one, else row numbers)",
    )
    parser.add_argument(
        "--lang-column",
        metavar="NAME",
        help="column that holds the language code, for bundles calibrated by language (lang where there is one)",
    )
    parser.add_argument("--lang", metavar="CODE", help="language of every message")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="write or show the probabilities before calibration, and no decisions",
    )
    parser.add_argument(
        "--keep", nargs="*", default=[], metavar="NAME", help="further columns to copy into the output"
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="stop at an unreadable row, or name it and go on",
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


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _show(bundle: PredictsLabels, options: argparse.Namespace) -> None:
    from rich import box
    from rich.table import Table

    from tocsin.text.progress import table_console

    texts = list(options.text)
    predictions = bundle.predict(texts, None if options.lang is None else [options.lang] * len(texts))
    if options.raw:
        title, decisions_NL = "Probabilities before calibration", None
        probabilities_NL = predictions.raw_probabilities
    else:
        rule = None if bundle.chain is None else bundle.chain.decision_rule
        by = "at the bundle's threshold" if rule is None else f"by the bundle's rule {type(rule).__name__}"
        title, decisions_NL = f"Predictions (* on, {by})", predictions.decisions
        probabilities_NL = predictions.probabilities
    table = Table(box=box.SIMPLE_HEAD, title=rich_text(title), title_justify="left")
    table.add_column("text", ratio=2)
    table.add_column("labels, most probable first", ratio=3)
    for row, text in enumerate(texts):
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


def _predict_table(
    bundle: PredictsLabels, options: argparse.Namespace, reader: Reader, known: list[str]
) -> tuple[int, int, list[DataError]]:
    import pyarrow as pa

    from tocsin.text.progress import progress_bar

    path = Path(options.input)
    identifier = options.id_column or ("id" if "id" in known else None)
    lang = options.lang_column or ("lang" if "lang" in known and bundle.needs_langs else None)
    read = [
        options.text_column,
        *([identifier] if identifier else []),
        *([lang] if lang else []),
        *options.keep,
    ]
    wanted = list(dict.fromkeys(read))
    bad: list[DataError] = []
    rows = without_text = 0
    with (
        progress_bar("predicting", reader.approximate_rows(path), unit="messages") as advance,
        _writer(options.output) as write,
    ):
        batches = (
            reader.batches(path, wanted, bad.append)
            if options.on_error == "skip"
            else reader.batches(path, wanted)
        )
        for batch in _rechunked(batches):
            unreadable = {error.row for error in bad}
            numbers = range(rows + 1, rows + batch.num_rows + 1)
            good = [i for i, number in enumerate(numbers) if number not in unreadable]
            table, empty = _predict_batch(bundle, batch, options, identifier, lang, rows, path, good, advance)
            write(pa.Table.from_batches([table]))
            rows += batch.num_rows
            without_text += empty
    return rows - len(bad), without_text, bad


def _rechunked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _CHUNK):
            yield batch.slice(start, _CHUNK)


def _predict_batch(
    bundle: PredictsLabels,
    batch: pa.RecordBatch,
    options: argparse.Namespace,
    identifier: str | None,
    lang: str | None,
    before: int,
    path: Path,
    good: list[int],
    advance: Callable[[int], None],
) -> tuple[pa.RecordBatch, int]:
    import numpy as np
    import pyarrow as pa

    from tocsin.errors import DataError

    texts = batch.column(options.text_column).take(pa.array(good, pa.int64())).to_pylist()
    wrong = next((i for i, text in enumerate(texts) if text is not None and not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(
            f"column {options.text_column!r} holds {type(texts[wrong]).__name__}, wanted text",
            file=path,
            row=before + good[wrong] + 1,
        )
    present = np.array([text is not None for text in texts], dtype=bool)
    codes = [options.lang] * len(texts)
    if lang is not None and options.lang is None:
        codes = batch.column(lang).take(pa.array(good, pa.int64())).cast(pa.string()).to_pylist()
    told = lang is not None or options.lang is not None
    predictions = bundle.predict(
        [text for text in texts if text is not None],
        [code for code, text in zip(codes, texts, strict=True) if text is not None] if told else None,
        advance,
    )
    advance(int((~present).sum()))
    ids = batch.column(identifier).take(pa.array(good, pa.int64())).cast(pa.string()) if identifier else None
    columns: dict[str, pa.Array] = {
        "id": ids if ids is not None else pa.array([str(before + i + 1) for i in good], pa.string())
    }
    for name in options.keep:
        columns[name] = batch.column(name).take(pa.array(good, pa.int64()))

    def spread(values_n: np.ndarray) -> pa.Array:
        full = np.zeros(len(texts), dtype=values_n.dtype)
        full[present] = values_n
        return pa.array(full, mask=~present)

    for i, label in enumerate(bundle.labels):
        scores_NL = predictions.raw_probabilities if options.raw else predictions.probabilities
        columns[f"prob.{label}"] = spread(scores_NL[:, i])
    for i, label in enumerate(() if options.raw else bundle.labels):
        columns[f"decision.{label}"] = spread(predictions.decisions[:, i])
    return pa.record_batch(columns), int((~present).sum())


@contextmanager
def _writer(target: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Write tables to a file of the kind that its ending says, which appears under its name only when it is whole."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    from tocsin.errors import ConfigError
    from tocsin.files import whole_file

    delimiter = _DELIMITERS.get(target.suffix.lower())
    writer: pq.ParquetWriter | csv.CSVWriter | None = None
    try:
        with whole_file(target) as part:

            def write(table: pa.Table) -> None:
                nonlocal writer
                if writer is None and delimiter is None:
                    writer = pq.ParquetWriter(part, table.schema, compression="zstd")
                elif writer is None:
                    nested = [field.name for field in table.schema if pa.types.is_nested(field.type)]
                    if nested:
                        raise ConfigError(
                            f"--keep {nested[0]}: a cell of {target.suffix} holds one value, not "
                            f"{table.schema.field(nested[0]).type}; write .parquet."
                        )
                    kind = csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
                    writer = csv.CSVWriter(str(part), _as_text(table).schema, write_options=kind)
                writer.write_table(table if delimiter is None else _as_text(table))

            yield write
            if writer is not None:
                writer.close()
    except PermissionError as error:
        raise ConfigError(f"--output {target}: the folder cannot be written ({error.strerror}).") from error


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
