"""Parallel sentences from their sources to disk: read once, filtered, without duplicates, numbered.

Building holds one partition of the pairs in memory (some hundred thousand), and some numbers for each language and
source. Axes: E distinct English sentences, N training pairs, H held-out pairs, G pairs of a source and a language.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.batches.pair_corpus import FACTS, mapped
from tocsin.batches.pair_counts import PairCounts
from tocsin.batches.pair_filters import PairFilters
from tocsin.batches.pair_partitions import Partitions, partition_bits
from tocsin.batches.pair_selection import HeldOut, mixed, thresholds
from tocsin.errors import DataError, did_you_mean
from tocsin.files import reserve
from tocsin.text.pairs import PairReader
from tocsin.text.progress import progress_bar

__all__ = ["PairRules", "build_pairs"]

_SIDE = pa.schema([("text", pa.large_string())])
_HELD_OUT = pa.schema(
    [("lang", pa.string()), ("source", pa.string()), ("text", pa.large_string()), ("english", pa.int64())]
)
_SLICE = 1 << 14  # pairs that are filtered at once, whatever a reader yields
_ROWS = 1 << 16  # of a record batch
_ORDER = 1 << 20  # rows sorted at once


@dataclass(frozen=True)
class PairRules:
    """What becomes of the pairs of all sources.

    Args:
        filters: Look at one pair alone.
        cap: Training pairs of a source and language at most; None for no cap.
        held_out: Pairs of a language that are held out at most.
        held_out_share: Of a language's pairs at most.
        seed: Draws what is held out and what fits under the cap.
        skip_bad: Whether pairs that cannot be read are counted and left out; else the first ends the reading.
    """

    filters: PairFilters = field(default_factory=PairFilters)
    cap: int | None = None
    held_out: int = 0
    held_out_share: float = 0.1
    seed: int = 0
    skip_bad: bool = False


def build_pairs(
    folder: Path, sources: Mapping[str, PairReader], rules: PairRules, *, progress: bool = False
) -> None:
    """Read all sources and write what `PairCorpus` opens.

    Args:
        folder: Where to; exists and is empty.
        sources: Readers by the name that their pairs are counted under, whatever they call their source themselves.
        rules: What becomes of the pairs.
        progress: Show bars on stderr.

    Raises:
        DataError: A file or a row of it is faulty, or a source or a wanted language has no pair left; says what became
            of its pairs.
    """
    work = folder / "work"
    work.mkdir()
    counts = PairCounts(sources)
    groups: dict[tuple[str, str], int] = {}
    known = [reader.approximate_pairs() for reader in sources.values()]
    total = None if None in known else sum(known)  # type: ignore[arg-type]
    partitions = Partitions(work, partition_bits(total))
    with progress_bar("reading", total, unit="pairs", show=progress) as advance:
        for name, reader in sources.items():
            _read(name, reader, rules, partitions, groups, counts, advance)
    partitions.close()
    _Selection(folder, partitions, list(groups), counts, rules, progress).write()
    shutil.rmtree(work)


def _read(
    name: str,
    reader: PairReader,
    rules: PairRules,
    partitions: Partitions,
    groups: dict[tuple[str, str], int],
    counts: PairCounts,
    advance: Callable[[int], None],
) -> None:
    def on_bad(error: DataError) -> None:
        counts.add(name, "", "unreadable", 1)
        counts.add(name, "", "read", 1)

    read = 0
    for large in reader.batches(on_bad) if rules.skip_bad else reader.batches():
        for start in range(0, large.num_rows, _SLICE):
            batch = large.slice(start, _SLICE)
            sifted = rules.filters.sift(batch)
            for (stage, lang), pairs in sifted.counts.items():
                counts.add(name, lang, stage, pairs)
            numbers = [groups.setdefault((name, lang), len(groups)) for lang in sifted.lang]
            if numbers:
                partitions.add(
                    sifted.english, sifted.text, np.array(numbers), sifted.english_keys, sifted.pair_keys
                )
            read += batch.num_rows
            advance(batch.num_rows)
    if not read:
        raise DataError(
            f"the source {name!r} holds no pair that can be read; take it off the list, or mend it."
        )


class _Selection:
    """From partitions to the corpus: duplicates go, some pairs are held out, the cap is kept, the rest is numbered."""

    def __init__(
        self,
        folder: Path,
        partitions: Partitions,
        groups: list[tuple[str, str]],
        counts: PairCounts,
        rules: PairRules,
        progress: bool,
    ) -> None:
        self.folder, self.partitions, self.counts = folder, partitions, counts
        self.groups, self.rules, self.progress = groups, rules, progress
        codes = sorted({lang for _, lang in groups})
        self.languages_G = np.array([codes.index(lang) for _, lang in groups], dtype=np.int64)
        self.held_english = self.held_pairs = np.zeros(0, np.uint64)
        self.limits_G = np.zeros(0, np.uint64)

    def write(self) -> None:
        """Write the corpus."""
        self._deduplicate()
        candidates_G = self._leave_held_out()
        if self.rules.cap is None:
            self.limits_G = np.full(len(self.groups), np.iinfo(np.uint64).max)
        else:
            self.limits_G = thresholds(self._keys, candidates_G, self.rules.cap)
        train_G, facts = self._number()
        for number, (source, lang) in enumerate(self.groups):
            self.counts.add(source, lang, "over_cap", int(candidates_G[number] - train_G[number]))
            self.counts.add(source, lang, "train", int(train_G[number]))
        self._check()
        ranked = sorted(
            (number for number in range(len(self.groups)) if train_G[number]),
            key=lambda number: (self.counts.sources.index(self.groups[number][0]), self.groups[number][1]),
        )
        _write_order(self.folder, self.partitions.folder / "groups.i32", np.array(ranked, np.int64), train_G)
        facts |= {
            "sources": self.counts.sources,
            "counts": self.counts.rows(),
            "groups": [[*self.groups[number], int(train_G[number])] for number in ranked],
        }
        (self.folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")

    def _deduplicate(self) -> None:
        held = HeldOut(self.rules.held_out, self.rules.held_out_share, self.rules.seed)
        dropped_G = np.zeros(len(self.groups), np.int64)
        with progress_bar(
            "finding duplicates", len(self.partitions.numbers()), unit="parts", show=self.progress
        ) as advance:
            for number in self.partitions.numbers():
                groups, english, pairs, dropped = self.partitions.deduplicate(number)
                held.see(self.languages_G[groups], english, pairs)
                dropped_G += np.bincount(dropped, minlength=len(dropped_G))
                advance(1)
        for (source, lang), repeated in zip(self.groups, dropped_G.tolist(), strict=True):
            self.counts.add(source, lang, "duplicate", repeated)
        self.held_english, self.held_pairs = held.chosen()

    def _leave_held_out(self) -> np.ndarray:
        """Count what is held out, and what is left out for its sake; return the pairs left to train on, by group."""
        left_G, held_G, lost_G = (np.zeros(len(self.groups), np.int64) for _ in range(3))
        for english, pairs, groups in self.partitions.digests():
            known = np.isin(english, self.held_english)
            held = known & np.isin(pairs, self.held_pairs)
            for found_G, mask in ((left_G, ~known), (held_G, held), (lost_G, known & ~held)):
                found_G += np.bincount(groups[mask], minlength=len(found_G))
        for number, (source, lang) in enumerate(self.groups):
            self.counts.add(source, lang, "held_out", int(held_G[number]))
            self.counts.add(source, lang, "held_out_english", int(lost_G[number]))
        return left_G

    def _keys(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for english, pairs, groups in self.partitions.digests():
            left = ~np.isin(english, self.held_english)
            yield mixed(pairs[left], self.rules.seed), groups[left]

    def _number(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Write texts, English sentences and their numbers, partition by partition."""
        train_G = np.zeros(len(self.groups), np.int64)
        digests = {split: _Digest() for split in ("train", "validation")}
        with (
            _Sides(self.folder) as sides,
            progress_bar(
                "numbering", len(self.partitions.numbers()), unit="parts", show=self.progress
            ) as advance,
        ):
            for number in self.partitions.numbers():
                table = self.partitions.table(number)
                english, pairs, groups = (
                    table[name].to_numpy() for name in ("english_key", "pair_key", "group")
                )
                known = np.isin(english, self.held_english)
                train = ~known & (mixed(pairs, self.rules.seed) <= self.limits_G[groups])
                held = known & np.isin(pairs, self.held_pairs)
                train_G += np.bincount(groups[train], minlength=len(train_G))
                digests["train"].see(sides.add("train", table, train, self.groups))
                digests["validation"].see(sides.add("validation", table, held, self.groups))
                self.partitions.drop(number)
                advance(1)
        facts = {"english": sides.english, "english_digest": [one.hexadecimal() for one in digests.values()]}
        _write_numbers(self.folder / "english-rows.i64", sum(sides.english.values()))
        return train_G, facts

    def _check(self) -> None:
        """Refuse sources and languages that give nothing."""
        wanted = self.rules.filters.languages
        read = self.counts.languages()
        for lang in sorted(wanted or ()):
            if lang not in read:
                shown = ", ".join(read[:40]) + (f" and {len(read) - 40} more" if len(read) > 40 else "")
                raise DataError(
                    f"no source holds a pair of the language {lang!r}.{did_you_mean(lang, read)} Take it off "
                    f"`languages`, or add a source. Languages read: {shown}."
                )
        for source in self.counts.sources:
            if not self.counts.get("train", source) and not self.counts.get("held_out", source):
                raise DataError(
                    f"no pair of the source {source!r} is left ({self.counts.told(source)}). Take it off `sources`, or "
                    "loosen what left its pairs out."
                )
        if not self.counts.get("train"):
            raise DataError("no pair is left to train on: all are held out. Lower held_out.")


