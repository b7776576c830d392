"""From message files to a corpus with targets and splits; no tokenizer is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from tocsin.batches.corpus import SPLITS, Corpus, choose_rows
from tocsin.errors import DataError
from tocsin.labels.names import check_names
from tocsin.labels.schemes import LabelScheme
from tocsin.text.cleaners import Cleaner
from tocsin.text.messages import read_messages
from tocsin.text.readers import Reader, reader_for, resolve_data_paths
from tocsin.text.reading import DataWarning
from tocsin.text.splitters import Splitter, crossing_texts

__all__ = ["SplitWarning", "assemble_corpus"]


_LISTING = ("labels", "label", "tags", "tag", "categories", "category", "classes", "class", "topics", "topic")


class SplitWarning(UserWarning):
    """Messages cross the splits, or a split is not what its name promises."""


def assemble_corpus(
    labels: LabelScheme,
    files: Mapping[str, Sequence[str]],
    *,
    text: str,
    id: str | None,
    lang: str | None,
    slices: Sequence[str],
    reader: Reader | None,
    cleaner: Cleaner,
    on_empty: Literal["drop", "keep"],
    splitter: Splitter | None,
    max_messages: Mapping[str, int],
    seed: int,
    on_error: Literal["raise", "skip"] = "raise",
    path_columns: Mapping[str, str] | None = None,
) -> Corpus:
    """Read, clean, split and label the messages of some files.

    Args:
        labels: Reads the targets; its names are known.
        files: The files of each split, by its name; all under "train" where a splitter divides them.
        text: See `read_messages`.
        id: See `read_messages`.
        lang: See `read_messages`.
        slices: Further columns to carry.
        reader: See `read_messages`.
        cleaner: See `read_messages`.
        on_empty: See `read_messages`.
        splitter: Divides the rows; None: the files are the splits.
        max_messages: Most messages of a split.
        seed: Draws them.
        on_error: See `read_messages`; rows that are left out are counted in the corpus's facts, and said.
        path_columns: See `read_messages`.

    Raises:
        DataError: A file or a row of it is faulty, or no message is left to train on.
        LabelError: A label is missing from the files, or has a value that means nothing.
    """
    check_names(labels.names, type(labels).__name__)
    extra = list(dict.fromkeys([*labels.columns, *slices, *(splitter.columns if splitter else ())]))
    paths: dict[str, list[Path]] = {
        split: [path for name in names for path in resolve_data_paths(name, reader)]
        for split, names in files.items()
    }
    given = [path for split in SPLITS for path in paths[split]]
    for path in given:
        if given.count(path) > 1:
            raise DataError(
                "named more than once in train, validation and test; its rows can stand in one split only.",
                file=path,
            )
    # All files in one call: ids are made unique over all of them, and types are compared between them.
    try:
        messages = read_messages(
            given,
            text=text,
            id=id,
            lang=lang,
            extra=extra,
            cleaner=cleaner,
            on_empty=on_empty,
            reader=reader,
            on_error=on_error,
            progress=True,
            path_columns=path_columns,
        )
    except DataError as error:
        if advice := _advice(labels, error, reader, id):
            raise DataError(f"{error} {advice}") from None
        raise
    table = messages.table
    facts = {
        name: getattr(messages, name)
        for name in ("dropped_empty", "kept_empty", "null_texts", "repeated_ids")
    }
    if messages.skipped:
        facts["skipped"] = len(messages.skipped)
        first = "; ".join(map(str, messages.skipped[:3]))
        rank_zero_warn(
            f"{len(messages.skipped):,} rows cannot be read and are left out (on_error: skip): {first}"
            f"{' …' if len(messages.skipped) > 3 else ''}",
            category=DataWarning,
        )
    if splitter is not None:
        division = splitter.split(table)
        split_names, crossing = np.asarray(division.names, dtype=object), division.crossing
    else:
        split_of = {str(path): split for split in SPLITS for path in paths[split]}
        split_names = np.array([split_of[file] for file in table["file"].to_pylist()], dtype=object)
        crossing = crossing_texts(table, split_names)
    corpus = Corpus(
        table,
        labels.targets(table),
        tuple(labels.names),
        choose_rows(table["id"], split_names, max_messages, seed),
        crossing,
        facts,
        dict(max_messages),
        tuple(slices),
    )
    if not corpus.counts()["train"] and not corpus.counts()["test"]:
        raise DataError(
            f"no message is left in train or test: {len(table)} were read, {facts['dropped_empty']} "
            "dropped as empty. Look at the text column, the cleaner and the splitter.",
            file=", ".join(files["train"]),
        )
    for sentence in crossing:
        rank_zero_warn(sentence, category=SplitWarning)
    return corpus


def _advice(labels: LabelScheme, error: DataError, reader: Reader | None, id: str | None) -> str:
    """Say how a table without ids is read, and labels that one column lists; "" where neither is the fault."""
    if error.file is None or error.row is not None:
        return ""
    path = Path(error.file)
    try:
        existing = (reader or reader_for(path)).columns(path)
    except DataError:
        return ""
    hints = []
    if id is not None and f"{id!r}" in str(error) and id not in map(str.strip, existing):
        hints.append(
            "The column that identifies a message is named by data.init_args.id; `id: null` numbers the rows instead."
        )
    listing = next((name for name in existing if name.strip().casefold() in _LISTING), None)
    if listing is None or any(name in existing for name in labels.columns):
        return " ".join(hints)
    names = ", ".join(labels.names[:3]) + (", …" if len(labels.names) > 3 else "")
    hints.append(
        f"If {listing!r} lists the labels of a message, read it with the label scheme Lists: labels: {{class_path: "
        f"Lists, init_args: {{column: {listing}, names: [{names}]}}}}"
    )
    return " ".join(hints)
