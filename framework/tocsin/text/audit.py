"""The data audit: what a fit is about to see, counted before it starts.

Axes: N messages, L labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.text.crossings import Crossing
from tocsin.text.crossings import crossing as crossing_counts
from tocsin.text.duplicates import duplicate_groups
from tocsin.text.messages import iterate_strings

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "EQUAL_TEXTS",
    "FEW_OBSERVATIONS",
    "Audit",
    "Duplicates",
    "LabelCounts",
    "Lengths",
    "SplitCounts",
    "audit",
]

FEW_OBSERVATIONS = 5_000
"""A label set in fewer messages is flagged: m2im/labse_finetuned_twitter's card advises against using one."""

EQUAL_TEXTS = "equal texts"
"""What crosses in any case, among `Audit.groups`."""

_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Lengths:
    """Lengths of a split's cleaned texts in characters.

    Attributes:
        median: Half of the texts are at most so long.
        most: 95% of the texts are at most so long.
        longest: The longest.
    """

    median: int
    most: int
    longest: int


@dataclass(frozen=True)
class SplitCounts:
    """One split.

    Attributes:
        messages: Number of messages.
        characters: Lengths of their texts.
        labels_per_message: Mean number of labels set, over messages with at least one known target; None
            without any.
        unlabelled: Messages all of whose known targets are 0, of those with at least one known target.
        unknown: Messages without any known target: they teach and test nothing.
        mean_tokens: Mean length in tokens, after truncation; None when lengths were not given.
        truncated: Share of messages cut at the greatest length; None when not given.
        unknown_pieces: Share of tokens that the tokenizer does not know; None when not given.
    """

    messages: int
    characters: Lengths
    labels_per_message: float | None
    unlabelled: int
    unknown: int
    mean_tokens: float | None
    truncated: float | None
    unknown_pieces: float | None


@dataclass(frozen=True)
class LabelCounts:
    """One label in one split.

    Attributes:
        positives: Messages with a 1.
        negatives: Messages with a 0.
        nulls: Messages for which the label is unknown.
        prevalence: positives / (positives + negatives), or None when nothing is known.
    """

    positives: int
    negatives: int
    nulls: int

    @property
    def observations(self) -> int:
        """Messages for which the label is known."""
        return self.positives + self.negatives

    @property
    def prevalence(self) -> float | None:
        """Share of positives among the known, or None when nothing is known."""
        return self.positives / self.observations if self.observations else None


@dataclass(frozen=True)
class Duplicates:
    """Messages with equal (or almost equal) text, over all splits.

    Attributes:
        groups: Groups of two messages or more.
        rows: Messages beyond the first of their group.
        conflicting: Groups whose messages have different known targets for some label.
    """

    groups: int
    rows: int
    conflicting: int


