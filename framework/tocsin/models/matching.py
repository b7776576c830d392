"""What a student's vectors of held-out pairs are worth, by language. Axes: N pairs, U English sentences, D width."""

import sys
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tocsin.batches.sentences import SentencePass
from tocsin.errors import TrainingError
from tocsin.vectors.matching import match

__all__ = ["Figures", "SideCollector", "figures"]


@dataclass(frozen=True)
class Figures:
    """What one validation found.

    Args:
        step: Optimiser steps before it.
        matching: Accuracy by language, 0 to 1: the mean of both directions.
        mse: By language, the mean over pairs of ‖S(t) - T(s)‖², summed over the width.
        sentences: By language, the distinct English sentences among which matching looks.
    """

    step: int
    matching: dict[str, float] = field(default_factory=dict)
    mse: dict[str, float] = field(default_factory=dict)
    sentences: dict[str, int] = field(default_factory=dict)

    def scalars(self) -> dict[str, float]:
        """All to be logged: each language's, and the means over languages."""
        found: dict[str, float] = {}
        for name, values in (("matching", self.matching), ("mse", self.mse)):
            found |= {f"validation/{name}/{lang}": value for lang, value in values.items()}
            found[f"validation/{name}"] = float(np.mean(list(values.values())))
        return found

    def plain(self) -> dict[str, Any]:
        """As plain data, for a checkpoint."""
        return asdict(self)


class SideCollector:
    """Collects the student's vectors of both sides over the passes of one validation, on one rank."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[np.ndarray]] = {"text": [], "english": []}
        self._vectors: dict[str, list[np.ndarray]] = {"text": [], "english": []}

    def add(self, part: SentencePass, vectors_BD: Tensor) -> None:
        """Take one pass: translations have a row number, English sentences have none, fillers weigh nothing."""
        vectors = vectors_BD.detach().float().cpu().numpy()
        real, rows = part.weight_B.cpu().numpy() > 0, part.rows_B.cpu().numpy()
        for side, chosen, numbers in (
            ("text", real & (rows >= 0), rows),
            ("english", real & (rows < 0), part.english_B.cpu().numpy()),
        ):
            self._numbers[side].append(numbers[chosen])
            self._vectors[side].append(vectors[chosen])

    def gather(self, side: str, world_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers `(N,)`, ascending and each once, and vectors `(N, D)` of a side over all ranks."""
        own = self._numbers[side], self._vectors[side]
        parts: list[Any] = [own]
        if world_size > 1:
            parts = [None] * world_size
            torch.distributed.all_gather_object(parts, own)
        numbers = np.concatenate([n for part in parts for n in part[0]] or [np.zeros(0, dtype=np.int64)])
        if not len(numbers):
            return numbers, np.zeros((0, 0), dtype=np.float32)
        vectors = np.concatenate([v for part in parts for v in part[1]])
        kept, first = np.unique(numbers, return_index=True)
        return kept, vectors[first]


def figures(
    step: int,
    langs: np.ndarray,
    english: np.ndarray,
    text: tuple[np.ndarray, np.ndarray],
    sentences: tuple[np.ndarray, np.ndarray],
    teacher_ND: np.ndarray,
    *,
    whole: bool,
) -> Figures:
    """Matching accuracy and mean squared error of each language.

    Pairs of a language that share their English sentence count once in matching (the first of them): nobody could tell
    them apart.

    Args:
        step: Optimiser steps before.
        langs: Language of each held-out pair, `(N,)`.
        english: Number of its English sentence, `(N,)`.
        text: Row numbers and student's vectors of the translations.
        sentences: English numbers and student's vectors of the English sentences.
        teacher_ND: The teacher's vectors of the rows in `text`.
        whole: Whether every pair was to be seen.

    Raises:
        TrainingError: A pair that was to be seen was not.
    """
    rows, text_ND = text
    numbers, english_UD = sentences
    at = np.searchsorted(numbers, english[rows]).clip(max=max(0, len(numbers) - 1))
    seen = numbers[at] == english[rows] if len(numbers) else np.zeros(len(rows), dtype=bool)
    if whole and not (np.array_equal(rows, np.arange(len(langs))) and seen.all()):
        raise TrainingError(
            f"The validation split has {len(langs)} pairs; {len(rows)} translations were seen, {int(seen.sum())} of "
            "them with their English sentence. Is another distributed sampler in use?"
        )
    error_N = np.square(text_ND - teacher_ND).sum(1) if len(rows) else np.zeros(0)
    matching, mse, counts = {}, {}, {}
    for lang in sorted(set(langs[rows].tolist())):
        mine = np.flatnonzero((langs[rows] == lang) & seen)
        if not len(mine):
            continue
        # One object however many validations name it: a pickle of the history then holds it once.
        name = sys.intern(str(lang))
        mse[name] = float(error_N[mine].mean())
        once = mine[np.sort(np.unique(english[rows[mine]], return_index=True)[1])]
        matching[name] = match(text_ND[once], english_UD[at[once]]).mean
        counts[name] = len(once)
    return Figures(step, matching, mse, counts)
