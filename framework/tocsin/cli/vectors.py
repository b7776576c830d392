"""What the verbs about vectors share: which rows of a table, every distinct text encoded once, and how it is shown."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from tocsin.cli.vector_models import Model
    from tocsin.scores.sections import Section
    from tocsin.vectors import Difference, Estimate

__all__ = [
    "Pairs",
    "Texts",
    "add_arguments",
    "by_language",
    "difference_section",
    "interval_text",
    "macro_name",
    "pairs_text",
    "read_pairs",
]

_CHUNK = 1024  # texts that are sorted by length and encoded together, at most, between two moves of the progress bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `match` and `sts` share."""
    from tocsin.cli.readers import add_reader_argument
    from tocsin.cli.vector_models import Models

    for kind, what in (
        ("bundle", "folders that `tocsin fit` wrote"),
        ("encoder", "encoders by short name (E5SmallMultilingual), folders of transformers or sentence-transformers "
         "(the mean of token states, unless the folder says otherwise), or configs: FILE.yaml is the model's encoder "
         "before any training, FILE.yaml:teacher a Distiller's teacher"),
    ):  # fmt: skip
        parser.add_argument(
            f"--{kind}", nargs="+", action=Models, const=kind, dest="models", metavar=kind.upper(), help=what
        )
    parser.add_argument(
        "--name",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="heading of each model, in the order of the command line",
    )
    parser.add_argument(
        "--pairs", required=True, metavar="TABLE", help="Parquet, CSV, TSV or JSON file of pairs"
    )
    add_reader_argument(parser)
    parser.add_argument("--lang", default="lang", metavar="COLUMN", help="column of the language code (lang)")
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=VALUE",
        help="only rows with this value; of several values of one column any, of several columns all",
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws (default %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed of everything drawn (default %(default)s)")
    parser.add_argument(
        "--max-length", type=int, metavar="N", help="tokens an --encoder reads of a text at most"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, or auto (default)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write metrics.json, report.md and a chart (PNG) here"
    )


@dataclass(frozen=True)
class Pairs:
    """Rows of a table.

    Args:
        path: The file.
        columns: What they are for -> (N,) values, one a row.
        rows: (N,) row numbers in the file, from 1.
    """

    path: Path
    columns: dict[str, list[Any]]
    rows: list[int]


def read_pairs(
    name: str,
    columns: Mapping[str, str],
    where: Sequence[str],
    *,
    numbers: Sequence[str] = (),
    reader: str | None = None,
) -> Pairs:
    """Read columns of a table, checked row by row.

    Args:
        name: The file, as in a config.
        columns: What a column is for -> its name in the file.
        where: `COLUMN=VALUE` conditions.
        numbers: Which of them hold numbers; the others hold text.
        reader: Reads it, as `--reader` names it; None: the file's ending says.

    Raises:
        DataError: Names the file, and the row: a column is missing, a value is null, empty, no text or no number, or no
            row is left.
        ConfigError: A condition that is none, or no such reader.
    """
    from tocsin.cli.readers import reader_of
    from tocsin.errors import DataError
    from tocsin.text.readers import resolve_data_path

    path = resolve_data_path(name)
    conditions = _conditions(where)
    found: dict[str, list[Any]] = {purpose: [] for purpose in columns}
    rows: list[int] = []
    seen: dict[str, set[str]] = {column: set() for column in conditions}
    before = 0
    listed = list(dict.fromkeys([*columns.values(), *conditions]))
    for batch in reader_of(reader, path).batches(path, listed):
        values = {column: batch.column(column).to_pylist() for column in batch.schema.names}
        for at in range(batch.num_rows):
            row = before + at + 1
            for column in conditions:
                seen[column].add(str(values[column][at]))
            if any(str(values[column][at]) not in wanted for column, wanted in conditions.items()):
                continue
            for purpose, column in columns.items():
                check = _number if purpose in numbers else _text
                found[purpose].append(check(values[column][at], column, path, row))
            rows.append(row)
        before += batch.num_rows
    if not rows:
        there = "; ".join(f"{column}: {', '.join(sorted(known)[:12])}" for column, known in seen.items())
        raise DataError(f"no row has {' '.join(where)}. Values in the file: {there}", file=path)
    return Pairs(path, found, rows)


def _conditions(where: Sequence[str]) -> dict[str, set[str]]:
    from tocsin.errors import ConfigError

    conditions: dict[str, set[str]] = {}
    for one in where:
        column, equals, value = one.partition("=")
        if not column or not equals:
            raise ConfigError(f"--where {one!r}: COLUMN=VALUE is wanted, such as split=test.")
        conditions.setdefault(column, set()).add(value)
    return conditions


def _text(value: Any, column: str, path: Path, row: int) -> str:
    from tocsin.errors import DataError
    from tocsin.text.inputs import has_content

    if isinstance(value, str) and has_content(value):
        return value
    what = "null" if value is None else "empty" if isinstance(value, str) else f"a {type(value).__name__}"
    raise DataError(
        f"column {column!r} is {what}; a text is wanted. Leave the row out (--where) or mend the table",
        file=path,
        row=row,
    )


def _number(value: Any, column: str, path: Path, row: int) -> float:
    from math import isfinite

    from tocsin.errors import DataError

    try:
        number = float("nan") if value is None else float(value)  # CSV holds every value as text
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number):
        what = "null" if value is None or value != value else f"{value!r:.40}"
        raise DataError(
            f"column {column!r} is {what}; a number is wanted. Leave the row out (--where) or mend the table",
            file=path,
            row=row,
        )
    return number


