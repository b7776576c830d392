"""Null labels leave no trace: the gradient of a step is that of the rows and entries without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback

from tests.builders import (
    LABELS,
    WORDS,
    message_file,
    quiet_trainer,
    tiny_classifier,
    tiny_data,
    tiny_encoder,
)
from tocsin.labels.soft import Soft

MESSAGES = 8
cells = st.sampled_from([None, 0.0, 1.0, 0.25])
matrices = st.lists(
    st.one_of(st.just([None] * 3), st.lists(cells, min_size=3, max_size=3)),
    min_size=MESSAGES,
    max_size=MESSAGES,
)


class Gradients(Callback):
    """Keeps the gradient of the first step."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.found = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
            for name, weight in pl_module.named_parameters()
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("null")
    tiny_encoder(folder / "encoder")
    return folder


def rows_of(matrix: list[list[float | None]]) -> list[dict[str, Any]]:
    """Messages of different lengths, so that their order in a step does not depend on how many there are."""
    rows = []
    for number, targets in enumerate(matrix):
        text = " ".join(WORDS[(5 * number + at) % len(WORDS)] for at in range(number + 2))
        named = dict(zip(LABELS, targets, strict=True))
        rows.append({"id": f"m{number}", "split": "train", "lang": "eng", "text": text, **named})
    return rows


def model_of(folder: Path) -> Any:
    torch.manual_seed(0)
    scheme = Soft(list(LABELS))
    model = tiny_classifier(
        folder / "encoder", dropout=0.0, labels=scheme, gradient_clip=None, rows_in_use=False
    )
    torch.manual_seed(0)
    model.build()
    return model


def gradients(folder: Path, rows: list[dict[str, Any]], tokens_per_pass: int) -> dict[str, torch.Tensor]:
    path = message_file(folder / "rows.parquet", [{**row, **dict.fromkeys(LABELS)} for row in rows])
    # Nulls alone have no type in Parquet: columns are written as floats.
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    for name in LABELS:
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array([row[name] for row in rows], pa.float64()))
    pq.write_table(table, path)
    data = tiny_data(
        path,
        labels=Soft(list(LABELS)),
        batch_size=MESSAGES,
        tokens_per_pass=tokens_per_pass,
        on_rare="ignore",
    )
    keep = Gradients()
    trainer = quiet_trainer(folder, max_steps=1, max_epochs=-1, limit_val_batches=0, callbacks=[keep])
    with pytest.MonkeyPatch.context() as patch:
        # A fit refuses messages of which nothing is known; what its step would do with them is tested here.
        patch.setattr("tocsin.batches.messages.check_known", lambda *_: None)
        trainer.fit(model_of(folder), datamodule=data)
    return keep.found


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(matrix=matrices)
@example(matrix=[[1.0, None, 0.25], *[[None] * 3] * (MESSAGES - 1)])
@example(matrix=[[1.0, 0.0, None]] * MESSAGES)
def test_the_gradient_of_a_step_is_bit_for_bit_that_without_the_null_rows(folder: Path, matrix: Any) -> None:
    rows = rows_of(matrix)
    known = [row for row in rows if any(row[name] is not None for name in LABELS)]
    # One message a pass: gradients are then summed message by message, in the order of their lengths.
    whole = gradients(folder, rows, tokens_per_pass=1)
    if not known:
        assert not any(bool(gradient.any()) for gradient in whole.values())
        return
    without = gradients(folder, known, tokens_per_pass=1)
    assert whole.keys() == without.keys()
    for name in whole:
        assert torch.equal(whole[name], without[name]), name


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(matrix=matrices)
def test_the_gradient_of_a_step_is_that_of_a_loop_over_the_known_entries(folder: Path, matrix: Any) -> None:
    rows = rows_of(matrix)
    found = gradients(folder, rows, tokens_per_pass=64)
    model = model_of(folder)
    model.train()
    losses = []
    for row in rows:
        ids = torch.tensor([model.tokenizer(row["text"])["input_ids"]])
        probabilities = torch.sigmoid(model(ids, torch.ones_like(ids))[0])
        for label, name in enumerate(LABELS):
            if row[name] is not None:
                p, target = probabilities[label], row[name]
                losses.append(-(target * torch.log(p) + (1 - target) * torch.log(1 - p)))
    if losses:
        (sum(losses) / len(losses)).backward()
    for name, weight in model.named_parameters():
        wanted = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.testing.assert_close(
            found[name], wanted, atol=2e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_all_null_is_a_gradient_of_zero(folder: Path) -> None:
    found = gradients(folder, rows_of([[None] * 3] * MESSAGES), tokens_per_pass=64)
    assert found
    assert all(not bool(gradient.any()) for gradient in found.values())


def test_what_stands_under_a_null_is_masked_in_every_pass(folder: Path) -> None:
    rows = rows_of([[None, 1.0, 0.25], [0.0, None, None]] * 4)
    gradients(folder, rows, tokens_per_pass=64)  # writes the file
    data = tiny_data(folder / "rows.parquet", labels=Soft(list(LABELS)))
    np.testing.assert_array_equal(
        np.isnan(data.corpus().targets_NL), [[row[name] is None for name in LABELS] for row in rows]
    )
