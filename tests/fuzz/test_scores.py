"""Damaged scores tables: our own Parquet, Parquet of others, CSV and TSV."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from tests.fuzz.damage import changed, damaged
from tests.fuzz.harness import COUNTS, Findings, fuzz
from tocsin.scores.metrics import evaluate
from tocsin.scores.table import ScoresTable

TABLE = ScoresTable(
    ids=np.array([f"m{n}" for n in range(12)]),
    labels=("water", "food"),
    logits_NL=np.linspace(-2, 2, 24).reshape(12, 2),
    targets_NL=np.array([[n % 2, n % 3 == 0] for n in range(12)], dtype=float),
    langs=np.array([("eng", "fra", None)[n % 3] for n in range(12)], dtype=object),
    slices={"event": np.array([f"e{n % 2}" for n in range(12)])},
    metadata={"run": "a/b", "train_prevalence": "[0.5, 0.25]"},
)
COLUMNS: dict[str, list[Any]] = {
    "id": [f"m{n}" for n in range(6)],
    "lang": ["eng", "fra", "eng", "fra", "eng", None],
    "prob.water": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    "target.water": [0, 1, 0, 1, None, 1],
    "prob.food": [0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
    "target.food": [0.0, 0.5, 1.0, 0.0, 1.0, 0.0],
}
CSV = ["id,prob.water,target.water,lang\nm1,.5,1,eng\nm2,.25,0,\nm3,.1,,fra\n", "id,score\nm1,0.5\nm2,0.7\n"]


def own() -> bytes:
    path = io.BytesIO()
    pq.write_table(TABLE.to_arrow(), path)
    return path.getvalue()


def read(path: Path) -> None:
    evaluate(ScoresTable.read(path))


@pytest.mark.parametrize("count", COUNTS)
def test_files_of_ours_and_of_others(tmp_path: Path, count: int) -> None:
    TABLE.write(tmp_path / "written.parquet")
    ours = (tmp_path / "written.parquet").read_bytes()
    contents = {
        ".parquet": [ours, own()],
        ".csv": [text.encode() for text in CSV],
        ".tsv": [text.replace(",", "\t").encode() for text in CSV],
    }

    def read_it(drawn: tuple[str, bytes]) -> None:
        ending, content = drawn
        path = tmp_path / f"scores{ending}"
        path.write_bytes(content)
        read(path)

    files = st.sampled_from(list(contents)).flatmap(
        lambda ending: st.tuples(st.just(ending), damaged(contents[ending]) | st.binary(max_size=100))
    )
    fuzz(count, files, read_it)


def _arrow(columns: dict[str, list[Any]]) -> bytes | None:
    """The columns as Parquet; None where Arrow takes them for no table."""
    file = io.BytesIO()
    try:
        pq.write_table(pa.table(columns), file)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return file.getvalue()


@pytest.mark.parametrize("count", COUNTS)
def test_tables_with_odd_columns(tmp_path: Path, count: int) -> None:
    path = tmp_path / "scores.parquet"

    def read_it(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    odd = [
        None,
        "",
        "x",
        -1,
        2,
        float("nan"),
        float("inf"),
        [],
        ["x"],
        [1.0] * 6,
        ["x"] * 6,
        [None] * 6,
        [True] * 6,
    ]
    tables = changed(COLUMNS, odd).map(_arrow).filter(lambda content: content is not None)
    fuzz(count, tables, read_it)


@pytest.mark.parametrize("places", [300, pytest.param(3_000, marks=pytest.mark.slow)])
def test_no_changed_bit_of_ours_is_accepted(tmp_path: Path, places: int) -> None:
    path = tmp_path / "scores.parquet"
    TABLE.write(path)
    content = path.read_bytes()
    findings = Findings()
    for place in np.random.default_rng(0).choice(len(content) * 8, size=places):
        changed_content = bytearray(content)
        changed_content[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(changed_content))
        findings.run(int(place), lambda: read(path))
    findings.check()
    assert findings.accepted == 0
