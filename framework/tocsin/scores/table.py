"""The scores table: what a model said of each message, beside what was true.

N messages, L labels. On disk one Parquet file, one row a message:

    id                  string
    lang                string, null when unknown
    <slice columns>     whatever figures are to be cut by (genre, country, ...)
    logit.<label>       float32; or prob.<label>, float64 in [1e-7, 1 - 1e-7]
    calibrated.<label>  float64 in [1e-7, 1 - 1e-7], only after a chain (see `tocsin.scores.chain`): what the scores
                        became; logit.* and prob.* stay the raw ones
    decision.<label>    bool, only after a decision rule
    target.<label>      int8 0 or 1, null when unknown; float32 in [0, 1] where targets of the label are soft;
                        absent when nobody labelled the messages

The label names in order, their digest, the run and other facts lie in the file's metadata under
`tocsin.<key>`, and so does the SHA-256 of all its bytes (`tocsin.digest`), which is compared when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tocsin.checksums import Problem
from tocsin.errors import DataError, LabelError, TocsinError, did_you_mean
from tocsin.files import whole_file
from tocsin.labels.schemes import label_digest
from tocsin.labels.targets import hard_targets, is_soft
from tocsin.logits import PROBABILITY_LIMIT, sigmoid
from tocsin.parquet_files import write_parquet
from tocsin.scores.arrays import check_filled, check_unique, numbers, objects, strings
from tocsin.scores.foreign import METADATA, own_facts, read_columns

__all__ = ["PROBABILITY_LIMIT", "ScoresTable", "sigmoid", "verify_scores"]

_PREFIXES = ("logit.", "prob.", "calibrated.", "decision.", "target.")
_RESERVED = ("labels", "labels_digest", "digest", "format")
_FORMAT = "1"


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoresTable:
    """Scores of N messages for L labels. Give exactly one of `logits_NL` and `probabilities_NL`.

    Arrays are converted to the types below; a table is not changed after it is built (use
    `dataclasses.replace`).

    Args:
        ids: (N,) message ids; kept as str.
        labels: The L label names in the order of the columns.
        logits_NL: (N, L) float32, before the sigmoid.
        probabilities_NL: (N, L) float64, for models that give no logits; clipped to [1e-7, 1 - 1e-7].
        calibrated_NL: (N, L) float64, what a chain made of the scores, likewise clipped; None before any. Metrics
            read it in place of the raw scores; what is fitted on a table does not (`uncalibrated`).
        targets_NL: (N, L) float32 of 0, 1 and NaN (unknown), of probabilities where labels are soft; None for
            messages that nobody labelled.
        decisions_NL: (N, L) bool, what a decision rule decided; None before any rule.
        langs: (N,) language codes, None where unknown; None for no languages at all.
        slices: Further columns (N,) by which figures can be cut.
        metadata: Facts that travel in the file: `run`, `split`, `train_prevalence` (a JSON list of L shares,
            read by the prior baseline) and whatever else helps; str to str.

    Raises:
        DataError: For shapes that disagree, a score that is NaN, a target that is neither in [0, 1]
            nor NaN, a column name taken twice.
        LabelError: For no labels, or one name twice.
    """

    ids: np.ndarray
    labels: tuple[str, ...]
    logits_NL: np.ndarray | None = None
    probabilities_NL: np.ndarray | None = None
    calibrated_NL: np.ndarray | None = None
    targets_NL: np.ndarray | None = None
    decisions_NL: np.ndarray | None = None
    langs: np.ndarray | None = None
    slices: dict[str, np.ndarray] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "labels", tuple(self.labels))
        _check_labels(self.labels)
        set_field(self, "ids", strings(self.ids))
        n = len(self.ids)
        if (self.logits_NL is None) == (self.probabilities_NL is None):
            raise DataError(
                "A scores table holds either logits or probabilities: give exactly one of the two."
            )
        for name, dtype in (
            ("logits_NL", np.float32),
            ("probabilities_NL", np.float64),
            ("calibrated_NL", np.float64),
            ("targets_NL", np.float32),
            ("decisions_NL", np.bool_),
        ):
            values = getattr(self, name)
            if values is not None:
                values = np.asarray(values, dtype=dtype)
                if values.shape != (n, len(self.labels)):
                    raise DataError(
                        f"{name} has shape {values.shape}; {(n, len(self.labels))} is wanted "
                        f"({n} ids, {len(self.labels)} labels)."
                    )
                set_field(self, name, values)
        self._check_values()
        for name in ("probabilities_NL", "calibrated_NL"):
            if getattr(self, name) is not None:
                clipped = np.clip(getattr(self, name), PROBABILITY_LIMIT, 1.0 - PROBABILITY_LIMIT)
                set_field(self, name, clipped)
        langs = np.full(n, None, dtype=object) if self.langs is None else np.asarray(self.langs, dtype=object)
        set_field(self, "langs", langs)
        set_field(self, "slices", {name: np.asarray(values) for name, values in self.slices.items()})
        for name, column in {"lang": langs, **self.slices}.items():
            if column.shape != (n,):
                raise DataError(f"Column {name!r} has shape {column.shape}; ({n},) is wanted.")
        for name in self.slices:
            if name in ("id", "lang") or name.startswith(_PREFIXES):
                raise DataError(
                    f"A slice column cannot be called {name!r}: the scores table uses that name itself. "
                    "Rename the column."
                )
        set_field(
            self,
            "metadata",
            {key: str(value) for key, value in self.metadata.items() if key not in _RESERVED},
        )

    def _check_values(self) -> None:
        for scores in (self.logits_NL, self.probabilities_NL, self.calibrated_NL):
            if scores is None:
                continue
            if np.isnan(scores).any():
                row, label = (int(i) for i in np.argwhere(np.isnan(scores))[0])
                raise DataError(
                    f"The score of message {self.ids[row]!r} for label {self.labels[label]!r} is NaN "
                    f"({int(np.isnan(scores).sum()):,} such scores). The model diverged, or its file is damaged.",
                    row=row + 1,
                )
            if scores is not self.logits_NL and scores.size and (scores.min() < 0 or scores.max() > 1):
                row, label = (int(i) for i in np.argwhere((scores < 0) | (scores > 1))[0])
                percent = scores.min() >= 0 and scores.max() <= 100
                raise DataError(
                    f"Probabilities reach from {scores.min():g} to {scores.max():g}; 0 to 1 is wanted. "
                    f"Are they logits? {'Percentages? Divide by 100. ' if percent else ''}"
                    f"The first is {scores[row, label]:g}, of message {self.ids[row]!r} for label "
                    f"{self.labels[label]!r}.",
                    row=row + 1,
                )
        if self.targets_NL is not None:
            targets = self.targets_NL
            wrong = ~(((targets >= 0) & (targets <= 1)) | np.isnan(targets))
            if wrong.any():
                row, label = (int(i) for i in np.argwhere(wrong)[0])
                raise DataError(
                    f"The target of message {self.ids[row]!r} for label {self.labels[label]!r} is "
                    f"{targets[row, label]:g}; 0, 1, a probability in between, or null is wanted.",
                    row=row + 1,
                )

    def __len__(self) -> int:
        """The number of messages."""
        return len(self.ids)

    @property
    def probabilities(self) -> np.ndarray:
        """(N, L) float64 in [1e-7, 1 - 1e-7], calibrated where a chain did that."""
        return self.raw_probabilities if self.calibrated_NL is None else self.calibrated_NL

    @property
    def raw_probabilities(self) -> np.ndarray:
        """(N, L) float64 in [1e-7, 1 - 1e-7] before any chain. The sigmoid is applied here, and nowhere else."""
        if self.probabilities_NL is not None:
            return self.probabilities_NL
        assert self.logits_NL is not None
        return sigmoid(self.logits_NL)

    @property
    def ranking_NL(self) -> np.ndarray:
        """(N, L) what rank metrics sort by: calibrated probabilities, else logits if there are any (clipped
        probabilities may tie).
        """
        scores = self.probabilities_NL if self.logits_NL is None else self.logits_NL
        scores = scores if self.calibrated_NL is None else self.calibrated_NL
        assert scores is not None
        return scores

    @property
    def ranked_by_logits(self) -> bool:
        """Whether `ranking_NL` holds logits; else probabilities."""
        return self.logits_NL is not None and self.calibrated_NL is None

    def uncalibrated(self) -> ScoresTable:
        """Return the table as it was before any chain: without calibrated probabilities and decisions."""
        return replace(self, calibrated_NL=None, decisions_NL=None)

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of ids, labels, raw scores and targets: what a chain that is fitted on the table learns from."""
        digest = hashlib.sha256(json.dumps([*map(str, self.ids)]).encode())
        digest.update(self.labels_digest.encode())
        raw_NL = self.probabilities_NL if self.logits_NL is None else self.logits_NL
        for values_NL in (raw_NL, self.targets_NL):
            if values_NL is not None:
                digest.update(f"{values_NL.dtype}{values_NL.shape}".encode())
                digest.update(np.ascontiguousarray(values_NL + 0.0).tobytes())
        return digest.hexdigest()

    @property
    def labels_digest(self) -> str:
        """SHA-256 of the label names in order."""
        return label_digest(self.labels)

    @cached_property
    def soft(self) -> bool:
        """Whether a known target lies between 0 and 1."""
        return self.targets_NL is not None and is_soft(self.targets_NL)

    def known_targets(self, purpose: str) -> np.ndarray:
        """Return targets (N, L) of 0, 1 and NaN, or raise DataError saying that `purpose` needs them.

        Soft targets become 1 from 0.5 up: what reads `known_targets` (metrics, calibration) needs no care for
        them. What can make use of a probability reads `targets_NL`.
        """
        if self.targets_NL is None:
            raise DataError(
                f"{purpose} needs targets, and this scores table has none ({len(self):,} messages without "
                "target.* columns). Give the table of a labelled split."
            )
        return hard_targets(self.targets_NL) if self.soft else self.targets_NL

    def column(self, name: str) -> np.ndarray:
        """Return the (N,) column `lang` or a slice column; DataError names the existing ones."""
        if name == "lang":
            assert self.langs is not None
            return self.langs
        if name not in self.slices:
            known = ["lang", *self.slices]
            raise DataError(
                f"The scores table has no column {name!r}.{did_you_mean(name, known)} Beside scores and targets it "
                f"has: {', '.join(known)}."
            )
        return self.slices[name]

    def select(self, rows: np.ndarray) -> ScoresTable:
        """Return the table of some rows: an index array (in its order) or a mask of N."""
        changed: dict[str, Any] = {"slices": {name: values[rows] for name, values in self.slices.items()}}
        for item in fields(self):
            if isinstance(getattr(self, item.name), np.ndarray):
                changed[item.name] = getattr(self, item.name)[rows]
        return replace(self, **changed)

    def to_arrow(self) -> pa.Table:
        """Return the Arrow table that `write` stores, metadata included."""
        columns: dict[str, pa.Array] = {
            "id": pa.array(self.ids, pa.string()),
            "lang": pa.array(self.langs, pa.string(), from_pandas=True),
        }
        for name, values in self.slices.items():
            columns[name] = pa.array(values, from_pandas=True)
        for prefix, values_NL in (
            ("logit.", self.logits_NL),
            ("prob.", self.probabilities_NL),
            ("calibrated.", self.calibrated_NL),
            ("decision.", self.decisions_NL),
        ):
            if values_NL is not None:
                for i, label in enumerate(self.labels):
                    columns[prefix + label] = pa.array(np.ascontiguousarray(values_NL[:, i]))
        if self.targets_NL is not None:
            for i, label in enumerate(self.labels):
                unknown = np.isnan(self.targets_NL[:, i])
                values = np.where(unknown, 0, self.targets_NL[:, i])
                values = values if is_soft(values[:, None]) else values.astype(np.int8)
                columns["target." + label] = pa.array(values, mask=unknown)
        facts = {
            **self.metadata,
            "format": _FORMAT,
            "labels": json.dumps(list(self.labels), ensure_ascii=False),
            "labels_digest": self.labels_digest,
        }
        metadata = {METADATA + key.encode(): value.encode() for key, value in facts.items()}
        return pa.table(columns).replace_schema_metadata(metadata)

    @classmethod
    def from_arrow(cls, table: pa.Table, *, file: str | Path | None = None) -> ScoresTable:
        """Build from an Arrow table with the columns above; `file` is named in errors. Raises as `read`."""
        names = table.column_names
        facts = own_facts(table)
        if facts.get("format", _FORMAT) != _FORMAT:
            raise DataError(
                f"The scores are of format {facts['format'][:40]!r}; this version of Tocsin reads format {_FORMAT}. "
                "Install the version that wrote them, or score the messages again.",
                file=file,
            )
        kind = next((p for p in ("logit.", "prob.") if any(name.startswith(p) for name in names)), None)
        if kind is None or "id" not in names:
            raise DataError(
                "This is no scores table: a column 'id' and columns 'logit.<label>' or 'prob.<label>' are "
                f"wanted, and it has {', '.join(names[:8]) or 'none'}{', ...' if len(names) > 8 else ''}.",
                file=file,
            )
        found = tuple(name.removeprefix(kind) for name in names if name.startswith(kind))
        labels = _told_labels(facts, file) or found
        _check_names(labels, found, facts, file)

        def matrix(prefix: str, dtype: Any) -> np.ndarray | None:
            present = [name for name in names if name.startswith(prefix)]
            if not present:
                return None
            missing = [label for label in labels if prefix + label not in present]
            if missing:
                raise DataError(
                    f"Columns are missing: {', '.join(prefix + label for label in missing)}.", file=file
                )
            values = np.empty((table.num_rows, len(labels)), dtype=dtype)
            for i, label in enumerate(labels):
                column = numbers(table.column(prefix + label), prefix + label, file)
                if prefix == kind and not facts:
                    check_filled(table, label, kind, file)
                if dtype is np.bool_ and np.isnan(column).any():
                    row = int(np.flatnonzero(np.isnan(column))[0]) + 1
                    raise DataError(
                        f"Column {prefix + label!r} has no decision in {int(np.isnan(column).sum()):,} rows; yes or no "
                        "is wanted in each. Leave out messages that were not judged, or the decisions of all.",
                        file=file,
                        row=row,
                    )
                values[:, i] = column
            return values

        def texts(name: str) -> pa.ChunkedArray:
            try:
                return table.column(name).cast(pa.string())
            except pa.ArrowException as error:  # lists, for instance
                kind = table.column(name).type
                raise DataError(f"column {name!r} holds {kind}; text is wanted", file=file) from error

        try:
            return cls(
                ids=objects(texts("id")),
                labels=labels,
                logits_NL=matrix("logit.", np.float32) if kind == "logit." else None,
                probabilities_NL=matrix("prob.", np.float64) if kind == "prob." else None,
                calibrated_NL=matrix("calibrated.", np.float64),
                targets_NL=matrix("target.", np.float32),
                decisions_NL=matrix("decision.", np.bool_),
                langs=objects(texts("lang")) if "lang" in names else None,
                slices={
                    name: objects(table.column(name))
                    for name in names
                    if name not in ("id", "lang") and not name.startswith(_PREFIXES)
                },
                metadata=facts,
            )
        except DataError as error:
            if file is None or error.file is not None:
                raise
            raise DataError(str(error), file=file, row=error.row) from None

    def write(self, path: str | Path) -> None:
        """Write Parquet (zstd) so that `path` holds either the whole new table or what it held before.

        Its pages have checksums, and its metadata holds the SHA-256 of all its bytes.
        """
        with whole_file(Path(path)) as part:
            write_parquet(self.to_arrow(), part)

    @classmethod
    def read(cls, path: str | Path) -> ScoresTable:
        """Read a scores file: ours, or one that another program wrote (Parquet or CSV, see `tocsin.scores.foreign`).

        Raises:
            DataError: For a missing, torn or altered file, one of ours without a checksum, missing columns, wrong
                values, an id in several rows.
            LabelError: When the label columns are not those that the file's own metadata tells.
        """
        table = cls.from_arrow(read_columns(path), file=path)
        check_unique(table.ids, path)
        return table


