"""Balanced sampling and the smallest number of positives, through the DataModule and a Trainer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback

from tests.builders import LABELS, message_file, messages, quiet_trainer, tiny_classifier, tiny_data
from tocsin.batches.balance import messages_an_epoch, repeat_factors
from tocsin.batches.messages import LabelledMessages, RareLabelWarning
from tocsin.errors import ConfigError, LabelError
from tocsin.labels.schemes import Columns
from tocsin.labels.soft import Soft


class Watch(Callback):
    """Notes the rows of each step; saves a checkpoint after the step `save_after` (from 1)."""

    def __init__(self, save_after: int = 0, path: Path | None = None) -> None:
        self.steps: list[list[int]] = []
        self.save_after, self.path = save_after, path

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps.append(sorted(int(row) for part in batch.passes for row in part.rows_B))
        if len(self.steps) == self.save_after:
            trainer.save_checkpoint(self.path)


def fit(folder: Path, watch: Watch, checkpoint: Path | None = None, **options: Any) -> Any:
    data = tiny_data(folder / "messages.parquet", **{"balanced": 0.9, **options})
    trainer = quiet_trainer(folder, max_epochs=3, limit_val_batches=0, callbacks=[watch])
    trainer.fit(tiny_classifier(folder / "encoder"), datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rare")


def test_a_balanced_epoch_repeats_messages_of_rare_labels(folder: Path) -> None:
    watch = Watch()
    data = fit(folder, watch)
    train = data.rows("train")
    factors = repeat_factors(data.targets(train), 0.9)
    size = messages_an_epoch(factors)
    assert len(train) < size < 3 * len(train)
    steps = -(-size // 8)
    assert len(watch.steps) == 3 * steps
    for epoch in range(3):
        found = watch.steps[epoch * steps : (epoch + 1) * steps]
        assert [len(step) for step in found] == [8] * (steps - 1) + [size - 8 * (steps - 1)]
        times = np.bincount(np.concatenate(found), minlength=train.max() + 1)[train]
        assert ((times >= np.floor(factors)) & (times <= np.floor(factors) + 1)).all()


def test_a_resumed_fit_goes_on_where_it_stood(folder: Path, tmp_path: Path) -> None:
    whole, resumed = Watch(15, tmp_path / "mid.ckpt"), Watch()
    fit(folder, whole)
    fit(folder, resumed, tmp_path / "mid.ckpt")
    assert resumed.steps == whole.steps[15:]


def test_the_record_says_what_was_repeated(folder: Path) -> None:
    data = tiny_data(folder / "messages.parquet", balanced=0.9)
    facts = data.provenance()["sampling"]
    train = data.targets(data.rows("train"))
    factors = repeat_factors(train, 0.9)
    assert "Gupta et al. 2019, arXiv 1908.03195" in facts["method"]
    assert facts["threshold"] == 0.9
    assert facts["messages_an_epoch"] == messages_an_epoch(factors)
    for label, share in enumerate(facts["prior_seen"]):
        known = ~np.isnan(train[:, label])
        assert share == pytest.approx(np.average(train[known, label], weights=factors[known]))
        assert share > data.prior()[label]
    assert "sampling" not in tiny_data(folder / "messages.parquet").provenance()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"balanced": 0.0}, "balanced is 0.0; wanted a share of messages above 0 and at most 1"),
        ({"balanced": 1.5}, "balanced is 1.5"),
        ({"min_positives": -1}, "min_positives is -1"),
    ],
)
def test_settings_that_mean_nothing(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        LabelledMessages(Columns(list(LABELS)), train="m.parquet", **options)


# Too few positives ---------------------------------------------------------------------------------------------------


@pytest.fixture
def rare_file(tmp_path: Path) -> Path:
    """36 training messages: none is about fire, and two of them are about food."""
    rows = messages(60)
    seen = 0
    for row in rows:
        if row["split"] == "train":
            row["fire"] = 0
            row["food"] = int(seen < 2)
            seen += 1
    return message_file(tmp_path / "m.parquet", rows)


def test_a_label_without_a_positive_is_warned_of_by_default(rare_file: Path, ready: Any) -> None:
    with pytest.warns(
        RareLabelWarning, match=r"^1 of 3 labels have fewer than 1 positive training message: fire \(0\)"
    ):
        ready(tiny_data(rare_file))


def test_under_the_chosen_count_warn_refuse_or_ignore(rare_file: Path, ready: Any) -> None:
    with pytest.warns(
        RareLabelWarning, match=r"2 of 3 labels have fewer than 3 .*: fire \(0\), food \(2\)\."
    ):
        ready(tiny_data(rare_file, min_positives=3))
    with pytest.raises(
        LabelError, match=r"food \(2\)\. Give them more messages, leave them out of the labels"
    ):
        ready(tiny_data(rare_file, min_positives=3, on_rare="refuse"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RareLabelWarning)
        ready(tiny_data(rare_file, min_positives=3, on_rare="ignore"))
        ready(tiny_data(rare_file, min_positives=0))
        ready(tiny_data(rare_file, labels=Columns(["food"]), min_positives=2, on_rare="refuse"))


def test_labels_that_are_never_off_are_flagged_like_those_never_on(tmp_path: Path, ready: Any) -> None:
    rows = [{**row, "water": 1 if number % 3 else None} for number, row in enumerate(messages(20))]
    path = message_file(tmp_path / "m.parquet", rows)
    said = (
        r"1 of 3 labels have no negative training message: water \(\d positive\).*labels.init_args.blank: 0\."
    )
    with pytest.warns(RareLabelWarning, match=said):
        data = ready(tiny_data(path))
    assert data.audit.without_negatives == ("water",)
    with pytest.raises(LabelError, match=said):
        ready(tiny_data(path, on_rare="refuse"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RareLabelWarning)
        ready(tiny_data(path, on_rare="ignore"))
        ready(tiny_data(path, labels=Columns(list(LABELS), blank=0), on_rare="refuse"))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_any_known_label_is_refused(tmp_path: Path, ready: Any, split: str) -> None:
    nothing = dict.fromkeys(LABELS)
    rows = [{**row, **nothing} if row["split"] == split else row for row in messages(20)]
    data = tiny_data(message_file(tmp_path / "m.parquet", rows), on_rare="ignore")
    with pytest.raises(
        LabelError, match=rf"no label is known of any of the \d+ {split} messages.*water, food"
    ):
        ready(data)


def test_positives_of_soft_labels_are_counted_from_one_half(tmp_path: Path, ready: Any) -> None:
    rows = [{**row, "food": 0.4, "water": 0.6, "fire": 0.5} for row in messages(20)]
    data = tiny_data(message_file(tmp_path / "m.parquet", rows), labels=Soft(list(LABELS)))
    with (
        pytest.warns(RareLabelWarning, match=r"1 of 3 labels .*: food \(0\)"),
        pytest.warns(
            RareLabelWarning, match=r"2 of 3 labels have no negative .* water \(12 positive\), fire"
        ),
    ):
        ready(data)
    assert data.audit.labels["water"]["train"].positives == 12
    assert data.audit.labels["food"]["train"].negatives == 12
    np.testing.assert_allclose(data.prior(), [0.6, 0.4, 0.5], rtol=1e-6)
