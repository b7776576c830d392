"""Memory of ParallelSentences as the number of pairs grows: reading, filtering, tokenising, and a thousand steps.

    python benchmarks/pairs_memory.py --sizes 1000000 10000000

Pairs are generated: English sentences of 4 to 20 made-up words, each with a "translation" in about four of 12
languages, 5% of the pairs repeated. The tokenizer knows the words. Prints Markdown.

Anonymous memory is what the process itself holds. Pages of mapped files count as resident too, but belong to the
system's cache, which takes them back when it needs room; both are shown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from tocsin.batches.parallel import ParallelSentences
from tocsin.text.pairs import PAIR_COLUMNS, PairReader
from tocsin.text.reading import OnBadRow

WORDS = 4000
LANGUAGES = 12
BATCH = 16_384
STEPS = 1000


class GeneratedPairs(PairReader):
    """Pairs made of numbers.

    Args:
        pairs: How many.
    """

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs

    def files(self) -> list[Path]:
        """This file: it says all that the pairs depend on."""
        return [Path(__file__)]

    def approximate_pairs(self) -> int:
        """Return how many pairs there are."""
        return self.pairs

    def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of 16,384 pairs."""
        words = np.array([f"w{number}" for number in range(WORDS)])
        for start in range(0, self.pairs, BATCH):
            generator = np.random.default_rng(start)
            count = min(BATCH, self.pairs - start)
            sentences = [
                " ".join(words[generator.integers(0, WORDS, generator.integers(4, 21))])
                for _ in range(count // 4 + 1)
            ]
            english = generator.integers(0, len(sentences), count)
            language = generator.integers(0, LANGUAGES, count)
            # A twentieth repeats an earlier pair of the batch.
            repeats = np.flatnonzero(generator.random(count) < 0.05)
            repeats = repeats[repeats > 0]
            of = generator.integers(0, repeats)
            english[repeats], language[repeats] = english[of], language[of]
            chosen = [sentences[number] for number in english]
            texts = [f"l{code} {sentence}" for code, sentence in zip(language, chosen, strict=True)]
            columns = [chosen, texts, [f"x{code:02d}" for code in language], ["generated"] * count]
            yield pa.RecordBatch.from_arrays(
                [pa.array(column) for column in columns], names=list(PAIR_COLUMNS)
            )


def tokenizer() -> Any:
    """Return a fast tokenizer with a word a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *(f"w{n}" for n in range(WORDS)), *(f"l{n}" for n in range(LANGUAGES))]
    backend = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")


class Watch:
    """Notes the greatest memory of this process in the meantime."""

    def __init__(self) -> None:
        self.anonymous = self.resident = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self.start = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self.start

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            sizes = {
                line.split(":")[0]: int(line.split()[1])
                for line in lines
                if line.startswith(("RssAnon", "VmRSS"))
            }
            self.anonymous = max(self.anonymous, sizes["RssAnon"])
            self.resident = max(self.resident, sizes["VmRSS"])

    def told(self) -> str:
        """Return seconds and both peaks as cells of a table."""
        return f"{self.seconds:.0f} | {self.anonymous / 1024:,.0f} MB | {self.resident / 1024:,.0f} MB"


def measured(size: int) -> str:
    """Return a row: seconds and peaks of each part of the work."""
    with tempfile.TemporaryDirectory() as folder:
        model = tokenizer()
        module = SimpleNamespace(tokenizer=model, prompt="")
        trainer: Any = SimpleNamespace(
            lightning_module=module, global_rank=0, world_size=1, is_global_zero=False
        )
        data = ParallelSentences(
            {"generated": GeneratedPairs(size)},
            cap=size // LANGUAGES // 2,
            sampling="temperature",
            batch_size=64,
            tokens_per_pass=1024,
            seed=0,
            cache=folder,
        )
        data.trainer = trainer
        with Watch() as idle:
            time.sleep(0.2)
        with Watch() as reading:
            data.pairs()
        with Watch() as tokenising:
            data.setup("validate")
        with Watch() as training:
            seen = 0
            for number, step in enumerate(data.train_dataloader()):
                seen += step.pairs
                if number + 1 == STEPS:
                    break
        assert seen == STEPS * 64
        kept = data.counts().get("train")
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return (
        f"| {size:,} | {kept:,} | {idle.anonymous / 1024:,.0f} MB | {reading.told()} | {tokenising.told()} | "
        f"{training.told()} | {disk / 2**30:.2f} GB |"
    )


def main() -> None:
    """Measure each size in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description="Measure the memory of ParallelSentences.")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[1_000_000, 10_000_000], metavar="N", help="pairs"
    )
    parser.add_argument("--measure", type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measured(options.measure))
        return
    parts = ("reading", "tokenising", f"{STEPS:,} steps")
    cells = " | ".join(f"{part}: s | anonymous | resident" for part in parts)
    print(f"| pairs | trained on | before | {cells} | on disk |")
    print("|---:|" + "---:|" * 12)
    for size in options.sizes:
        command = [sys.executable, __file__, "--measure", str(size)]
        print(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip(), flush=True
        )


if __name__ == "__main__":
    main()
