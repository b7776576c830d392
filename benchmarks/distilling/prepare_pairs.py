"""Makes what the programs read: the student's folder, the chosen pairs with the teacher's vectors, the held-out pairs.

Steps are chosen as in the benchmark of training (`training/prepare.py`): a pool of `pool_steps` steps is drawn, sorted
by tokens, and of every k steps one is taken, so that few steps stand for many.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import main
from pair_task import PairTask, build_data, student_folder, teacher_encoder, without_fit
from prepare import choose

from tocsin.batches.pair_sampling import PairOrder, shares
from tocsin.batches.parallel import ParallelSentences
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.teacher import Teacher
from tocsin.models.teacher_vectors import TeacherVectors


def drawn_rows(data: ParallelSentences, pairs: int, seed: int) -> np.ndarray:
    """Distinct training rows in the order in which temperature sampling draws them, `pairs` of them at most."""
    corpus = data.pairs()
    sizes = np.array([size for _, _, size in corpus.groups])
    pairs = min(pairs, int(sizes.sum()))
    # Small languages are exhausted early, and their pairs come again: those are no new ones.
    draws, rows = pairs, np.zeros(0, np.int64)
    while len(rows) < pairs and draws <= 64 * pairs:
        order = PairOrder(sizes, shares(corpus.groups, "temperature", 0.5, None), draws, seed)
        drawn = np.asarray(corpus.train_order[order.pairs(0, np.arange(draws))])
        first = np.sort(np.unique(drawn, return_index=True)[1])
        rows, draws = drawn[first], 2 * draws
    return rows[:pairs]


def prepare(task: PairTask) -> dict[str, Any]:
    """Write folder and files; tell where they are and what the pairs are like."""
    target = Path(task.cache)
    folder = student_folder(task, target / f"student-{task.pieces or 'full'}")
    data = build_data(task)
    student = TransformerEncoder(str(folder))
    without_fit(data, student.tokenizer)
    corpus = data.pairs()
    rows_of_all: Any = data.train_dataloader_of_all().dataset
    wanted = task.warm_messages + (task.messages if task.equal else task.batch_size * task.pool_steps)
    candidates = drawn_rows(data, max(wanted, task.warm_messages + task.messages), task.seed)
    lengths = rows_of_all.text.lengths_of(candidates)
    rows = candidates[choose(lengths.tolist(), task)]
    english = np.asarray(corpus.train_english[rows])
    # The store keeps float16: both programs learn the same rounded vectors.
    targets = TeacherVectors(data, Teacher(teacher_encoder(task)), show=False)
    targets.prepare(["train", "validation"], task.device)
    texts = [text for batch in corpus.texts("text-train", 8192) for text in batch]
    sentences = data.english()
    english_tokens, text_tokens = rows_of_all.english.lengths_of(english), rows_of_all.text.lengths_of(rows)
    both = np.asarray(english_tokens) + text_tokens
    chosen = target / f"chosen-{task.pieces or 'full'}.npz"
    np.savez(
        chosen,
        rows=rows,
        english=np.array([sentences[int(number)].as_py() for number in english]),
        text=np.array([texts[int(row)] for row in rows]),
        english_tokens=english_tokens,
        text_tokens=text_tokens,
        vectors=targets.of(torch.from_numpy(english.astype(np.int64))).numpy(),
    )
    held = corpus.validation_pairs()
    numbers = held["english"].to_pylist()
    columns = {
        "lang": held["lang"],
        "text": held["text"],
        "english": pa.array([sentences[number].as_py() for number in numbers]),
    }
    pq.write_table(pa.table(columns), target / "held-out.parquet")
    kind = (
        Path(task.table).name
        if task.table
        else "gettext catalogs of "
        + ", ".join(
            sorted(data.sources["pairs"].packages)  # type: ignore[attr-defined]
        )
    )
    return {
        "folder": str(folder),
        "chosen": str(chosen),
        "source": f"{kind}: {len(corpus.train_english):,} pairs, {corpus.english_train:,} distinct English sentences, "
        f"{len({lang for _, lang, _ in corpus.groups})} languages; {len(numbers):,} pairs held out",
        "vocabulary": len(student.tokenizer),
        "tokens": int(both[task.warm_messages :].sum()),
        "corpus_mean": float(np.mean(lengths)),
    }


if __name__ == "__main__":
    main(prepare, PairTask)
