"""The data audit: figures against a count by hand, and what it shows."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from tocsin.text.audit import Audit, Duplicates, LabelCounts, audit
from tocsin.text.audit_tables import languages_line

NAN = np.nan
NAMES = np.array(["train", "train", "train", "validation", "test", ""])
TARGETS_NL = np.array([[1, 0], [0, NAN], [1, 0], [0, 0], [NAN, NAN], [1, 1]], np.float32)
TABLE = pa.table(
    {
        "text": ["fire", "water", "FIRE", "fire ", "x", "y"],
        "lang": pa.array(["en", "ht", "en", None, "en", "ht"], pa.string()),
    }
)


def small(**options: object) -> Audit:
    return audit(TABLE, NAMES, ["fire", "death"], TARGETS_NL, **options)  # type: ignore[arg-type]


def shown(result: Audit) -> str:
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(result.render())
    return console.export_text()


def test_splits() -> None:
    result = small(
        lengths=np.array([2, 4, 3, 4, 4, 1]),
        truncated=np.array([False, True, False, False, True, False]),
        unknown=np.array([0, 1, 2, 0, 1, 0]),
        max_length=4,
    )
    assert list(result.splits) == ["train", "validation", "test", ""]
    train = result.splits["train"]
    assert (train.messages, train.unlabelled) == (3, 1)
    assert train.labels_per_message == pytest.approx(2 / 3)
    assert train.mean_tokens == 3
    assert train.truncated == pytest.approx(1 / 3)
    assert train.unknown_pieces == pytest.approx(3 / 9)
    assert result.splits["test"].labels_per_message is None


def test_labels() -> None:
    result = small()
    assert result.labels["fire"]["train"] == LabelCounts(2, 1, 0)
    assert result.labels["death"]["train"] == LabelCounts(0, 2, 1)
    assert result.labels["fire"]["train"].prevalence == pytest.approx(2 / 3)
    assert result.labels["fire"]["test"].prevalence is None
    assert result.few == ("fire", "death")
    assert result.without_positives == ("death",)


def test_few_begins_below_five_thousand() -> None:
    count = 5000
    table = pa.table({"text": [str(n) for n in range(count)], "lang": pa.nulls(count, pa.string())})
    targets_NL = np.ones((count, 2), np.float32)
    targets_NL[0, 1] = 0
    assert audit(table, np.full(count, "train"), ["a", "b"], targets_NL).few == ("b",)


def test_languages_and_duplicates() -> None:
    result = small()
    assert result.languages == {"en": 3, "ht": 2, "unknown": 1}
    assert list(result.languages) == ["en", "ht", "unknown"]
    assert result.duplicates == Duplicates(groups=1, rows=2, conflicting=1)


def test_plain_data() -> None:
    plain = small(crossing=["a sentence"]).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["labels"]["fire"]["train"] == {
        "positives": 2,
        "negatives": 1,
        "nulls": 0,
        "prevalence": pytest.approx(2 / 3),
    }
    assert plain["crossing"] == ["a sentence"]


def test_shown() -> None:
    text = shown(
        small(crossing=["1 texts stand in more than one split"], truncated=np.zeros(6, bool), max_length=32)
    )
    for part in (
        "train",
        "in none",
        "cut at 32",
        "en 3 (50.0%)",
        "no positive in train, few",
        "null",
        "2 of 2 labels",
    ):
        assert part in text
    assert "! 1 texts stand in more than one split" in text
    assert "unknown pieces" not in text  # nobody counted them
    assert "water" not in text  # no message text is shown


def test_shown_without_rare_labels_or_languages() -> None:
    table = pa.table({"text": ["a"], "lang": pa.nulls(1, pa.string())})
    text = shown(audit(table, np.array(["train"]), [], np.zeros((1, 0), np.float32)))
    assert "train" in text
    assert "Languages" not in text
    assert "Labels" not in text


def test_many_languages_are_cut() -> None:
    line = languages_line({f"l{number}": 20 - number for number in range(18)})
    assert "l14" in line
    assert "l15" not in line
    assert line.endswith(" and 3 more")


def test_rows_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="lengths has 2 rows, the table 6"):
        small(lengths=np.zeros(2))