@dataclass(frozen=True)
class Audit:
    """What the data holds; plain figures, no message text.

    Attributes:
        splits: By split name, those with messages; "" holds the messages in none.
        labels: By label, then by split.
        few: Labels that are 1 in fewer than 5,000 messages over all splits.
        without_positives: Labels that are never 1 in the training messages.
        without_negatives: Labels that are never 0 in the training messages.
        languages: Messages by language code over all splits, most frequent first; "unknown" for none.
        duplicates: Messages with equal normalised text.
        similar: Further kinds of groups by name, such as near-duplicates, those with equal texts included.
        groups: By kind of group (equal texts first): what crosses the splits.
        by_language: By language code, then by split: messages.
        read: Counts made while reading: messages dropped or kept as empty, without a text, ids that repeat.
        crossing: Sentences of the splitter.
        max_length: The greatest length in tokens, or None.
    """

    splits: dict[str, SplitCounts]
    labels: dict[str, dict[str, LabelCounts]]
    few: tuple[str, ...]
    without_positives: tuple[str, ...]
    without_negatives: tuple[str, ...]
    languages: dict[str, int]
    duplicates: Duplicates
    crossing: tuple[str, ...]
    max_length: int | None
    similar: dict[str, Duplicates]
    groups: dict[str, Crossing]
    by_language: dict[str, dict[str, int]]
    read: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data that JSON and YAML can hold."""
        plain = dataclasses.asdict(self)
        for name, splits in self.labels.items():
            for split, counts in splits.items():
                plain["labels"][name][split]["prevalence"] = counts.prevalence
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    def render(self) -> RenderableType:
        """Return the figures as tables for a terminal."""
        from tocsin.text.audit_tables import audit_tables  # rich is imported only to be shown

        return audit_tables(self)


def audit(
    table: pa.Table,
    split_names: np.ndarray,
    label_names: Sequence[str],
    targets_NL: np.ndarray,
    lengths: np.ndarray | None = None,
    truncated: np.ndarray | None = None,
    unknown: np.ndarray | None = None,
    max_length: int | None = None,
    crossing: Sequence[str] = (),
    similar: Mapping[str, np.ndarray] | None = None,
    values: Mapping[str, np.ndarray] | None = None,
    read: Mapping[str, int] | None = None,
) -> Audit:
    """Count what a table of messages holds.

    Args:
        table: The messages, (N,), with columns `text` and `lang`.
        split_names: (N,) split of each message, "" for none.
        label_names: (L,) names.
        targets_NL: (N, L) 1, 0 or NaN (null).
        lengths: (N,) tokens of each message, after truncation.
        truncated: (N,) whether a message was cut at `max_length`.
        unknown: (N,) tokens of each message that the tokenizer does not know.
        max_length: The greatest length in tokens.
        crossing: Sentences of the splitter about what crosses.
        similar: By name: (N,) group numbers from 0 of messages that say almost the same.
        values: By name: (N,) group numbers from 0 of messages that share something else, such as an event; below 0
            for none.
        read: Counts made while reading.
    """
    for name, given in (
        ("split_names", split_names),
        ("targets_NL", targets_NL),
        ("lengths", lengths),
        ("truncated", truncated),
        ("unknown", unknown),
        *(similar or {}).items(),
        *(values or {}).items(),
    ):
        if given is not None and len(given) != table.num_rows:
            raise ValueError(f"{name} has {len(given)} rows, the table {table.num_rows}")
    equal = duplicate_groups(iterate_strings(table["text"]))
    characters = pc.utf8_length(table["text"]).to_numpy()
    by_language = _by_language(table, split_names)
    present = [name for name in (*_SPLITS, "") if (split_names == name).any()]
    splits: dict[str, SplitCounts] = {}
    labels: dict[str, dict[str, LabelCounts]] = {name: {} for name in label_names}
    for split in present:
        rows = split_names == split
        positives_L, negatives_L = _counts(targets_NL, rows)
        for label, name in enumerate(label_names):
            known = int(positives_L[label] + negatives_L[label])
            labels[name][split] = LabelCounts(
                int(positives_L[label]), int(negatives_L[label]), int(rows.sum()) - known
            )
        splits[split] = _split_counts(targets_NL, rows, characters, lengths, truncated, unknown)
    observed = {name: sum(one.positives for one in counts.values()) for name, counts in labels.items()}
    return Audit(
        splits=splits,
        labels=labels,
        few=tuple(name for name in label_names if observed[name] < FEW_OBSERVATIONS),
        without_positives=tuple(
            name for name, counts in labels.items() if "train" in counts and not counts["train"].positives
        ),
        without_negatives=tuple(
            name for name, counts in labels.items() if "train" in counts and not counts["train"].negatives
        ),
        languages={code: sum(counts.values()) for code, counts in by_language.items()},
        duplicates=_duplicates(equal, targets_NL),
        crossing=tuple(crossing),
        max_length=max_length,
        similar={name: _duplicates(groups, targets_NL) for name, groups in (similar or {}).items()},
        groups={
            name: crossing_counts(split_names, groups)
            for name, groups in {EQUAL_TEXTS: equal, **(similar or {}), **(values or {})}.items()
        },
        by_language=by_language,
        read=dict(read or {}),
    )


def _counts(targets_NL: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (L,) numbers of ones and of zeros in some rows, label by label: the whole may be gigabytes."""
    columns = [targets_NL[rows, label] for label in range(targets_NL.shape[1])]
    return (
        np.array([np.count_nonzero(column == 1) for column in columns], np.int64),
        np.array([np.count_nonzero(column == 0) for column in columns], np.int64),
    )


