"""Faulty times, groups, hub names, probabilities and categories: exit code 2 and a sentence, from `fit` and `audit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders import messages
from tests.cli.configs import CONFIG, write_config
from tests.faults.conftest import Call
from tocsin.cli.main import main

COLUMNS = "{class_path: Columns, init_args: {names: [water, food, fire]}}"
TEMPORAL = "{class_path: TemporalSplit, init_args: {column: time}}"
STRATIFIED = "{class_path: StratifiedGroupedSplit, init_args: {labels: [water], by: event}}"
GROUPED = "{class_path: GroupedSplit, init_args: {by: event, seed: 0}}"
CATEGORIES = "{class_path: Categories, init_args: {values: {kind: [flood, fire]}}}"
SOFT = "{class_path: Soft, init_args: {names: [share]}}"


def config_of(
    folder: Path,
    *,
    row: int = 0,
    changes: dict[str, Any] | None = None,
    splitter: str = "GivenSplit",
    labels: str = COLUMNS,
    train: str = "",
) -> str:
    """A configuration over 20 good messages, of which one (from 1) is changed."""
    rows = messages(20)
    for number, each in enumerate(rows):
        each |= {"time": f"2014-05-{number + 1:02}", "event": f"e{number}", "kind": "flood", "share": 0.25}
    if row:
        rows[row - 1] |= changes or {}
    if changes is not None and not row:
        for each in rows:
            each |= changes
    path = folder / "spoilt.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    text = CONFIG.replace("train: messages.parquet", f"train: {train or path}")
    text = text.replace("splitter: GivenSplit", f"splitter: {splitter}").replace(COLUMNS, labels)
    return str(write_config(folder, text))


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "time": (
        {"row": 7, "changes": {"time": "yesterday"}, "splitter": TEMPORAL},
        ["spoilt.jsonl, row 7", "'time'", "'yesterday'", "ISO 8601"],
    ),
    "group": (
        {"changes": {"event": "one"}, "splitter": STRATIFIED},
        ["the group event 'one'", "more than the share of every split", "Group by something finer"],
    ),
    "group of equal texts": (
        {"changes": {"text": "the same"}, "splitter": STRATIFIED.replace("event", "duplicates")},
        ["spoilt.jsonl, row 1", "more than the share of every split"],
    ),
    "hub": (
        {"train": "hf://owner/name@0123456789012345678901234567890123456789"},
        ["hf://owner/name@0123456789", "not in the cache", "HF_HUB_OFFLINE=1"],
    ),
    "hub branch": ({"train": "hf://owner/name@main"}, ["name the commit"]),
    "probability above": (
        {"row": 5, "changes": {"share": 1.5}, "labels": SOFT},
        ["spoilt.jsonl, row 5", "'share' holds 1.5", "[0, 1]"],
    ),
    "probability below": (
        {"row": 12, "changes": {"share": -0.25}, "labels": SOFT},
        ["spoilt.jsonl, row 12", "'share' holds -0.25", "[0, 1]", "logits"],
    ),
    # Row 4 stands in validation: no training message has the value.
    "category": (
        {"row": 4, "changes": {"kind": "flod"}, "labels": CATEGORIES},
        ["spoilt.jsonl, row 4", "'kind' holds 'flod'", "Did you mean 'flood'?", "negative_values"],
    ),
}


@pytest.mark.parametrize("verb", ["fit", "audit"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_named(
    case: str, verb: str, call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, wanted = CASES[case]
    config = config_of(tmp_path, **given)
    if verb == "fit":
        message = call(config=config).message
    else:
        assert main(["audit", "--config", config]) == 2
        said = capsys.readouterr()
        assert not said.out
        assert "Traceback" not in said.err
        message = said.err
    for part in wanted:
        assert part in message, message


@pytest.mark.parametrize(("labels", "splitter"), [(SOFT, TEMPORAL), (CATEGORIES, STRATIFIED)])
def test_without_the_fault_all_is_well(
    labels: str, splitter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that the cases above fail for their fault and nothing else."""
    assert main(["audit", "--config", config_of(tmp_path, labels=labels, splitter=splitter)]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_group_too_large_for_the_split_it_fell_into_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GroupedSplit places a group by its value alone, so it says so and goes on: another seed may do."""
    config = config_of(tmp_path, changes={"event": "one"}, splitter=GROUPED)
    assert main(["audit", "--config", config]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "! the group event 'one' (20 messages, 100.0%) is alone more than the share of train (80%), into which it "
        "fell: take another seed, a finer grouping or other shares"
    ) in said