def by_language(pairs: Pairs, most: int | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """Return language -> positions of its pairs, ascending, languages in alphabetical order.

    Args:
        pairs: Read with a column for "lang".
        most: Pairs a language keeps at most, drawn at random; None for all.
        seed: Of that draw; what a language keeps depends on it and on its own pairs alone.

    Raises:
        DataError: A language with a single pair, which leaves nothing to choose or to rank.
        ConfigError: `most` below 2.
    """
    import numpy as np

    from tocsin.errors import ConfigError, DataError
    from tocsin.vectors.intervals import generator_for

    if most is not None and most < 2:
        raise ConfigError(f"--max-pairs is {most}; at least 2 pairs a language are wanted.")
    places: dict[str, list[int]] = {}
    for place, lang in enumerate(pairs.columns["lang"]):
        places.setdefault(lang, []).append(place)
    kept = {}
    for lang in sorted(places):
        found = np.array(places[lang])
        if len(found) == 1:
            raise DataError(
                f"language {lang!r} has this pair alone: there is nothing to choose among. Leave it out (--where)",
                file=pairs.path,
                row=pairs.rows[int(found[0])],
            )
        if most is not None and len(found) > most:
            found = np.sort(generator_for(seed, lang).choice(found, most, replace=False))
        kept[lang] = found
    return kept


class Texts:
    """The distinct texts of several columns and languages: each is encoded once, so that equal texts tie exactly.

    Args:
        pairs: Where they stand.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self._number_of: dict[str, int] = {}
        self._row_of: list[int] = []

    def numbers(self, column: str, places: np.ndarray) -> list[int]:
        """Return the numbers of a column's texts at some places of the pairs, new ones added."""
        found = []
        for place in places.tolist():
            number = self._number_of.setdefault(self.pairs.columns[column][place], len(self._row_of))
            if number == len(self._row_of):
                self._row_of.append(self.pairs.rows[place])
            found.append(number)
        return found

    def encoded(
        self, models: Sequence[Model], device: str, max_length: int | None
    ) -> Iterator[tuple[Model, np.ndarray]]:
        """Yield each model with the vectors `(N, D)` float32 of all texts by number; one model is in memory at a time.

        Raises:
            BundleError: A bundle that cannot be loaded.
            ConfigError: An encoder that cannot be opened.
            DataError: A vector is zero, infinite or NaN: names the model, and file and row of the text.
        """
        import numpy as np

        from tocsin.cli.vector_models import device_of, open_model
        from tocsin.errors import DataError
        from tocsin.text.progress import progress_bar
        from tocsin.vectors.search import lengths

        texts = list(self._number_of)
        for model in models:
            encoder = open_model(model, device_of(device), max_length)
            parts = []
            chunk = min(_CHUNK, max(64, len(texts) // 20))
            with progress_bar(f"encoding, {model.name}", len(texts), unit="texts") as advance:
                for start in range(0, len(texts), chunk):
                    parts.append(encoder.encode(texts[start : start + chunk]))
                    advance(len(parts[-1]))
            del encoder
            vectors_ND = np.concatenate(parts)
            try:
                lengths(vectors_ND, "text")
            except DataError as error:
                row = None if error.row is None else self._row_of[error.row - 1]
                raise DataError(
                    f"the model {model.name} gives this text a vector that is zero, infinite or NaN, which has no "
                    "cosine with any other. Did its training diverge?",
                    file=self.pairs.path,
                    row=row,
                ) from error
            yield model, vectors_ND


def interval_text(found: Estimate) -> str:
    """Return the interval of a figure, as a report shows it."""
    from tocsin.scores.numbers import interval_text as text

    return text(found.low, found.high)


def macro_name(languages: int) -> str:
    """Return the name of the last row."""
    return f"macro mean of {languages} language{'' if languages == 1 else 's'}"


def pairs_text(pairs: int) -> str:
    """Return a number of pairs, with a star where they are few."""
    from tocsin.vectors import FEW_PAIRS

    return f"{pairs:,}{'*' if pairs < FEW_PAIRS else ''}"


def difference_section(
    title: str,
    points: Mapping[str, Mapping[str, float]],
    macros: Mapping[str, float],
    differences: Mapping[str, Mapping[str, Difference]],
) -> Section:
    """Return models side by side, each later one with the paired difference to the first.

    Args:
        title: Of the section.
        points: Model -> language -> figure.
        macros: Model -> mean over languages.
        differences: Every model but the first -> language, and `MACRO`, -> first minus that model.
    """
    from tocsin.scores.numbers import interval_text
    from tocsin.scores.sections import Section
    from tocsin.vectors.reports import MACRO

    first, *others = points
    headings = ["language", first]
    for other in others:
        headings += [other, f"{first} minus {other}", "95% interval"]
    rows = []
    for lang in [*points[first], MACRO]:
        at = {name: macros[name] if lang == MACRO else points[name][lang] for name in points}
        cells = [macro_name(len(points[first])) if lang == MACRO else lang, f"{at[first]:.3f}"]
        for other in others:
            found = differences[other][lang]
            sure = " !" if found.beyond_chance else ""
            cells += [
                f"{at[other]:.3f}",
                f"{found.point:+.3f}{sure}",
                interval_text(found.low, found.high, plus=True),
            ]
        rows.append(tuple(cells))
    return Section(
        title,
        tuple(headings),
        tuple(rows),
        (
            "!: beyond chance alone, for the interval leaves 0 out. Paired: every draw takes the same pairs of both "
            "models.",
        ),
    )
