"""Corpora that a tokenizer does not know: counted rightly whatever its kind, and refused unless they are allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.batches.conftest import Reading
from tests.builders import WORDS, message_file, messages, tiny_data, tiny_tokenizer
from tocsin.batches.cache import TokenStore
from tocsin.batches.parallel import ParallelSentences
from tocsin.batches.unknown import unknown_and_spaces, unknown_share
from tocsin.errors import ConfigError, DataError
from tocsin.text.pair_table import PairTable

CASES = [
    (["water fire"], 0.0),
    (["水 火"], 1.0),  # a token of white space before each of them is none of the text's
    (["water 水"], 0.5),
    (["water 水", "", "fire rain"], 0.25),
    ([""], 0.0),
    ([], 0.0),
]


@pytest.mark.parametrize("kind", ["unigram", "words"])
@pytest.mark.parametrize("prompt", ["", "help ", "水 "])
@pytest.mark.parametrize(("texts", "share"), CASES, ids=[str(share) for _, share in CASES])
def test_shares(tmp_path: Path, kind: str, prompt: str, texts: list[str], share: float) -> None:
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer", kind)
    store = TokenStore.build(tmp_path / "a.arrow", texts, tokenizer, 32, prompt)
    assert unknown_share(store, tokenizer, prompt) == pytest.approx(share)


def test_tokenizers_that_know_everything(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    store = TokenStore.build(tmp_path / "a.arrow", ["水 火"], tokenizer, 32)
    tokenizer.unk_token = "</s>"  # as GPT-2's, whose unknown token ends a text
    assert unknown_and_spaces(tokenizer)[0] == []
    assert unknown_share(store, tokenizer) == 0.0


def rows_in(letters: str) -> list[dict[str, Any]]:
    """Messages, each another, of these letters and one known word, once or some times."""
    texts = [f"{letters} {WORDS[number % 50]} " * (number // 50 + 1) for number in range(120)]
    return [{**row, "text": text} for row, text in zip(messages(), texts, strict=True)]


def test_messages_of_another_script_are_refused(tmp_path: Path, ready: Callable[..., Any]) -> None:
    path = message_file(tmp_path / "m.parquet", rows_in("水 火"))
    with pytest.raises(DataError, match=r"does not know 67% of the tokens.*max_unknown: 1 allows"):
        ready(tiny_data(path))
    assert ready(tiny_data(path, max_unknown=1)).rows("train").size
    assert ready(tiny_data(path, max_unknown=0.7)).rows("train").size
    half = message_file(tmp_path / "half.parquet", rows_in("水"))
    assert ready(tiny_data(half)).rows("train").size  # half is not more than half


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="max_unknown is"):
        tiny_data(tmp_path / "m.parquet", max_unknown=share)
    with pytest.raises(ConfigError, match="max_unknown is"):
        ParallelSentences({"a": PairTable("a.parquet")}, max_unknown=share)


@pytest.mark.parametrize(
    ("side", "said"), [("text", "the translations"), ("english", "the English sentences")]
)
def test_pairs_of_another_script_are_refused(tmp_path: Path, tokenizer: Any, side: str, said: str) -> None:
    rows = [{"english": f"water {i}", "text": f"agua {i}", "lang": "spa"} for i in range(40)]
    for number, row in enumerate(rows):
        row[side] = "水 " * (number + 1)
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)

    def prepared(**options: Any) -> Any:
        data = ParallelSentences(
            {"a": PairTable(str(path))},
            cache=str(tmp_path / "cache"),
            held_out=2,
            max_length_ratio=None,
            **options,
        )
        trainer: Any = Reading(tokenizer)
        data.trainer = trainer
        data.prepare_data()
        return data

    with pytest.raises(DataError, match=f"100% of the tokens of {said}"):
        prepared()
    prepared(max_unknown=1)
