"""A table of messages, predicted batch by batch: how it is read, what is written of each batch, and what is said after.

Axes: N messages of a batch, L labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from tocsin.bundles.predictions import Predictions, PredictsLabels
    from tocsin.bundles.reading import SavedReading
    from tocsin.errors import DataError
    from tocsin.text.reading import Reader

__all__ = ["Source", "TablePredictor", "open_source"]

_CHUNK = 4096  # messages that are sorted by length and scored together
_SHOWN = 20  # faults of rows that are shown


@dataclass(frozen=True)
class Source:
    """A table and which of its columns are read.

    Args:
        path: Of the table.
        reader: Reads it.
        text: Column of the message.
        id: Column that identifies it; None numbers the rows.
        lang: Column of its language code, for bundles that want one; None for none.
        note: What was taken over from the fit; "" for nothing that needs saying.
    """

    path: Path
    reader: Reader
    text: str
    id: str | None
    lang: str | None
    note: str


def open_source(options: argparse.Namespace) -> Source:
    """Return the table of a command line, its columns checked: a model takes long to load.

    The reader and the columns are those that the options name, else those of the fit where the bundle remembers them
    and they are there, else what the file's ending and the usual names say.

    Raises:
        DataError: The table cannot be read, or lacks a column.
        ConfigError: No such reader.
        BundleError: No bundle.
    """
    from tocsin.bundles.ensemble_manifest import remembered_reading
    from tocsin.bundles.reading import SavedReading
    from tocsin.errors import DataError
    from tocsin.text.reading import check_columns

    path = Path(options.input)
    if not path.exists():
        raise DataError("there is no such file", file=path)
    usual = SavedReading(None, None, [], "text", "id", "lang")
    fitted = remembered_reading(Path(options.bundle)) or usual
    reader, note = _reader(options, fitted, path)
    known = reader.columns(path)

    def column(given: str | None, *names: str | None) -> str | None:
        if given is not None:
            return given
        return next((name for name in names if name is not None and _is_there(name, known)), None)

    text = column(options.text_column, fitted.text, usual.text) or usual.text
    identifier = column(options.id_column, fitted.id, usual.id)
    lang = column(options.lang_column, fitted.lang, usual.lang)
    named = [text, options.id_column, options.lang_column, *options.keep]
    if known:  # else the file has no readable row, which its reader says better
        try:
            flat = [
                name for name in named if name is not None and (name in known or not _is_there(name, known))
            ]
            check_columns(path, flat, known)
        except DataError as error:
            if _is_there(text, known):
                raise
            looked = f"{text!r} was looked for"
            if options.text_column is None and fitted.text != text:
                looked = f"{fitted.text!r}, the fit's, and {text!r} were looked for"
            raise DataError(
                f"{error}. --text-column NAME says which column holds the messages; {looked}."
            ) from None
    if options.text_column is None and text != "text":
        note += f" The messages stand in its column {text!r}, as in the fit."
    return Source(path, reader, text, identifier, lang, note.strip())


def _is_there(name: str, known: Sequence[str]) -> bool:
    """Whether a file has a column, or one that may hold it nested: `user` for `user.name`."""
    parts = name.split(".")
    return any(".".join(parts[:size]) in known for size in range(len(parts), 0, -1))


def _reader(options: argparse.Namespace, fitted: SavedReading, path: Path) -> tuple[Reader, str]:
    """The reader, and what is to be said of it."""
    from tocsin.cli.readers import named_reader
    from tocsin.errors import ConfigError
    from tocsin.plugins.manager import load_plugins
    from tocsin.text.reader_names import make_reader
    from tocsin.text.readers import reader_for
    from tocsin.text.streams import inner_suffix

    if options.reader is not None:
        return named_reader(options.reader), ""
    if fitted.reader is None or inner_suffix(path) not in fitted.endings:
        return reader_for(path), ""
    try:
        reader = make_reader(fitted.reader, load_plugins(roles=["reader"]).components("reader"))
    except ConfigError as error:
        offered = f" (of {fitted.origin})" if fitted.origin is not None else ""
        raise ConfigError(
            f"the fit read files of the ending {inner_suffix(path)} by {fitted.reader['class_path']}{offered}, which "
            f"cannot be had here: {error}. --reader says how to read {path}."
        ) from error
    options_shown = ", ".join(
        f"{name}={value!r}" for name, value in reader.arguments.items() if value is not None
    )
    return reader, f"{path} is read as the fit's files were: {type(reader).__name__}({options_shown})."


@dataclass
class TablePredictor:
    """Predicts a table batch by batch, and counts what is to be said of it.

    Args:
        bundle: Predicts.
        source: The table.
        options: Of the command line.
    """

    bundle: PredictsLabels
    source: Source
    options: argparse.Namespace
    rows: int = field(default=0, init=False)
    """Rows of the table so far."""
    bad: list[DataError] = field(default_factory=list, init=False)
    """Faults of the rows that were left out."""
    missing: int = field(default=0, init=False)
    empty: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    unknown: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        from tocsin.text.ids import IdColumn

        self._repeats = _Repeats()
        self._ids = None if self.source.id is None else IdColumn(self.source.path, self.source.id)

    @property
    def predicted(self) -> int:
        """Rows that are written."""
        return self.rows - len(self.bad)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the predictions of one batch after another, in the table's order.

        Raises:
            DataError: A row is faulty, or all are; or most of the first batch are tokens that the model does not know.
        """
        import pyarrow as pa

        from tocsin.errors import DataError
        from tocsin.text.progress import progress_bar

        source = self.source
        lang = source.lang if self.bundle.needs_langs or self.options.lang_column is not None else None
        wanted = [source.text, *(name for name in (source.id, lang) if name is not None), *self.options.keep]
        given = (source.path, list(dict.fromkeys(wanted)))
        skip = (
            (self.bad.append,) if self.options.on_error == "skip" else ()
        )  # plugins' readers need not offer it
        rows = source.reader.approximate_rows(source.path)
        with progress_bar("predicting", rows, unit="messages") as advance:
            for batch in _rechunked(source.reader.batches(*given, *skip)):
                first = self.rows == 0
                yield pa.Table.from_batches([self._predicted(batch, lang, advance)])
                if first:
                    self._check_unknown()
        if self._ids is not None:
            self._ids.warn()
        if not self.predicted:
            cause = f" The first: {self.bad[0]}" if self.bad else ""
            raise DataError(
                f"none of its {self.rows:,} rows could be read, so nothing was written.{cause}",
                file=source.path,
            )

    def _predicted(
        self, batch: pa.RecordBatch, lang: str | None, advance: Callable[[int], None]
    ) -> pa.RecordBatch:
        import numpy as np
        import pyarrow as pa

        unreadable = {error.row for error in self.bad}
        first = self.rows + 1
        good = [row for row in range(batch.num_rows) if first + row not in unreadable]
        self.rows += batch.num_rows
        taken = batch.take(pa.array(good, pa.int64())) if len(good) < batch.num_rows else batch
        texts = self._texts(taken.column(self.source.text), np.array(good, dtype=np.int64) + first)
        langs: Any = self.options.lang
        if langs is None and lang is not None:
            langs = taken.column(lang).cast(pa.string()).to_pylist()
        found = self.bundle.predict(texts, langs, advance, empty=self.options.empty)
        missing = sum(text is None for text in texts)
        self.missing += missing
        self.empty += int(found.undecided.sum()) - missing
        self.tokens += int(found.tokens.sum())
        self.unknown += int(found.unknown.sum())
        columns = {"id": self._identified(batch, good, first)}
        columns |= {name: taken.column(name) for name in self.options.keep}
        return pa.record_batch(columns | self._scores(found))

    def _texts(self, column: pa.Array, numbers: np.ndarray) -> list[str | None]:
        from tocsin.errors import DataError

        texts: list[Any] = column.to_pylist()
        for text, number in zip(texts, numbers, strict=True):
            if text is not None and not isinstance(text, str):
                raise DataError(
                    f"column {self.source.text!r} holds {type(text).__name__}, wanted text",
                    file=self.source.path,
                    row=int(number),
                )
        return texts

    def _identified(self, batch: pa.RecordBatch, good: list[int], first: int) -> pa.Array:
        import numpy as np
        import pyarrow as pa

        if self._ids is None or self.source.id is None:
            return pa.array([str(first + row) for row in good], pa.string())
        # As a fit writes them, so that the predictions join with its scores.
        ids = self._ids.strings(batch.column(self.source.id), first).take(pa.array(good, pa.int64()))
        self._repeats.see(ids, np.array(good, dtype=np.int64) + first)
        return ids

    def _scores(self, found: Predictions) -> dict[str, pa.Array]:
        import pyarrow as pa

        scores_NL = found.raw_probabilities if self.options.raw else found.probabilities
        columns = {
            f"prob.{label}": pa.array(scores_NL[:, i], mask=found.undecided)
            for i, label in enumerate(self.bundle.labels)
        }
        if self.options.raw or found.decided is None:
            return columns
        return columns | {
            f"decision.{label}": pa.array(found.decided.data[:, i], mask=found.undecided)
            for i, label in enumerate(self.bundle.labels)
        }

    def _check_unknown(self) -> None:
        from tocsin.errors import DataError

        most = self.options.max_unknown
        if self.unknown > most * self.tokens:
            raise DataError(
                f"the model's tokenizer does not know {self.unknown / self.tokens:.0%} of the tokens of the first "
                f"{self.rows:,} rows (at most {most:.0%} are taken): its predictions would be of little more than the "
                "texts' lengths. Is this the right column and encoding, and a model for these languages and scripts? "
                "--max-unknown 1 predicts all the same.",
                file=self.source.path,
            )

    def remarks(self) -> list[str]:
        """What is to be said after the last batch, one sentence or two a line."""
        lines = []
        undecided = self.missing + self.empty
        if undecided:
            parts = [
                f"{count:,} {what}"
                for count, what in (
                    (self.missing, "have no text"),
                    (self.empty, "have none that can be read"),
                )
                if count
            ]
            lines.append(
                f"{undecided:,} messages are undecided, their scores and decisions null: {', '.join(parts)}."
                + (" --empty score scores texts without content all the same." if self.empty else "")
            )
        if self.unknown > 0.5 * self.tokens:
            lines.append(
                f"The model's tokenizer does not know {self.unknown / self.tokens:.0%} of the table's tokens; "
                "predictions are of little use."
            )
        lines += self._repeats.remarks()
        lines += [f"left out: {error}" for error in self.bad[:_SHOWN]]
        if len(self.bad) > _SHOWN:
            lines.append(f"left out: {len(self.bad) - _SHOWN:,} more rows")
        return lines