def verify_scores(path: str | Path) -> list[Problem]:
    """Read a scores file with its checksum compared; return what is wrong, nothing for a sound one."""
    try:
        ScoresTable.read(path)
    except TocsinError as error:
        return [Problem(str(path), str(error).removeprefix(f"{path}: "))]
    return []


def _told_labels(facts: Mapping[str, str], file: str | Path | None) -> tuple[str, ...]:
    """The labels that a file's metadata names; none where it names none."""
    try:
        labels = json.loads(facts.get("labels", "[]"))
        if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
            raise ValueError("a list of names is wanted")
    except (ValueError, RecursionError) as error:
        raise DataError(f"The labels in the metadata cannot be read: {error}.", file=file) from error
    return tuple(labels)


def _check_labels(labels: Sequence[str]) -> None:
    if not labels:
        raise LabelError("A scores table needs at least one label; none was given.")
    repeated = sorted({name for name in labels if labels.count(name) > 1})
    if repeated:
        raise LabelError(
            f"Label names stand twice: {', '.join(repeated)}. Each label needs a name of its own."
        )


def _check_names(
    labels: tuple[str, ...], found: tuple[str, ...], facts: Mapping[str, str], file: str | Path | None
) -> None:
    where = "" if file is None else f"{file}: "
    if set(labels) != set(found):
        raise LabelError(
            f"{where}the metadata names the labels {list(labels)}, and the columns hold {list(found)}. "
            "The file was edited by another tool; write it again from the model."
        )
    if facts.get("labels_digest", label_digest(labels)) != label_digest(labels):
        raise LabelError(f"{where}the label digest in the metadata is not that of the labels {list(labels)}.")
