"""A small DataModule over pairs in memory, and tiny students and teachers, for the tests of distillation."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from tests.builders import WORDS, tiny_encoder
from tocsin.batches.cache import content_key
from tocsin.batches.passes import cut_passes
from tocsin.batches.rows import StepLoader
from tocsin.batches.sentences import PairStep, SentencePass

LANGS = ("spa", "hat")


def pair_rows(count: int = 60, seed: int = 0) -> list[dict[str, str]]:
    """Pairs whose translation says the English backwards with a word of its language; some share their English side."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        words = [generator.choice(WORDS) for _ in range(generator.choice([2, 3, 6, 12]))]
        english = " ".join(words) if number % 7 else "help the people now"
        split = "validation" if number % 4 == 3 else "train"
        lang = LANGS[number % 3 % 2]
        rows.append(
            {
                "split": split,
                "lang": lang,
                "english": english,
                "text": " ".join(
                    [*reversed(english.split()), "casa" if lang == "spa" else "dlo", WORDS[number]]
                ),
            }
        )
    return rows


class MemoryPairs(LightningDataModule):
    """Fulfils ServesPairs; a step's English sentences stand in it once, with their number as weight.

    Args:
        rows: As `pair_rows` gives them.
        batch_size: Pairs of a step, over all ranks.
        tokens_per_pass: Bound of a pass.
        order: Of the sentences of a step before they are cut: a seed, or None for their own.
        extra_padding: Columns of padding put behind each pass.
        max_length: Tokens of a sentence at most.
    """

    def __init__(
        self,
        rows: list[dict[str, str]] | None = None,
        batch_size: int = 8,
        tokens_per_pass: int = 100,
        order: int | None = None,
        extra_padding: int = 0,
        max_length: int = 32,
    ) -> None:
        super().__init__()
        rows = pair_rows() if rows is None else rows
        self.batch_size, self.tokens_per_pass, self.max_length = batch_size, tokens_per_pass, max_length
        self.order, self.extra_padding = order, extra_padding
        self._english = sorted({row["english"] for row in rows})
        number = {text: place for place, text in enumerate(self._english)}
        self.splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
        for row in rows:
            self.splits[row["split"]].append({**row, "number": number[row["english"]], "source": "memory"})
        self._done = 0

    # What a distiller asks

    def english(self) -> pa.ChunkedArray:
        half = len(self._english) // 2  # two chunks, the second of which may be large
        return pa.chunked_array([self._english[:half], self._english[half:]], type=pa.string())

    def english_key(self) -> str:
        return content_key(english=self._english)

    def english_rows(self, split: str) -> np.ndarray:
        return np.unique(np.array([row["number"] for row in self.splits[split]], dtype=np.int64))

    def pieces_in_use(self) -> np.ndarray:
        texts = [row[side] for row in self.splits["train"] for side in ("english", "text")]
        return np.unique(np.concatenate([self._ids(text) for text in texts]))

    def validation_pairs(self) -> pa.Table:
        rows = self.splits["validation"]
        columns = {name: [row[name] for row in rows] for name in ("lang", "source", "text")}
        return pa.table({**columns, "english": pa.array([row["number"] for row in rows], type=pa.int64())})

    def sentence_passes(self, split: str, side: str) -> Iterator[SentencePass]:
        if side == "text":
            wanted = [(row["text"], row["number"], place) for place, row in enumerate(self.splits[split])]
        else:
            wanted = [(self._english[number], int(number), -1) for number in self.english_rows(split)]
        yield from self._passes([(*each, 1.0) for each in wanted], self.tokens_per_pass)

    # Loaders

    def _model(self) -> Any:
        return self.trainer.lightning_module

    def _ids(self, text: str) -> np.ndarray:
        ids = self._model().tokenizer(
            self._model().prompt + text, truncation=True, max_length=self.max_length
        )
        return np.array(ids["input_ids"], dtype=np.int64)

    def _passes(self, wanted: list[tuple[str, int, int, float]], budget: int) -> list[SentencePass]:
        tokens = [self._ids(text) for text, *_ in wanted]
        passes = []
        for chosen in cut_passes(np.array([len(ids) for ids in tokens]), budget):
            if self.order is not None:
                chosen = np.random.default_rng(self.order).permutation(chosen)
            width = max(len(tokens[i]) for i in chosen) + self.extra_padding
            ids_BT = torch.full((len(chosen), width), 1)
            mask_BT = torch.zeros((len(chosen), width), dtype=torch.int64)
            for place, i in enumerate(chosen):
                ids_BT[place, : len(tokens[i])] = torch.from_numpy(tokens[i])
                mask_BT[place, : len(tokens[i])] = 1
            _, numbers, rows, weights = zip(*(wanted[i] for i in chosen), strict=True)
            passes.append(
                SentencePass(
                    ids_BT, mask_BT, torch.tensor(numbers), torch.tensor(weights), torch.tensor(rows)
                )
            )
        return passes

    def step(self, rows: list[int]) -> PairStep:
        """This rank's share of the step of these training rows."""
        return self._share(rows, self.trainer.global_rank, self.trainer.world_size)

    def _share(self, rows: list[int], rank: int, world_size: int) -> PairStep:
        train = self.splits["train"]
        wanted = [(train[row]["text"], train[row]["number"], row, 1.0) for row in rows]
        numbers, counts = np.unique([train[row]["number"] for row in rows], return_counts=True)
        wanted += [
            (self._english[number], int(number), -1, float(count))
            for number, count in zip(numbers, counts, strict=True)
        ]
        mine = wanted[rank::world_size]
        return PairStep(self._passes(mine or [(*wanted[0][:2], -1, 0.0)], self.tokens_per_pass), len(rows))

    def _step_rows(self, epoch: int, number: int) -> list[int]:
        order: list[int] = np.random.default_rng(epoch).permutation(len(self.splits["train"])).tolist()
        return order[number * self.batch_size : (number + 1) * self.batch_size]

    def _steps(self) -> int:
        return -(-len(self.splits["train"]) // self.batch_size)

    def first_passes(self) -> Iterator[SentencePass]:
        for number in range(self._steps()):
            yield from self._share(self._step_rows(0, number), 0, 1).passes

    def train_dataloader(self) -> Any:
        data = self

        class Steps:
            def __len__(self) -> int:
                return data._steps()

            def __iter__(self) -> Iterator[list[int]]:
                epoch, start = divmod(data._done, len(self))
                for number in range(start, len(self)):
                    data._done += 1
                    yield data._step_rows(epoch, number)

        every = list(range(len(data.splits["train"])))
        return StepLoader(every, batch_sampler=Steps(), collate_fn=self.step)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        if not self.splits["validation"]:
            return []
        passes = [*self.sentence_passes("validation", "text"), *self.sentence_passes("validation", "english")]
        return DataLoader(passes[self.trainer.global_rank :: self.trainer.world_size], batch_size=None)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.trainer.fit_loop.epoch_loop.batch_progress.total.processed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._done = int(state_dict["done"])


def tiny_teacher(folder: Path, seed: int = 9, **options: Any) -> Any:
    """A TransformerEncoder of other weights than the student's."""
    from tocsin.models.encoders import TransformerEncoder

    if not (folder / "config.json").exists():
        tiny_encoder(folder, seed=seed)
    return TransformerEncoder(str(folder), **options)


def tiny_distiller(
    folder: Path, *, dropout: float = 0.0, encoder: dict[str, Any] | None = None, **options: Any
) -> Any:
    """A Distiller of `tiny_encoder(folder / "student")` under that of `folder / "teacher"`."""
    from tests.builders import silence_dropout
    from tocsin.models.distiller import Distiller
    from tocsin.models.encoders import TransformerEncoder
    from tocsin.models.optimizers import AdamW

    if not (folder / "student" / "config.json").exists():
        tiny_encoder(folder / "student")
    settings: dict[str, Any] = {
        "encoder": TransformerEncoder(str(folder / "student"), **(encoder or {})),
        "teacher": options.pop("teacher", None) or tiny_teacher(folder / "teacher"),
        "optimizer": AdamW(lr=1e-2),
        **options,
    }
    model = Distiller(**settings)
    if dropout == 0.0:
        model.encoder.load()
        silence_dropout(model)
    return model
