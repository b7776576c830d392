"""Unions, categories and soft labels from files through a fit into scores, checkpoint and bundle, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.builders import message_file, messages, quiet_trainer, tiny_classifier, tiny_data
from tocsin.bundles.card import model_card
from tocsin.bundles.load import load_bundle
from tocsin.bundles.save import save_bundle
from tocsin.errors import LabelError
from tocsin.labels.categories import Categories
from tocsin.labels.schemes import Columns, LabelScheme
from tocsin.labels.soft import Soft
from tocsin.labels.union import Union
from tocsin.models.heads import LinearHead
from tocsin.models.pooling import MeanPooling
from tocsin.scores.table import ScoresTable, sigmoid
from tocsin.text.cleaners import NoCleaner

NAMES = ("water", "kind=flood", "kind=n/a", "share", "panic", "calm")


class Registry:
    """Finds what these tests use, as the plugin manager would."""

    def find(self, role: str, name: str) -> type[Any]:
        return {"LinearHead": LinearHead, "MeanPooling": MeanPooling, "NoCleaner": NoCleaner}[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A message file, and what a teacher said of most of its messages."""
    folder = tmp_path_factory.mktemp("round-trip")
    generator = np.random.default_rng(0)
    rows = messages(60)
    for row in rows:
        row["kind"] = [None, "flood", "n/a", "storm"][generator.integers(4)]
        row["share"] = [None, 0.0, 0.25, 0.5, 1.0][generator.integers(5)]
    message_file(folder / "m.parquet", rows)
    ids = np.array([row["id"] for row in rows[5:]][::-1])
    logits_NL = generator.normal(size=(55, 2)).astype(np.float32)
    ScoresTable(ids=ids, labels=("panic", "calm"), logits_NL=logits_NL).write(folder / "teacher.parquet")
    return folder


def scheme(folder: Path, *, turned: bool = False) -> LabelScheme:
    teacher = Soft(scores=str(folder / "teacher.parquet"), on_missing="unknown")
    categories = Categories({"kind": ["flood", "n/a"]}, negative_values=["storm"])
    parts = [Columns(["water"]), categories, Soft(["share"]), teacher]
    return Union(parts[::-1] if turned else parts)


@pytest.fixture(scope="module")
def fitted(folder: Path) -> tuple[Any, Any]:
    labels = scheme(folder)
    data = tiny_data(folder / "m.parquet", labels=labels, balanced=0.5, on_rare="ignore")
    model = tiny_classifier(folder / "encoder", labels=labels)
    trainer = quiet_trainer(folder, max_epochs=1)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(folder / "last.ckpt")
    return model, data


def test_scores_hold_the_targets_of_every_scheme(folder: Path, fitted: Any) -> None:
    model, data = fitted
    model.scores["validation"].write(folder / "scores.parquet")
    table = ScoresTable.read(folder / "scores.parquet")
    assert table.labels == NAMES
    assert table.labels_digest == data.labels.digest == data.provenance()["labels_digest"]
    rows = data.rows("validation")
    np.testing.assert_array_equal(table.targets_NL, data.targets(rows))
    # Against the files themselves, by id.
    source = {row["id"]: row for row in pq.read_table(folder / "m.parquet").to_pylist()}
    teacher = ScoresTable.read(folder / "teacher.parquet")
    said = dict(zip(teacher.ids, teacher.probabilities.astype(np.float32), strict=True))
    for message, targets in zip(table.ids, table.targets_NL, strict=True):
        row = source[message]
        kind = [np.nan] * 2 if row["kind"] is None else [row["kind"] == "flood", row["kind"] == "n/a"]
        share = np.nan if row["share"] is None else row["share"]
        wanted = [row["water"], *kind, share, *said.get(message, [np.nan, np.nan])]
        np.testing.assert_array_equal(targets, np.array(wanted, np.float32))
    types = {
        name: str(pq.read_schema(folder / "scores.parquet").field(f"target.{name}").type) for name in NAMES
    }
    assert types == {**dict.fromkeys(NAMES[:3], "int8"), **dict.fromkeys(NAMES[3:], "float")}


