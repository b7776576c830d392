"""Matching accuracy of students on held-out pairs, all loaded by sentence-transformers, with paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from common import main
from pair_task import PairTask
from peer_distil import build_student
from sentence_transformers import SentenceTransformer

from tocsin.vectors.matching import Matching, match
from tocsin.vectors.reports import MACRO, matching_differences, matching_report


def distinct_pairs(task: PairTask) -> dict[str, tuple[list[str], list[str]]]:
    """English sentences and translations of each language; of pairs that share an English sentence, the first."""
    found: dict[str, dict[str, str]] = {}
    for row in pq.read_table(Path(task.cache) / "held-out.parquet").to_pylist():
        found.setdefault(row["lang"], {}).setdefault(row["english"], row["text"])
    return {lang: (list(pairs), list(pairs.values())) for lang, pairs in sorted(found.items())}


def matchings(
    model: SentenceTransformer, pairs: dict[str, tuple[list[str], list[str]]]
) -> dict[str, Matching]:
    """What the pairs of each language find by a model's vectors."""
    texts = sorted({text for sides in pairs.values() for side in sides for text in side})
    vectors = model.encode(texts, batch_size=32, convert_to_numpy=True, show_progress_bar=False)
    at = {text: number for number, text in enumerate(texts)}
    sides = {
        lang: [np.asarray(vectors[[at[text] for text in side]], np.float32) for side in both]
        for lang, both in pairs.items()
    }
    return {lang: match(english, text) for lang, (english, text) in sides.items()}


def measure(task: PairTask) -> dict[str, Any]:
    """Accuracy of each student, and of each minus sentence-transformers'."""
    pairs = distinct_pairs(task)
    found = {}
    for name, folder in (task.students or {}).items():
        model = SentenceTransformer(folder, device=task.device) if folder else build_student(task)
        found[name] = matchings(model, pairs)
    reports = {name: matching_report(each) for name, each in found.items()}
    peer = found[next(name for name in found if name.startswith("sentence-transformers"))]
    return {
        "languages": len(pairs),
        "pairs": sum(len(english) for english, _ in pairs.values()),
        "accuracy": {
            name: {
                "forward": report.macro_forward.to_dict(),
                "backward": report.macro_backward.to_dict(),
                "mean": report.macro.to_dict(),
            }
            for name, report in reports.items()
        },
        "minus_peer": {
            name: matching_differences(each, peer)[MACRO].to_dict() for name, each in found.items()
        },
    }


if __name__ == "__main__":
    main(measure, PairTask)
