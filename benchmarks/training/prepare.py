"""Makes what both programs read: an encoder folder and a table of messages, chosen to stand for the whole corpus.

A few grouped steps are no fair sample: one may hold the shortest messages, another the longest. So a whole pool of
`pool_steps` optimiser steps is drawn, sorted by tokens and cut into steps, as both programs would do in a full fit, and
of every k of these steps one is taken: those that together have the pool's mean length and, shuffled, its padding. Each
program works on every message taken exactly once, and whoever groups by length meets steps as narrow as in a full fit.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from common import Task, main

NAMES = ("crisis-messages.parquet", "crisis_messages_multilabel.parquet")
NOT_LABELS = {"id", "split", "genre", "lang", "text", "original", "original_lang_guess"}
SENTENCES = (
    "the water rose again last night and we need help on the road near the old bridge where forty families wait "
    "without food medicine or dry blankets because no truck could pass since the storm took the market roof and the "
    "school is full please send a doctor tents clean water and someone who knows the river inondation secours agua "
    "potable terremoto urgente refugio lopital manje dlo kay kraze evacuation shelter earthquake damaged houses rescue"
)


def read_corpus(given: str | None) -> tuple[list[str], dict[str, list[int]], str]:
    """Texts of the training split, 0/1 labels by name, and a sentence that says what they are."""
    from tocsin.errors import DataError
    from tocsin.text.readers import resolve_data_path

    for name in [given] if given else NAMES:
        try:
            path = resolve_data_path(name)
        except DataError:
            if given:
                raise
            continue
        table = pq.read_table(path)
        if "split" in table.column_names:
            table = table.filter(pa.compute.equal(table["split"], "train"))
        labels = {}
        for column in table.column_names:
            if column not in NOT_LABELS and pa.types.is_integer(table[column].type):
                # The peer's loss knows no unknown labels: for a measurement of speed, unknown counts as 0.
                labels[column] = [int(value == 1) for value in table[column].to_pylist()]
        texts = table["text"].to_pylist()
        return texts, labels, f"{path.name} (training split, {len(texts):,} messages, {len(labels)} labels)"
    return *synthetic(
        6000
    ), "synthetic texts of our own: no crisis messages found (tocsin fetch crisis-messages)"


def synthetic(count: int, labels: int = 36) -> tuple[list[str], dict[str, list[int]]]:
    """Texts whose numbers of words are log-normal as those of the crisis messages are (median 22, sigma .6)."""
    generator, words = random.Random(0), SENTENCES.split()
    lengths = [min(110, max(2, round(generator.lognormvariate(3.1, 0.6)))) for _ in range(count)]
    texts = [" ".join(generator.choices(words, k=length)) for length in lengths]
    columns = {f"label_{n}": [int(generator.random() < 0.1) for _ in texts] for n in range(labels)}
    return texts, columns


def encoder_folder(task: Task, target: Path) -> Path:
    """The folder that both programs load: the encoder as it is, or cut to `pieces` and saved."""
    from tocsin.models.encoders import TransformerEncoder

    if task.pieces is None:
        if task.folder:
            return Path(task.folder)
        from tocsin_wheels.encoders import e5_folder

        return e5_folder()
    if task.folder:
        encoder: Any = TransformerEncoder(task.folder, keep_pieces=task.pieces)
    else:
        from tocsin_wheels.encoders import E5SmallMultilingual

        encoder = E5SmallMultilingual(prompt="", keep_pieces=task.pieces)
    encoder.load()
    encoder.model.save_pretrained(target)
    encoder.tokenizer.save_pretrained(target)
    return target


def choose(lengths: list[int], task: Task) -> list[int]:
    """Rows in the table's order: warm-up, then the measured ones; see the top of this file."""
    rows = list(range(len(lengths)))
    random.Random(task.seed).shuffle(rows)
    if len(rows) < task.warm_messages + task.messages:
        raise SystemExit(
            f"{len(rows)} messages are too few for {task.warmup} + {task.steps} steps of {task.batch_size}; "
            "give fewer --steps."
        )
    warm, rest = rows[: task.warm_messages], rows[task.warm_messages :]
    blocks = min(task.pool_steps, len(rest) // task.batch_size)
    if task.steps >= blocks:
        return warm + rest[: task.messages]
    pool = sorted(rest[: blocks * task.batch_size], key=lambda row: lengths[row])
    size = task.batch_size
    wanted = mean_and_widest([lengths[row] for row in pool], size)

    def rows_of(taken: list[int]) -> list[int]:
        return [row for block in taken for row in pool[block * size : (block + 1) * size]]

    def error(taken: list[int]) -> float:
        given = mean_and_widest([lengths[row] for row in rows_of(taken)], size)
        return sum(abs(mine / theirs - 1) for mine, theirs in zip(given, wanted, strict=True))

    generator = random.Random(task.seed)
    edges = [number * blocks // task.steps for number in range(task.steps + 1)]
    drawn = [[generator.randrange(a, b) for a, b in pairwise(edges)] for _ in range(2000)]
    return warm + rows_of(min(drawn, key=error))


def mean_and_widest(rising: list[int], size: int) -> tuple[float, float]:
    """Mean of rising lengths, and the expected largest of `size` drawn at random: what plain shuffling pads to."""
    count = len(rising)
    widest = sum(
        length * (((at + 1) / count) ** size - (at / count) ** size) for at, length in enumerate(rising)
    )
    return sum(rising) / count, widest


def prepare(task: Task) -> dict[str, Any]:
    """Write the encoder folder and the table; tell where they are and what the messages are like."""
    from transformers import AutoTokenizer

    texts, labels, source = read_corpus(task.table or None)
    target = Path(task.cache)
    folder = encoder_folder(task, target / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(texts, truncation=True, max_length=task.max_length)["input_ids"]
    lengths = [len(ids) for ids in encoded]
    filled = [row for row, text in enumerate(texts) if text.strip()]
    chosen = [filled[at] for at in choose([lengths[row] for row in filled], task)]
    taken = set(chosen)
    order = chosen + [row for row in filled if row not in taken]
    columns = {"text": pa.array([texts[row] for row in order]), "split": pa.array(["train"] * len(order))}
    for name, values in labels.items():
        columns[name] = pa.array([values[row] for row in order], pa.int8())
    table = target / "messages.parquet"
    pq.write_table(pa.table(columns), table)
    measured = [lengths[row] for row in chosen[task.warm_messages :]]
    return {
        "folder": str(folder),
        "table": str(table),
        "labels": list(labels),
        "source": source,
        "lengths": measured,
        "corpus_mean": sum(lengths) / len(lengths),
        "vocabulary": len(tokenizer),
    }


if __name__ == "__main__":
    main(prepare)