class _Repeats:
    """Counts ids that are missing or repeat; of each it keeps 16 bytes, so that tables of any size go through."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._missing = 0
        self._first_missing = 0

    def see(self, ids: pa.Array, rows: np.ndarray) -> None:
        """Take in the ids (N,) of a batch, and the numbers (N,) of their rows in the file."""
        import numpy as np

        values = ids.to_pylist()
        there = np.array([bool(value) for value in values], dtype=bool)
        if not there.all():
            self._first_missing = self._first_missing or int(rows[~there][0])
            self._missing += int((~there).sum())
        self._hashes.append(np.array([hash(value) for value in values if value], dtype=np.int64))
        self._rows.append(rows[there])

    def remarks(self) -> list[str]:
        import numpy as np

        lines = []
        if self._missing:
            lines.append(
                f"{self._missing:,} ids are empty, the first in row {self._first_missing:,}. Such predictions cannot "
                "be joined to anything; --id-column names another column."
            )
        hashes, rows = (
            np.concatenate([*self._hashes, np.zeros(0, np.int64)]),
            np.concatenate([*self._rows, np.zeros(0, np.int64)]),
        )
        order = np.argsort(hashes, kind="stable")  # the rows of one id stay in their order
        again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1]) + 1
        if len(again):
            at = again[np.argmin(rows[order[again]])]
            lines.append(
                f"{len(again):,} rows repeat the id of an earlier row, such as row {rows[order[at]]:,} that of row "
                f"{rows[order[at - 1]]:,}. `tocsin evaluate`, `compare` and `ensemble` refuse such files; "
                "--id-column names another column."
            )
        return lines


def _rechunked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _CHUNK):
            yield batch.slice(start, _CHUNK)
