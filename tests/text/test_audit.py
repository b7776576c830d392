"""The data audit: figures against a count by hand, and what it shows."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from tocsin.text.audit import EQUAL_TEXTS, Audit, Duplicates, LabelCounts, Lengths, audit
from tocsin.text.audit_tables import languages_line
from tocsin.text.crossings import Crossing, column_groups, crossing

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


def one_or_nothing(values: list[list[float]], names: list[str]) -> Audit:
    table = pa.table(
        {"text": [str(n) for n in range(len(values))], "lang": pa.nulls(len(values), pa.string())}
    )
    return audit(table, np.array(names), ["fire", "death", "never", "nothing"], np.array(values, np.float32))


def test_labels_that_are_never_off_are_flagged_like_those_never_on() -> None:
    result = one_or_nothing([[1, 1, 0, NAN], [1, 0, 0, NAN], [NAN, NAN, NAN, NAN]], ["train"] * 3)
    assert result.without_negatives == ("fire", "nothing")
    assert result.without_positives == ("never", "nothing")
    assert result.splits["train"].unknown == 1
    assert json.loads(json.dumps(result.to_dict()))["without_negatives"] == ["fire", "nothing"]
    lines = shown(result)
    rows = {name: next(line for line in lines.splitlines() if f"  {name} " in line) for name in result.labels}
    assert "no negative in train, few" in rows["fire"]
    assert "no positive in train, few" in rows["never"]
    assert "nothing known in train, few" in rows["nothing"]
    assert "train" not in rows["death"]
    said = " ".join(lines.split())
    assert "! no negative in train: 1 of 4 labels are never 0" in said
    assert "labels.init_args.blank: 0" in said


def test_messages_without_a_known_label_are_counted_with_the_option_that_may_read_them() -> None:
    known = [1.0, 0, 0, 0]
    result = one_or_nothing([known, [0.0, 1, 1, 1], [NAN] * 4, [NAN] * 4], ["train"] * 3 + ["test"])
    assert (result.splits["train"].unknown, result.splits["test"].unknown) == (1, 1)
    said = " ".join(shown(result).split())
    assert "! no label is known of any message in test: a fit or test of it is refused" in said
    result = one_or_nothing([known, [0.0, 1, 1, 1], [NAN] * 4], ["train"] * 3)
    assert "! no label is known of 1 messages, which teach and test nothing. If an empty cell" in " ".join(
        shown(result).split()
    )
    assert "!" not in shown(one_or_nothing([known, [0.0, 1, 1, 1]], ["train"] * 2))


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


def test_languages_by_split() -> None:
    assert small().by_language == {
        "en": {"train": 2, "test": 1},
        "ht": {"train": 1, "": 1},
        "unknown": {"validation": 1},
    }
    empty = pa.table({"text": ["a", "b"], "lang": ["", None]})
    assert audit(empty, np.array(["train"] * 2), [], np.zeros((2, 0))).by_language == {
        "unknown": {"train": 2}
    }


def test_characters() -> None:
    texts = ["a" * length for length in range(1, 101)]
    table = pa.table({"text": texts, "lang": pa.nulls(100, pa.string())})
    result = audit(table, np.full(100, "train"), [], np.zeros((100, 0), np.float32))
    assert result.splits["train"].characters == Lengths(median=50, most=95, longest=100)
    assert "95% up to" in shown(result)


def test_what_crosses() -> None:
    result = small(
        similar={"near-duplicates": np.array([0, 1, 0, 0, 1, 2])},
        values={"event": np.array([0, 0, 0, -1, 1, 0])},
    )
    assert result.groups == {
        EQUAL_TEXTS: Crossing(groups=3, crossing=1, seen={"validation": 1, "test": 0}),
        "near-duplicates": Crossing(groups=2, crossing=2, seen={"validation": 1, "test": 1}),
        "event": Crossing(groups=2, crossing=0, seen={"validation": 0, "test": 0}),
    }
    assert result.similar == {"near-duplicates": Duplicates(groups=2, rows=3, conflicting=1)}
    text = shown(result)
    assert "Near-duplicates: 3 messages say almost what an earlier one does (2 groups; 1 of them" in text
    assert "test seen in train" in text
    assert "1 100.0%" in text
    assert crossing(np.array(["train"]), np.array([-1])) == Crossing(0, 0, {})


def test_groups_of_a_column() -> None:
    table = pa.table({"event": pa.array(["flood", None, "", "fire", "flood"]).dictionary_encode()})
    assert column_groups(table, "event").tolist() == [0, -1, -1, 2, 0]


def test_what_reading_left_out_is_shown() -> None:
    read = {"dropped_empty": 1200, "kept_empty": 0, "null_texts": 3, "repeated_ids": 0}
    text = shown(small(read=read))
    assert "Reading: 1,200 dropped as empty after cleaning; 3 without a text" in text
    assert "repeated" not in text


def test_plain_data() -> None:
    plain = small(crossing=["a sentence"], similar={"near": np.zeros(6, int)}).to_dict()
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
        "Languages: messages",
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
