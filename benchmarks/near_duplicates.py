"""Near-duplicate groups: precision and recall against exact Jaccard similarity, then time and memory as N grows.

    TOCSIN_DATA=shared/data python benchmarks/near_duplicates.py

Prints Markdown. See README.md in this folder for what is measured and for figures.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tocsin.text.near_duplicates import (
    THRESHOLD,
    bands_for,
    comparable,
    near_duplicate_groups,
    shingles,
)
from tocsin.text.readers import resolve_data_path

QUALITY = (
    "crisis_tweets_t26.parquet",
    "emotions_brighter_multilabel.parquet",
    "emotions_xed_multilabel.parquet",
)
POOL = {
    "crisis_tweets_t26.parquet": ("text",),
    "crisis_messages_multilabel.parquet": ("text", "original"),
    "emotions_brighter_multilabel.parquet": ("text",),
    "emotions_xed_multilabel.parquet": ("text",),
    "parallel_opensubtitles.parquet": ("text",),
    "parallel_tico19.parquet": ("text",),
    "parallel_gettext.parquet": ("text",),
    "parallel_bible_nt.parquet": ("text",),
    "sts_multilingual.parquet": ("sentence1", "sentence2"),
    "tatoeba_bitext.parquet": ("text", "english"),
}
FRESH = 0.7
"""Share of real texts in the growing corpus; the others are altered copies of texts already in it."""
YARDSTICK = 20_000
"""Texts that are grouped before and after each measurement: how fast the machine is at that moment."""


def main() -> None:
    """Measure, each size in a process of its own, and print tables."""
    parser = argparse.ArgumentParser(description="Measure near-duplicate groups.")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, metavar="J", help="Jaccard similarity (0.7)"
    )
    parser.add_argument(
        "--messages", type=int, default=20_000, help="messages for precision and recall (20,000)"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[125_000, 250_000, 500_000, 1_000_000], metavar="N"
    )
    parser.add_argument("--measure", type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measured(options.measure, options.threshold))
        return
    bands, rows = bands_for(options.threshold)
    print(f"Threshold {options.threshold:g}: {bands} bands of {rows} rows, {bands * rows} permutations.\n")
    print(
        "| messages of | distinct texts | pairs at J or above | in one group | recall | pairs in one group | "
        "also joined exactly (precision) | at J or above themselves | seconds |"
    )
    print("|---|" + "---:|" * 8)
    for name in QUALITY:
        print(quality(name, options.messages, options.threshold), flush=True)
    print(
        "\n| N | distinct texts | groups | seconds | processor seconds | processor µs a text "
        f"| over a text of {YARDSTICK:,} | peak memory | before grouping |"
    )
    print("|---:|" + "---:|" * 8)
    for size in options.sizes:
        command = [sys.executable, __file__, "--measure", str(size), "--threshold", str(options.threshold)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def quality(name: str, messages: int, threshold: float) -> str:
    """Return a row: groups of a file's messages against all pairs compared exactly.

    Equal comparable texts count once: finding them is no feat.
    """
    texts = list(dict.fromkeys(map(comparable, drawn(name, messages))))
    start = time.perf_counter()
    groups = near_duplicate_groups(texts, threshold)
    seconds = time.perf_counter() - start
    pairs = exact_pairs(texts, threshold)
    found = int((groups[pairs[:, 0]] == groups[pairs[:, 1]]).sum())
    exact = components(len(texts), pairs)
    grouped = direct = joined = 0
    alike = {(int(one), int(other)) for one, other in pairs}
    order = np.argsort(groups, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        for at, one in enumerate(members):
            for other in members[at + 1 :]:
                grouped += 1
                direct += (int(one), int(other)) in alike
                joined += int(exact[one] == exact[other])
    return (
        f"| {name} ({messages:,}) | {len(texts):,} | {len(pairs):,} | {found:,} | {found / len(pairs):.4f} | "
        f"{grouped:,} | {joined / grouped:.4f} | {direct / grouped:.4f} | {seconds:.1f} |"
    )


def exact_pairs(texts: list[str], threshold: float) -> np.ndarray:
    """Return all pairs of texts at or above a similarity, (pairs, 2), by a sparse product of all with all."""
    from scipy.sparse import csr_matrix

    column_of: dict[bytes, int] = {}
    columns: list[int] = []
    ends = [0]
    for text in texts:
        columns += [column_of.setdefault(one, len(column_of)) for one in shingles(text)]
        ends.append(len(columns))
    held = csr_matrix((np.ones(len(columns), np.int32), columns, ends), (len(texts), len(column_of)))
    sizes = np.diff(ends)
    turned = held.T.tocsc().tocsr()
    pairs = []
    for start in range(0, len(texts), 500):
        common = (held[start : start + 500] @ turned).tocoo()
        one, other = common.row + start, common.col
        alike = (one < other) & (common.data >= threshold * (sizes[one] + sizes[other] - common.data))
        pairs.append(np.stack([one[alike], other[alike]], axis=1))
    return np.concatenate(pairs)


def components(size: int, pairs: np.ndarray) -> np.ndarray:
    """Return the connected component of each text."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (size, size))
    return np.asarray(connected_components(edges, directed=False)[1])


