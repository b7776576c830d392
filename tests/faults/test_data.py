"""Faulty message files: each is named with its row, and what would mend it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders import message_file, messages
from tests.faults.conftest import Call


def test_missing_column(call: Call) -> None:
    message = call("--data.text", "txt").message
    assert "messages.parquet" in message
    assert "'txt'" in message
    assert "'text'" in message  # what is there, and near


def test_text_of_a_wrong_type(call: Call, spoilt: Any) -> None:
    message = call("--data.train", str(spoilt(7, {"text": 12}))).message
    assert "spoilt.jsonl, row 7:" in message
    assert "text" in message


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("spoilt.jsonl", 3, "unknown_values: [3]"),
        ("spoilt.parquet", -1, "unknown_values: [-1]"),
        ("spoilt.csv", "maybe", "What else means 1 or 0 goes into positive_values or negative_values"),
        ("spoilt.csv", 0.5, "Write 0, 1, or nothing"),
    ],
)
def test_a_label_that_is_not_0_1_or_null(call: Call, spoilt: Any, name: str, value: Any, fix: str) -> None:
    message = call("--data.train", str(spoilt(5, {"food": value}, name))).message
    assert f"{name}, row 5: label column 'food' holds" in message
    assert fix in message


@pytest.mark.parametrize("policy", ["drop", "keep"])
def test_empty_texts_are_counted(call: Call, spoilt: Any, tmp_path: Path, policy: str) -> None:
    path = spoilt(2, {"text": "@nobody http://x.y"})
    said = call("--data.train", str(path), "--data.on_empty", policy, "--trainer.max_steps", "1")
    assert said.code == 0, said.err
    facts = json.loads((tmp_path / "runs" / "tiny" / "latest-fit" / "provenance.json").read_text())["data"]
    assert facts["read"]["dropped_empty"] == (policy == "drop")
    assert facts["read"]["kept_empty"] == (policy == "keep")
    assert sum(facts["messages"].values()) == (19 if policy == "drop" else 20)


def test_nothing_but_empty_texts(call: Call, tmp_path: Path) -> None:
    path = message_file(tmp_path / "none.jsonl", [{**row, "text": " "} for row in messages(6)])
    assert "6 empty after cleaning" in call("--data.train", str(path)).message


def test_an_unknown_label(call: Call) -> None:
    message = call("--labels.names", "[water, foood]").message
    assert "'foood'" in message
    assert "'food'" in message
    assert "messages.parquet" in message


@pytest.mark.parametrize(
    ("name", "content"), [("e.csv", ""), ("e.csv", "id,split,lang,text,water,food,fire\n"), ("e.jsonl", "")]
)
def test_an_empty_file(call: Call, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    message = call("--data.train", str(tmp_path / name)).message
    assert name in message or "no message is left of 0 rows" in message


def test_a_torn_parquet_file(call: Call, tmp_path: Path) -> None:
    path = message_file(tmp_path / "torn.parquet")
    path.write_bytes(path.read_bytes()[:-200])
    assert "torn.parquet" in call("--data.train", str(path)).message


def test_a_file_that_is_not_there(call: Call) -> None:
    message = call("--data.train", "absent.parquet").message
    assert "absent.parquet" in message
    assert "data/absent.parquet" in message  # where it was looked for


def test_an_unwritable_token_cache(call: Call, tmp_path: Path) -> None:
    (tmp_path / "inway").write_text("a file")
    message = call("--data.cache", str(tmp_path / "inway")).message
    assert "cache cannot be written" in message
    assert "TOCSIN_CACHE" in message
