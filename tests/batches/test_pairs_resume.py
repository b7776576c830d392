"""ParallelSentences under a Trainer: whole epochs, validation, and a fit resumed inside an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import LightningModule

from tests.batches.test_resume import Watch
from tests.builders import messages, quiet_trainer, tiny_tokenizer
from tocsin.batches.parallel import ParallelSentences
from tocsin.text.pair_table import PairTable


class Student(LightningModule):
    """Lends its tokenizer; notes what it validates."""

    prompt = ""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated: list[int] = []

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        return self.weight.sum() * sum(part.weight_B.sum() for part in batch.passes) / batch.pairs

    def validation_step(self, batch: Any, number: int) -> None:
        self.validated += [int(row) for row in batch.rows_B if row >= 0]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    rows = [{"english": row["text"], "text": f"x {row['text']}", "lang": row["lang"]} for row in messages(90)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")
    tiny_tokenizer(folder / "tokenizer")
    return folder


def fit(
    folder: Path, watch: Watch, checkpoint: Path | None = None, kind: type[Student] = Student, **options: Any
) -> tuple[Any, Student]:
    from transformers import AutoTokenizer

    data = ParallelSentences(
        {"a": PairTable(str(folder / "pairs.parquet"))},
        **{"batch_size": 16, "held_out": 2, "seed": 5, "cache": str(folder / "cache"), **options},
    )
    student = kind(AutoTokenizer.from_pretrained(folder / "tokenizer"))
    trainer = quiet_trainer(folder, max_epochs=2, callbacks=[watch])
    trainer.fit(student, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return data, student


@pytest.mark.parametrize(("done", "options"), [(2, {}), (8, {"pool_steps": 2, "sampling": "equal"})], ids=str)
def test_a_resumed_fit_sees_what_was_left(
    folder: Path, tmp_path: Path, done: int, options: dict[str, Any]
) -> None:
    whole, resumed = Watch(done, tmp_path / "mid.ckpt"), Watch()
    data, student = fit(folder, whole, **options)
    fit(folder, resumed, tmp_path / "mid.ckpt", **options)
    assert resumed.steps == whole.steps[done:]
    assert len(whole.steps) == 12
    pairs = [row for epoch, rows in whole.steps for row in rows if epoch == 0 and row >= 0]
    assert len(pairs) == 84
    if not options:
        assert sorted(pairs) == list(range(84))
    held_out = list(range(data.validation_pairs().num_rows))
    assert sorted(student.validated[-len(held_out) :]) == held_out == list(range(6))


def test_a_model_may_complete_a_step_before_it_moves(folder: Path) -> None:
    class Completes(Student):
        seen: ClassVar[list[int]] = []

        def before_transfer(self, step: Any) -> Any:
            return step._replace(sides=1000 + step.pairs)

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            self.seen.append(batch.sides - batch.pairs)
            return super().training_step(batch, number)

    data, _ = fit(folder, Watch(), kind=Completes)
    assert Completes.seen
    assert set(Completes.seen) == {1000}
    data.trainer = None
    assert data.on_before_batch_transfer("a batch without a Trainer", 0) == "a batch without a Trainer"