def drawn(name: str, messages: int) -> list[str]:
    """Return some messages of a file, drawn by a hash of their text and row."""
    texts = pq.read_table(resolve_data_path(name), columns=["text"])["text"].to_pylist()
    keys = [
        hashlib.blake2b(f"{row} {text}".encode(), digest_size=8).digest() for row, text in enumerate(texts)
    ]
    return [texts[row] for row in sorted(range(len(texts)), key=keys.__getitem__)[:messages]]


def corpus(size: int) -> pa.ChunkedArray:
    """Return so many texts: real ones from all files, and for every seven of them three altered copies."""
    texts: list[str] = []
    for name, columns in POOL.items():
        table = pq.read_table(resolve_data_path(name), columns=list(columns))
        texts += [text for column in columns for text in table[column].to_pylist() if text]
    texts = list(dict.fromkeys(texts))
    generator = random.Random(0)
    generator.shuffle(texts)
    fresh = min(int(size * FRESH), len(texts))
    del texts[fresh:]
    real = pa.array(texts, pa.large_string())
    altered = pa.array(copies(texts, size - fresh, generator), pa.large_string())
    return pa.chunked_array([real, altered])


def copies(texts: list[str], number: int, generator: random.Random) -> Iterator[str]:
    """Yield retweets, half of them, and texts with a word left out, a word doubled or a letter mistyped.

    A few texts are copied thousands of times and most never, as messages spread: the text at rank r of n is drawn with
    a probability that falls with r^(-2/3).
    """
    for _ in range(number):
        words = texts[int(len(texts) * generator.random() ** 3)].split()
        at = generator.randrange(len(words)) if words else 0
        kind = generator.randrange(6)
        if kind == 0 and len(words) > 1:
            del words[at]
        elif kind == 1 and words:
            words.insert(at, words[at])
        elif kind == 2 and words:
            letter = generator.randrange(len(words[at]))
            words[at] = words[at][:letter] + generator.choice("aeinst") + words[at][letter + 1 :]
        else:
            name, link = f"@user{generator.randrange(10**6)}:", f"http://t.co/{generator.randrange(10**9)}"
            words = ["RT", name, *words, link]
            if kind == 4:  # cut off, as long retweets are
                words = [*words[: max(3, len(words) - 3)], "…"]
            elif kind == 5:  # with a word of one's own
                words = [generator.choice(("wow", "sad", "please", "help", "omg")), *words]
        yield " ".join(words)


def measured(size: int, threshold: float) -> str:
    """Return a row: time and the greatest resident set of this process."""
    texts = corpus(size)
    few = texts.slice(0, YARDSTICK)
    yardstick = processor_seconds(few, threshold)[0]
    before = peak_bytes(reset=True)
    start = time.perf_counter()
    processor, groups = processor_seconds(texts, threshold)
    seconds = time.perf_counter() - start
    peak = peak_bytes()
    yardstick += processor_seconds(few, threshold)[0]
    ratio = (processor / size) / (yardstick / 2 / len(few))
    distinct = len(set(map(comparable, texts.to_pylist())))
    return (
        f"| {size:,} | {distinct:,} | {groups.max() + 1:,} | {seconds:.0f} | {processor:.0f} | "
        f"{processor / size * 1e6:.0f} | {ratio:.2f} | {peak / 2**30:.2f} GB | {before / 2**30:.2f} GB |"
    )


def processor_seconds(texts: pa.ChunkedArray, threshold: float) -> tuple[float, np.ndarray]:
    """Return the processor's seconds for grouping some texts, and the groups."""
    start = time.process_time()
    groups = near_duplicate_groups(texts, threshold)
    return time.process_time() - start, groups


def peak_bytes(reset: bool = False) -> int:
    """Return the resident set's peak (Linux); `reset` starts it anew at what is resident now, and returns that."""
    if reset:
        pa.default_memory_pool().release_unused()
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
