"""The data audit: what a fit is about to see, counted before it starts.

Axes: N messages, L labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.text.duplicates import duplicate_groups
from tocsin.text.messages import iterate_strings

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["FEW_OBSERVATIONS", "Audit", "Duplicates", "LabelCounts", "SplitCounts", "audit"]

FEW_OBSERVATIONS = 5_000
"""A label set in fewer messages is flagged: m2im/labse_finetuned_twitter's card advises against using one."""

_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitCounts:
    """One split.

    Attributes:
        messages: Number of messages.
        labels_per_message: Mean number of labels set, over messages with at least one known target; None
            without any.
        unlabelled: Messages all of whose known targets are 0, of those with at least one known target.
        mean_tokens: Mean length in tokens, after truncation; None when lengths were not given.
        truncated: Share of messages cut at the greatest length; None when not given.
        unknown_pieces: Share of tokens that the tokenizer does not know; None when not given.
    """

    messages: int
    labels_per_message: float | None
    unlabelled: int
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
    """Messages with equal normalised text, over all splits.

    Attributes:
        groups: Texts that stand more than once.
        rows: Messages that repeat an earlier one.
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
        languages: Messages by language code over all splits, most frequent first; "unknown" for none.
        duplicates: Repeated texts.
        crossing: Sentences of the splitter.
        max_length: The greatest length in tokens, or None.
    """

    splits: dict[str, SplitCounts]
    labels: dict[str, dict[str, LabelCounts]]
    few: tuple[str, ...]
    without_positives: tuple[str, ...]
    languages: dict[str, int]
    duplicates: Duplicates
    crossing: tuple[str, ...]
    max_length: int | None

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
    """
    for name, values in (
        ("split_names", split_names),
        ("targets_NL", targets_NL),
        ("lengths", lengths),
        ("truncated", truncated),
        ("unknown", unknown),
    ):
        if values is not None and len(values) != table.num_rows:
            raise ValueError(f"{name} has {len(values)} rows, the table {table.num_rows}")
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
        splits[split] = _split_counts(targets_NL, rows, lengths, truncated, unknown)
    observed = {name: sum(one.positives for one in counts.values()) for name, counts in labels.items()}
    return Audit(
        splits=splits,
        labels=labels,
        few=tuple(name for name in label_names if observed[name] < FEW_OBSERVATIONS),
        without_positives=tuple(
            name for name, counts in labels.items() if "train" in counts and not counts["train"].positives
        ),
        languages=_languages(table),
        duplicates=_duplicates(table, targets_NL),
        crossing=tuple(crossing),
        max_length=max_length,
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
        labels_per_message=float(set_N[known_N].mean()) if known_N.any() else None,
        unlabelled=int(np.count_nonzero(set_N[known_N] == 0)),
        mean_tokens=None if lengths is None else float(lengths[rows].mean()),
        truncated=None if truncated is None else float(truncated[rows].mean()),
        unknown_pieces=None if unknown is None or not tokens else float(unknown[rows].sum() / tokens),
    )


def _languages(table: pa.Table) -> dict[str, int]:
    counts = {
        (pair["values"] or "unknown"): pair["counts"] for pair in pc.value_counts(table["lang"]).to_pylist()
    }
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _duplicates(table: pa.Table, targets_NL: np.ndarray) -> Duplicates:
    groups = duplicate_groups(iterate_strings(table["text"]))
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