class _Sides:
    """The files that grow while partitions are numbered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.english = {"train": 0, "validation": 0}

    def __enter__(self) -> _Sides:
        names = {
            "english-train": _SIDE,
            "english-validation": _SIDE,
            "text-train": _SIDE,
            "validation": _HELD_OUT,
        }
        self._sinks = {name: pa.OSFile(str(self.folder / f"{name}.arrow"), "wb") for name in names}
        self._writers = {name: pa.ipc.new_file(self._sinks[name], schema) for name, schema in names.items()}
        raw = ("train-english.i64", "english-pairs.i32", "english-pairs-validation.i32", "work/groups.i32")
        self._raw = {name: (self.folder / name).open("wb") for name in raw}
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()
        for file in (*self._sinks.values(), *self._raw.values()):
            file.close()

    def add(
        self, split: str, table: pa.Table, mask: np.ndarray, groups: Sequence[tuple[str, str]]
    ) -> pa.LargeStringArray:
        """Write the pairs of a mask; return the English sentences that were new, each once."""
        chosen = table.filter(pa.array(mask)).combine_chunks()
        column = chosen["english"]
        encoded = pc.dictionary_encode(
            column.chunk(0) if column.num_chunks else pa.array([], pa.large_string())
        )
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = codes + self.english[split]
        fresh = encoded.dictionary
        self.english[split] += len(fresh)
        self._write(f"english-{split}", pa.table([fresh], schema=_SIDE))
        counts = np.bincount(codes, minlength=len(fresh)).astype("<i4").tobytes()
        if split == "train":
            self._write("text-train", chosen.select(["text"]))
            self._raw["train-english.i64"].write(numbers.astype("<i8").tobytes())
            self._raw["work/groups.i32"].write(chosen["group"].to_numpy().astype("<i4").tobytes())
            self._raw["english-pairs.i32"].write(counts)
        else:
            names = [groups[number] for number in chosen["group"].to_pylist()]
            columns = [[lang for _, lang in names], [source for source, _ in names], chosen["text"], numbers]
            self._write("validation", pa.table(columns, schema=_HELD_OUT))
            self._raw["english-pairs-validation.i32"].write(counts)
        return fresh

    def _write(self, name: str, table: pa.Table) -> None:
        self._writers[name].write_table(table, max_chunksize=_ROWS)


class _Digest:
    """SHA-256 of many strings, whatever the parts in which they come."""

    def __init__(self) -> None:
        self._lengths, self._bytes = hashlib.sha256(), hashlib.sha256()

    def see(self, strings: pa.LargeStringArray) -> None:
        """Take further strings in."""
        if not len(strings):
            return
        offsets = np.frombuffer(strings.buffers()[1], "<i8")[
            strings.offset : strings.offset + len(strings) + 1
        ]
        self._lengths.update(np.diff(offsets).tobytes())
        data = strings.buffers()[2]
        if data is not None:
            self._bytes.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])

    def hexadecimal(self) -> str:
        """The digest of lengths and bytes."""
        return hashlib.sha256(self._lengths.digest() + self._bytes.digest()).hexdigest()


def _write_numbers(path: Path, count: int) -> None:
    """Write 0, 1, … as int64: numbers that can be mapped instead of held."""
    with path.open("wb") as file:
        for start in range(0, count, _ORDER):
            file.write(np.arange(start, min(start + _ORDER, count), dtype="<i8").tobytes())


def _write_order(folder: Path, groups: Path, ranked: np.ndarray, sizes_G: np.ndarray) -> None:
    """Write the training rows group by group, each group's in ascending order: a counting sort, part by part."""
    pairs = int(sizes_G.sum())
    rank_G = np.zeros(len(sizes_G), np.int64)
    rank_G[ranked] = np.arange(len(ranked))
    ends = np.concatenate([[0], np.cumsum(sizes_G[ranked])[:-1]]).astype(np.int64)
    reserve(folder / "train-order.i64", 8 * pairs)
    order = np.memmap(folder / "train-order.i64", "<i8", "r+", shape=(pairs,))
    given = mapped(groups, "<i4")
    for start in range(0, pairs, _ORDER):
        ranks = rank_G[np.asarray(given[start : start + _ORDER])]
        by = np.argsort(ranks, kind="stable")
        present, firsts, counts = np.unique(ranks[by], return_index=True, return_counts=True)
        for rank, first, count in zip(present, firsts, counts, strict=True):
            order[ends[rank] : ends[rank] + count] = by[first : first + count] + start
            ends[rank] += count
    order.flush()
