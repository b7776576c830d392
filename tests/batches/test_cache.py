"""The token cache: what the tokenizer makes of a message, kept whole, and never found under a wrong key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.builders import WORDS, tiny_tokenizer
from tocsin.batches import cache
from tocsin.batches.cache import TokenStore, content_key, file_digest, tokenizer_digest
from tocsin.errors import DataError


def texts(count: int) -> list[str]:
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(WORDS, generator.integers(0, 20))) for _ in range(count)]


def test_tokens_come_back_as_the_tokenizer_makes_them(tokenizer: Any, tmp_path: Path) -> None:
    given = [*texts(20), "", "  ", "日本語", "\x00 flood", "a" * 300]
    store = TokenStore.build(tmp_path / "a.arrow", given, tokenizer, max_length=12)
    wanted = tokenizer(given, truncation=True, max_length=12)["input_ids"]
    assert [store[row].tolist() for row in range(len(store))] == wanted
    assert store.lengths.tolist() == [len(ids) for ids in wanted]
    whole = tokenizer(given)["input_ids"]
    assert store.truncated.tolist() == [len(ids) > 12 for ids in whole]
    assert store.unknown.tolist() == [ids.count(tokenizer.unk_token_id) for ids in wanted]
    assert store.unknown[-3] > 0


def test_the_prompt_stands_before_each_message(tokenizer: Any, tmp_path: Path) -> None:
    store = TokenStore.build(tmp_path / "a.arrow", ["road"], tokenizer, 12, prompt="help ")
    assert store[0].tolist() == tokenizer("help road")["input_ids"]


def test_several_chunks_are_one_store(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = texts(25)
    whole = TokenStore.build(tmp_path / "whole.arrow", given, tokenizer, 16)
    monkeypatch.setattr(cache, "_CHUNK", 4)
    done: list[int] = []
    cut = TokenStore.build(
        tmp_path / "cut.arrow", pa.chunked_array([given[:7], given[7:]]), tokenizer, 16, advance=done.append
    )
    assert done == [4, 4, 4, 4, 4, 4, 1]
    assert len(cut) == 25
    assert all(np.array_equal(cut[row], whole[row]) for row in range(25))
    assert np.array_equal(cut.lengths, whole.lengths)
    rows = np.array([24, 3, 11, 4, 0])
    wanted = sorted({int(piece) for row in rows for piece in whole[row]})
    assert cut.pieces_in(rows).tolist() == wanted
    assert cut.pieces_in(np.zeros(0, int)).tolist() == []


def test_tokens_are_views_of_the_mapped_file(tokenizer: Any, tmp_path: Path) -> None:
    TokenStore.build(tmp_path / "a.arrow", texts(200), tokenizer, 16)
    before = pa.total_allocated_bytes()
    store = TokenStore(tmp_path / "a.arrow")
    assert pa.total_allocated_bytes() - before < 1000
    assert not store[3].flags.owndata
    assert not store[3].flags.writeable
    assert store[3].dtype == np.int32


def test_no_message_is_an_empty_store(tokenizer: Any, tmp_path: Path) -> None:
    store = TokenStore.build(tmp_path / "a.arrow", [], tokenizer, 16)
    assert len(store) == len(store.lengths) == 0


def test_a_store_that_stands_is_not_made_again(tokenizer: Any, tmp_path: Path) -> None:
    TokenStore.build(tmp_path / "a.arrow", ["road"], tokenizer, 16)
    assert len(TokenStore.build(tmp_path / "a.arrow", ["road", "river"], tokenizer, 16)) == 1


def test_a_build_that_fails_leaves_no_file(tokenizer: Any, tmp_path: Path) -> None:
    class Torn(list[str]):
        def __getitem__(self, at: Any) -> Any:
            raise RuntimeError("torn")

    with pytest.raises(RuntimeError, match="torn"):
        TokenStore.build(tmp_path / "a.arrow", Torn(["road"]), tokenizer, 16)
    assert list(tmp_path.iterdir()) == []


def test_the_tokenizers_own_truncation_is_left_as_it_was(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer("road", truncation=True, max_length=7)
    before = tokenizer.backend_tokenizer.truncation
    TokenStore.build(tmp_path / "a.arrow", ["road"], tokenizer, 5)
    assert tokenizer.backend_tokenizer.truncation == before
    assert before["max_length"] == 7


def test_a_cache_that_cannot_be_written_is_named(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "inway").write_text("a file")
    with pytest.raises(DataError, match=r"cache cannot be written.*TOCSIN_CACHE") as caught:
        TokenStore.build(tmp_path / "inway" / "a.arrow", [], tokenizer, 16)
    assert caught.value.file == str(tmp_path / "inway")


def test_every_part_changes_the_key() -> None:
    parts: dict[str, Any] = {
        "files": ["a", "b"],
        "text": "text",
        "max_length": 8,
        "cleaner": ["m", "C", {"k": 1}],
    }
    changed = [
        {**parts, "files": ["a"]},
        {**parts, "files": ["ab"]},
        {**parts, "text": "texts"},
        {**parts, "max_length": 9},
        {**parts, "max_length": "8"},
        {**parts, "cleaner": ["m", "C", {"k": 2}]},
        {**parts, "more": None},
    ]
    assert len({content_key(**given) for given in [parts, *changed]}) == 1 + len(changed)
    assert content_key(**dict(reversed(list(parts.items())))) == content_key(**parts)
    assert len(content_key()) == 32


def test_digests_follow_bytes_and_rules(tokenizer: Any, tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (file_digest(tmp_path / name) for name in "abc")
    assert a == b != c
    before = tokenizer_digest(tokenizer)
    tokenizer("road", truncation=True, max_length=3, padding="max_length")  # leaves both set on the backend
    assert tokenizer_digest(tokenizer) == before
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    assert tokenizer_digest(tiny_tokenizer(tmp_path / "words", kind="words")) != before