def _split_counts(
    targets_NL: np.ndarray,
    rows: np.ndarray,
    characters: np.ndarray,
    lengths: np.ndarray | None,
    truncated: np.ndarray | None,
    unknown: np.ndarray | None,
) -> SplitCounts:
    set_N = np.zeros(len(rows), np.int32)
    known_N = np.zeros(len(rows), bool)
    for label in range(targets_NL.shape[1]):
        set_N += targets_NL[:, label] == 1
        known_N |= ~np.isnan(targets_NL[:, label])
    known_N &= rows
    tokens = None if lengths is None else int(lengths[rows].sum())
    return SplitCounts(
        messages=int(rows.sum()),
        characters=_lengths(characters[rows]),
        labels_per_message=float(set_N[known_N].mean()) if known_N.any() else None,
        unlabelled=int(np.count_nonzero(set_N[known_N] == 0)),
        unknown=int(np.count_nonzero(rows) - np.count_nonzero(known_N)),
        mean_tokens=None if lengths is None else float(lengths[rows].mean()),
        truncated=None if truncated is None else float(truncated[rows].mean()),
        unknown_pieces=None if unknown is None or not tokens else float(unknown[rows].sum() / tokens),
    )


def _lengths(characters: np.ndarray) -> Lengths:
    median, most = np.percentile(characters, (50, 95), method="inverted_cdf")
    return Lengths(int(median), int(most), int(characters.max()))


def _by_language(table: pa.Table, split_names: np.ndarray) -> dict[str, dict[str, int]]:
    """Return messages by language, the most frequent first, and by split."""
    langs = table["lang"].combine_chunks().dictionary_encode()
    if isinstance(langs, pa.ChunkedArray):
        langs = langs.combine_chunks()
    # An absent code counts as one of its own, and so does an empty string: the same.
    codes = [*(code or "unknown" for code in langs.dictionary.to_pylist()), "unknown"]
    numbers = langs.indices.fill_null(len(codes) - 1).to_numpy()
    found: dict[str, dict[str, int]] = {}
    for split in (*_SPLITS, ""):
        counts = np.bincount(numbers[split_names == split], minlength=len(codes))
        for number in np.flatnonzero(counts):
            of_code = found.setdefault(codes[number], {})
            of_code[split] = of_code.get(split, 0) + int(counts[number])
    return dict(sorted(found.items(), key=lambda pair: (-sum(pair[1].values()), pair[0])))


def _duplicates(groups: np.ndarray, targets_NL: np.ndarray) -> Duplicates:
    if not len(groups):
        return Duplicates(0, 0, 0)
    sizes = np.bincount(groups)
    conflicting = np.zeros(len(sizes), bool)
    repeated = np.flatnonzero(sizes[groups] > 1)
    for label in range(targets_NL.shape[1]):
        values = targets_NL[repeated, label]
        one, zero = np.zeros(len(sizes), bool), np.zeros(len(sizes), bool)
        one[groups[repeated[values == 1]]] = True
        zero[groups[repeated[values == 0]]] = True
        conflicting |= one & zero
    return Duplicates(
        groups=int(np.count_nonzero(sizes > 1)),
        rows=int(len(groups) - len(sizes)),
        conflicting=int(np.count_nonzero(conflicting)),
    )
