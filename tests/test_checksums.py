"""One changed, missing or added byte anywhere in a file of ours is found: sampled over every kind of file."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import tiny_classifier, tiny_encoder, tiny_tokenizer
from tocsin import cache_entries, parquet_files
from tocsin.batches.cache import TokenStore
from tocsin.bundle_files import copy_bundle, verify_bundle, write_bundle_file
from tocsin.bundles.save import save_bundle
from tocsin.cache_entries import CacheWarning, cached_file, cached_folder, verify_cache
from tocsin.checksums import Problem, bounded_json
from tocsin.errors import DataError, TocsinError
from tocsin.models.vector_store import VectorStore, verify_store
from tocsin.parquet_files import read_parquet, write_parquet
from tocsin.scores.table import ScoresTable
from tocsin.text.cleaners import NoCleaner

PLACES = (20, pytest.param(300, marks=pytest.mark.slow))
"""Damages of each kind of file: 11 kinds."""


def _bundle(folder: Path, head: str) -> Path:
    model = tiny_classifier(folder / "encoder", head, dropout=0.0)
    model.configure_model()
    return save_bundle(
        folder / "bundle", model, cleaner=NoCleaner(), max_length=16, card="# card", version="0"
    )


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bundle(tmp_path_factory.mktemp("native"), "native")


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bundle(tmp_path_factory.mktemp("linear"), "linear")


def _numbers(part: Path) -> None:
    with part.open("wb") as file:
        np.save(file, np.arange(600, dtype=np.float32).reshape(-1, 4))


def _corpus(part: Path) -> None:
    (part / "train-order.i64").write_bytes(np.arange(200).tobytes())
    with pa.OSFile(str(part / "english.arrow"), "wb") as sink, pa.ipc.new_file(sink, _TEXTS.schema) as writer:
        writer.write_table(_TEXTS)


_TEXTS = pa.table({"text": [f"sentence {number}" for number in range(200)]})


@pytest.fixture(scope="module")
def made(native: Path, linear: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every kind of file or folder by name, with what verifies it."""
    root = tmp_path_factory.mktemp("files")
    joint = root / "ensemble"
    for name, member in (("a", native), ("b", linear)):
        copy_bundle(member, joint / "members" / name)
    write_bundle_file(joint, {"format": 2, "kind": "ensemble"})
    distilled = tiny_encoder(root / "encoder")
    write_bundle_file(distilled, {"format": 2, "kind": "encoder"})
    scores = root / "scores.parquet"
    ScoresTable(
        ids=np.arange(300),
        labels=("water", "food"),
        logits_NL=np.random.default_rng(0).normal(size=(300, 2)),
        targets_NL=np.zeros((300, 2)),
        metadata={"run": "a"},
    ).write(scores)
    cache = root / "cache"
    tokens = cache / "tokens" / "a.arrow"
    TokenStore.build(tokens, ["flood water road"] * 300, tiny_tokenizer(root), 16)
    cached_file(cache / "vectors" / "a.npy", _numbers)
    cached_file(cache / "hub" / "a.parquet", lambda part: pq.write_table(_placed(_TEXTS), part))
    cached_folder(cache / "pairs" / "a", _corpus)
    cached_folder(cache / "encoders" / "a", lambda part: tiny_encoder(part) and None)
    store = VectorStore(root / "store", 8)
    with store.writing() as append:
        for start in range(0, 60, 20):
            sentences = [f"sentence {number}" for number in range(start, start + 20)]
            append(sentences, np.random.default_rng(start).normal(size=(20, 8)).astype(np.float32))
    of_cache = _verified_alone
    return {
        "native bundle": (native, verify_bundle),
        "linear bundle": (linear, verify_bundle),
        "encoder bundle": (distilled, verify_bundle),
        "ensemble": (joint, verify_bundle),
        "scores": (scores, _verified_scores),
        "tokens": (tokens, of_cache("tokens")),
        "features": (cache / "vectors" / "a.npy", of_cache("vectors")),
        "hub": (cache / "hub" / "a.parquet", of_cache("hub")),
        "pairs": (cache / "pairs" / "a", of_cache("pairs")),
        "converted encoder": (cache / "encoders" / "a", of_cache("encoders")),
        "teacher": (store.folder, verify_store),
    }


def _placed(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({"tocsin.digest": "0" * 64})


def _verified_scores(path: Path) -> list[Problem]:
    try:
        ScoresTable.read(path)
    except TocsinError as error:
        return [Problem(str(path), str(error))]
    return []


def _verified_alone(kind: str) -> Callable[[Path], list[Problem]]:
    def verify(path: Path) -> list[Problem]:
        root = path.parent / "root"
        (root / kind).mkdir(parents=True)
        path.rename(root / kind / path.name)
        try:
            return verify_cache(root)
        finally:
            (root / kind / path.name).rename(path)
            shutil.rmtree(root)

    return verify


def _damaged(content: bytes, generator: random.Random) -> bytes:
    at = generator.randrange(len(content))
    kind = generator.choice(["flip", "flip", "drop", "add", "cut", "append"])
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ 1 << generator.randrange(8)]) + content[at + 1 :]
    if kind == "drop":
        return content[:at] + content[at + 1 :]
    if kind == "add":
        return content[:at] + bytes([generator.randrange(256)]) + content[at:]
    return content[:-1] if kind == "cut" else content + bytes([generator.randrange(256)])