def test_passes_hand_soft_targets_to_the_model_as_they_are(fitted: Any) -> None:
    _, data = fitted
    seen = {}
    for part in data.passes(data.rows("train")):
        targets_BL = torch.where(part.known_BL.bool(), part.targets_BL, torch.nan).numpy()
        seen.update(zip(part.rows_B.tolist(), targets_BL, strict=True))
    for row in data.rows("train"):
        np.testing.assert_array_equal(seen[row], data.targets(np.array([row]))[0])
    assert any(0 < target < 1 for targets in seen.values() for target in targets)


def test_a_bundle_keeps_names_and_order(folder: Path, fitted: Any) -> None:
    model, data = fitted
    card = model_card(
        "tiny",
        model,
        model.scores["validation"],
        data.provenance(),
        max_length=32,
        cleaner="NoCleaner",
        draws=5,
    )
    assert "repeat-factor sampling (Gupta et al. 2019, arXiv 1908.03195), threshold 0.5" in card
    assert "Labels also from `teacher.parquet`" in card
    assert "Targets are probabilities; 0.5 or more counts as positive." in card
    save_bundle(folder / "bundle", model, cleaner=NoCleaner(), max_length=32, card=card, version="0")
    bundle = load_bundle(folder / "bundle", Registry())
    assert tuple(bundle.labels) == NAMES
    ids = model.tokenizer("water near the bridge", return_tensors="pt")
    model.eval()
    with torch.no_grad():
        wanted = sigmoid(model(ids["input_ids"], ids["attention_mask"]).numpy())
    np.testing.assert_allclose(bundle.predict(["water near the bridge"]).raw_probabilities, wanted, atol=1e-5)


def test_a_checkpoint_refuses_the_schemes_in_another_order(folder: Path, fitted: Any) -> None:
    for turned in (False, True):
        labels = scheme(folder, turned=turned)
        data = tiny_data(folder / "m.parquet", labels=labels, on_rare="ignore")
        model = tiny_classifier(folder / "encoder", labels=labels)
        arguments = {"datamodule": data, "ckpt_path": folder / "last.ckpt", "weights_only": True}
        if turned:
            with pytest.raises(LabelError, match="the same labels in another order"):
                quiet_trainer(folder).test(model, **arguments, verbose=False)
        else:
            quiet_trainer(folder).test(model, **arguments, verbose=False)
            assert model.scores["test"].labels == NAMES


def test_the_record_names_the_teacher_s_file(folder: Path, fitted: Any) -> None:
    import hashlib

    digest = hashlib.sha256((folder / "teacher.parquet").read_bytes()).hexdigest()
    assert fitted[1].provenance()["label_files"] == {"teacher.parquet": digest}
    assert "label_files" not in tiny_data(folder / "m.parquet").provenance()


def test_a_student_learns_from_a_teacher_and_is_tested_on_people_s_labels(tmp_path: Path) -> None:
    rows = messages(60)
    path = message_file(tmp_path / "m.parquet", rows)
    ids = [row["id"] for row in rows]
    sure = [0.9 if row["water"] else 0.2 for row in rows]
    pq.write_table(pa.table({"id": ids, "prob.water": sure}), tmp_path / "t.parquet")
    labels = Soft(scores=str(tmp_path / "t.parquet"))
    model = tiny_classifier(tmp_path / "encoder", labels=labels)
    trainer = quiet_trainer(tmp_path, max_epochs=2)
    trainer.fit(model, datamodule=tiny_data(path, labels=labels))
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    people = Columns(["water"])
    student = tiny_classifier(tmp_path / "encoder", labels=people)
    quiet_trainer(tmp_path).test(
        student,
        datamodule=tiny_data(path, labels=people),
        ckpt_path=tmp_path / "student.ckpt",
        weights_only=True,
        verbose=False,
    )
    table = student.scores["test"]
    assert not table.soft
    assert table.targets_NL[:, 0].tolist() == [row["water"] for row in rows if row["split"] == "test"]