NAMES = (
    "native bundle", "linear bundle", "encoder bundle", "ensemble", "scores", "tokens", "features", "hub", "pairs",
    "converted encoder", "teacher",
)  # fmt: skip


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_every_damage_is_found(made: dict[str, Any], tmp_path: Path, name: str, places: int) -> None:
    source, verify = made[name]
    copy = tmp_path / source.name
    shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    assert verify(copy) == []
    files = [path for path in sorted(copy.rglob("*")) if path.is_file()] if copy.is_dir() else [copy]
    files = [path for path in files if path.stat().st_size]  # an empty lock file
    generator = random.Random(name)
    for number in range(places):
        path = files[number % len(files)]
        content = path.read_bytes()
        damaged = _damaged(content, generator)
        path.write_bytes(damaged)
        found = verify(copy)
        assert found, f"{path}: {len(content)} bytes became {len(damaged)}"
        # Only a model card may be edited, and a teacher's last, torn block is computed again.
        assert found[0].fatal or path.name == "README.md" or name == "teacher"
        path.write_bytes(content)
    assert verify(copy) == []


@pytest.mark.parametrize("name", [*NAMES[:4], "pairs", "converted encoder"])
def test_missing_and_added_files_links_and_pipes_are_found(
    made: dict[str, Any], tmp_path: Path, name: str
) -> None:
    import os

    source, verify = made[name]
    for number, path in enumerate(sorted(path for path in source.rglob("*") if path.is_file())):
        copy = tmp_path / str(number) / source.name
        shutil.copytree(source, copy)
        victim = copy / path.relative_to(source)
        card = path.name == "README.md"
        victim.rename(tmp_path / "aside")
        assert any(problem.fatal != card for problem in verify(copy)), path
        victim.symlink_to(tmp_path / "aside")
        assert any(problem.fatal for problem in verify(copy)), path
        victim.unlink()
        victim.mkdir()
        assert any(problem.fatal != card for problem in verify(copy)), path
        victim.rmdir()
        os.mkfifo(victim)
        assert any(problem.fatal != card for problem in verify(copy)), path
        shutil.rmtree(copy)
    copy = shutil.copytree(source, tmp_path / "whole" / source.name)
    (copy / "model.py").write_text("")
    assert any(problem.fatal for problem in verify(copy))


def test_what_nothing_reads_is_only_said(native: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(native, tmp_path / "bundle")
    (copy / ".DS_Store").write_bytes(b"\0")
    (copy / ".git").mkdir()
    (copy / ".git" / "config").write_text("")
    (copy / "notes.md").write_text("mine")
    found = verify_bundle(copy)
    assert {Path(problem.file).name for problem in found} == {".DS_Store", "config", "notes.md"}
    assert not any(problem.fatal for problem in found)


def test_a_damaged_entry_of_the_cache_is_made_anew_aloud(tmp_path: Path) -> None:
    target = tmp_path / "vectors" / "a.npy"
    made = []

    def make(part: Path) -> None:
        made.append(part)
        _numbers(part)

    for _ in range(2):
        cached_file(target, make)
    assert len(made) == 1
    whole = target.read_bytes()
    for number, content in enumerate((whole[:-3], b"", whole[:40] + b"\0" + whole[41:]), 2):
        target.write_bytes(content)
        cache_entries._sound.clear()  # a clock may be too coarse to tell that the file was written once more
        with pytest.warns(CacheWarning, match="It is made anew"):
            cached_file(target, make)
        assert len(made) == number
        assert target.read_bytes() == whole


def test_a_full_disk_is_one_message_that_names_the_cache(tmp_path: Path) -> None:
    def full(part: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for cached in (cached_file, cached_folder):
        with pytest.raises(
            DataError, match=r"cache cannot be written \(No space left on device\).*TOCSIN_CACHE"
        ):
            cached(tmp_path / "tokens" / "a", full)
    assert list((tmp_path / "tokens").iterdir()) == []

    def elsewhere(part: Path) -> None:
        (tmp_path / "absent").read_text()

    with pytest.raises(FileNotFoundError):
        cached_file(tmp_path / "tokens" / "a", elsewhere)


def test_json_is_bounded() -> None:
    for content in (
        b"[" * 100_000,
        b"[" + b"1," * 2_000_000 + b"1]",
        b" " * (1 << 25),
        b"\xff",
        b"1e999",
        b"NaN",
    ):
        with pytest.raises(ValueError, match=r".+"):
            bounded_json(content)


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_a_small_file_that_unpacks_to_gigabytes_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool, typed: bool
) -> None:
    path = tmp_path / "scores.parquet"
    rows = 20_000
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 500_000]))
    wide = pa.table({"id": words, "logit.a": np.zeros(rows, np.float32)})
    write_parquet(wide, path) if ours else pq.write_table(wide, path)
    if not typed:  # the column counts as text, and is a dictionary on the disk alone
        pq.write_table(wide, path, store_schema=False)
    assert path.stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match=r"would take 10,000,\d+ bytes|would take 10,000,000,000"):
        read_parquet(path)
    assert pa.total_allocated_bytes() - before < 50_000_000
    monkeypatch.setattr(parquet_files, "_ROOM", 1 << 20)
    long = pa.table({"id": pa.array(np.zeros(2_000_000, np.int8))})
    write_parquet(long, path) if ours else pq.write_table(long, path)
    with pytest.raises(DataError, match="is not unpacked"):
        read_parquet(path)
