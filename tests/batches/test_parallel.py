"""ParallelSentences: steps, ranks, sides of splits, keys of caches, and refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.batches.conftest import Reading
from tests.batches.test_pair_corpus import Given, given_pairs
from tests.builders import tiny_tokenizer
from tocsin.batches.parallel import ParallelSentences
from tocsin.batches.position import ResumeWarning
from tocsin.batches.protocols import ServesPairs
from tocsin.errors import ConfigError, DataError
from tocsin.text.cleaners import TweetCleaner
from tocsin.text.pair_table import PairTable

# The DataModule ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pairs")
    paths = {}
    for number, name in enumerate("ab"):
        columns = zip(*given_pairs(90, number), strict=True)
        table = pa.table(dict(zip(("english", "text", "lang"), map(list, columns), strict=True)))
        pq.write_table(table, folder / f"{name}.parquet")
        paths[name] = str(folder / f"{name}.parquet")
    return paths


def data_of(
    files: dict[str, str], cache: Path, tokenizer: Any, rank: int = 0, world: int = 1, **options: Any
) -> Any:
    settings = {
        "held_out": 6,
        "held_out_share": 0.2,
        "batch_size": 8,
        "tokens_per_pass": 48,
        "seed": 3,
        **options,
    }
    data = ParallelSentences(
        {name: PairTable(path) for name, path in files.items()}, cache=str(cache), **settings
    )
    reading: Any = Reading(tokenizer, prompt="help ")
    reading.global_rank, reading.world_size = rank, world
    reading.strategy = SimpleNamespace(root_device=SimpleNamespace(type="cpu"))
    data.trainer = reading
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("pool", [1, 3])
@pytest.mark.parametrize("world", [1, 2])
def test_a_step_holds_its_pairs_and_each_english_sentence_once(
    files: dict[str, str], cache: Path, tokenizer: Any, world: int, pool: int
) -> None:
    ranks = [data_of(files, cache, tokenizer, rank, world, pool_steps=pool) for rank in range(world)]
    assert isinstance(ranks[0], ServesPairs)
    corpus = ranks[0].pairs()
    texts = [text for block in corpus.texts("text-train", 100) for text in block]
    english = corpus.english().to_pylist()
    total = 0
    seen: Counter[int] = Counter()
    for steps in zip(*(data.train_dataloader() for data in ranks), strict=True):
        pairs = steps[0].pairs
        total += pairs
        rows, numbers, weights = (
            np.concatenate([getattr(part, name).numpy() for step in steps for part in step.passes])
            for name in ("rows_B", "english_B", "weight_B")
        )
        assert weights.sum() == 2 * pairs
        translations = rows[rows >= 0]
        assert len(translations) == pairs == len(set(translations.tolist()))
        seen.update(translations.tolist())
        sides = Counter(corpus.train_english[translations].tolist())
        assert {
            int(n): int(w) for n, w, row in zip(numbers, weights, rows, strict=True) if row < 0 and w
        } == sides
        assert numbers[rows >= 0].tolist() == corpus.train_english[translations].tolist()
        for step in steps:
            assert step.pairs == pairs
            for part in step.passes:
                lengths = part.mask_BT.sum(1)
                assert part.input_ids_BT.numel() <= 48 or len(lengths) == 1
                assert int(lengths.max()) == part.input_ids_BT.shape[1]
                for ids, mask, row, number in zip(
                    part.input_ids_BT,
                    part.mask_BT,
                    part.rows_B.tolist(),
                    part.english_B.tolist(),
                    strict=True,
                ):
                    sentence = texts[row] if row >= 0 else english[number]
                    wanted = tokenizer("help " + sentence)["input_ids"]
                    assert ids[mask.bool()].tolist() == wanted
                    assert (ids[~mask.bool()] == tokenizer.pad_token_id).all()
    assert total == len(texts) == len(seen)
    assert set(seen.values()) == {1}


def test_a_rank_without_a_sentence_gets_a_filler(files: dict[str, str], cache: Path, tokenizer: Any) -> None:
    one = data_of(files, cache, tokenizer, rank=2, world=3, batch_size=3, pairs_per_epoch=1)
    (step,) = one.train_dataloader()
    (part,) = step.passes
    assert (part.rows_B.tolist(), part.weight_B.tolist(), step.pairs) == ([-1], [0.0], 1)


def test_a_budget_goes_on_where_the_epoch_before_stopped(
    files: dict[str, str], cache: Path, tokenizer: Any
) -> None:
    data = data_of(files, cache, tokenizer, pairs_per_epoch=20)
    loader = data.train_dataloader()
    assert len(loader) == 3
    seen: list[int] = []
    while len(seen) < len(data.pairs().train_english) - 20:
        seen += [int(row) for step in loader for part in step.passes for row in part.rows_B if row >= 0]
    assert len(seen) > 100
    # Each group's pairs come in rounds; with quotas that are rounded, one pair or another may begin its second.
    assert sum(count > 1 for count in Counter(seen).values()) <= len(data.pairs().groups)


def test_the_teacher_is_asked_for_the_pairs_that_are_drawn_alone(
    files: dict[str, str], cache: Path, tokenizer: Any
) -> None:
    data = data_of(files, cache, tokenizer, pairs_per_epoch=12, pool_steps=2)
    everything = data.pairs().english_rows("train").tolist()
    assert data.english_rows("train").tolist() == everything  # nobody knows where a fit without epochs ends
    data.trainer.max_epochs = 2
    loader = data.train_dataloader()
    seen = {int(n) for _ in range(2) for step in loader for part in step.passes for n in part.english_B}
    assert data.english_rows("train").tolist() == sorted(seen)
    assert len(seen) < len(everything) / 2
    resumed = data_of(files, cache, tokenizer, pairs_per_epoch=12, pool_steps=2)
    resumed.trainer.max_epochs = 1
    resumed.load_state_dict({**loader.batch_sampler.state_dict(), "seed": 99, "epoch": 0, "step": 0})
    asked = resumed.english_rows("train").tolist()  # a checkpoint's seed decides what is drawn
    with pytest.warns(ResumeWarning, match="the seed was 99 and is"):
        loader = resumed.train_dataloader()
    again = {int(n) for step in loader for part in step.passes for n in part.english_B}
    assert (
        asked == sorted(again) == resumed.english_rows("train").tolist()
    )  # before the loader is made, and after
    assert again - seen
    data.trainer.max_epochs = 1000
    assert data.english_rows("train").tolist() == everything


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("side", ["text", "english"])
def test_sides_are_covered_once_longest_first(
    files: dict[str, str], cache: Path, tokenizer: Any, split: str, side: str
) -> None:
    data = data_of(files, cache, tokenizer)
    corpus = data.pairs()
    parts = list(data.sentence_passes(split, side))
    lengths = [int(part.mask_BT.sum(1).max()) for part in parts]
    assert lengths == sorted(lengths, reverse=True)
    assert all(part.input_ids_BT.numel() <= 48 or len(part.rows_B) == 1 for part in parts)
    rows = [int(row) for part in parts for row in part.rows_B]
    numbers = [int(number) for part in parts for number in part.english_B]
    if side == "english":
        assert sorted(numbers) == data.english_rows(split).tolist()
        weights = {int(n): int(w) for p in parts for n, w in zip(p.english_B, p.weight_B, strict=True)}
        pairs = corpus.train_english if split == "train" else data.validation_pairs()["english"].to_numpy()
        assert weights == Counter(pairs.tolist())
    else:
        of = corpus.train_english if split == "train" else data.validation_pairs()["english"].to_numpy()
        assert sorted(rows) == list(range(len(of)))
        assert numbers == [int(of[row]) for row in rows]


def test_held_out_passes_are_shared_by_the_ranks(files: dict[str, str], cache: Path, tokenizer: Any) -> None:
    loaders = [data_of(files, cache, tokenizer, rank, 2).val_dataloader() for rank in range(2)]
    data = data_of(files, cache, tokenizer)
    parts = [part for loader in loaders for part in loader]
    rows = sorted(int(row) for part in parts for row in part.rows_B if row >= 0)
    english = sorted(int(n) for p in parts for n, row in zip(p.english_B, p.rows_B, strict=True) if row < 0)
    assert rows == list(range(data.validation_pairs().num_rows))
    assert english == data.english_rows("validation").tolist()


def test_pieces_in_use_are_those_of_the_training_split(
    files: dict[str, str], cache: Path, tokenizer: Any
) -> None:
    data = data_of(files, cache, tokenizer)
    used = {
        int(piece)
        for side in ("text", "english")
        for part in data.sentence_passes("train", side)
        for ids, mask in zip(part.input_ids_BT, part.mask_BT, strict=True)
        for piece in ids[mask.bool()]
    }
    assert data.pieces_in_use().tolist() == sorted(used)


def test_the_position_is_refused_elsewhere(files: dict[str, str], cache: Path, tokenizer: Any) -> None:
    data = data_of(files, cache, tokenizer)
    data.train_dataloader()
    sampler = data._sampler
    state = {**sampler.state_dict(), "step": 2}
    for options, told in (
        ({"batch_size": 4}, "batch_size"),
        ({"sampling": "equal"}, "how they are drawn"),
        ({"cap": 3}, "how they are drawn"),
    ):
        other = data_of(files, cache, tokenizer, **options)
        other.load_state_dict(state)
        with pytest.raises(ConfigError, match=told):
            other.train_dataloader()
    whole = list(sampler)
    sampler.load_state_dict(state)
    rest = list(sampler)
    assert [p.rows_B.tolist() for s in whole[2:] for p in s] == [p.rows_B.tolist() for s in rest for p in s]


def test_what_is_known_of_the_pairs_stands_in_the_record_and_the_table(
    files: dict[str, str], cache: Path, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(files, cache, tokenizer, max_length=5)
    record = data.provenance()
    assert set(record["files"]) == {Path(name).name for name in files.values()}
    assert record["pairs"]["train"] == data.counts().get("train")
    assert record["truncated"]["text-train"] == int(data._store("text-train").truncated.sum()) > 0
    from rich.console import Console

    console = Console(width=150)
    console.print(data.counts().render())
    shown = capsys.readouterr().out
    assert f" {data.counts().get('train'):,} " in shown
    assert "length ratio" not in shown


# Keys ----------------------------------------------------------------------------------------------------------------

CHANGES: dict[str, dict[str, Any]] = {
    "languages": {"languages": ["a", "b"]},
    "languages_as": {"languages_as": {"a": "b"}},
    "cleaner": {"cleaner": TweetCleaner()},
    "on_bad_pair": {"on_bad_pair": "skip"},
    "max_characters": {"max_characters": 60},
    "max_length_ratio": {"max_length_ratio": 50.0},
    "drop_identical": {"drop_identical": False},
    "cap": {"cap": 10},
    "held_out": {"held_out": 5},
    "held_out_share": {"held_out_share": 0.1},
    "seed": {"seed": 4},
}
TOKEN_CHANGES: dict[str, dict[str, Any]] = {"max_length": {"max_length": 9}}
NO_CHANGES: dict[str, dict[str, Any]] = {
    "max_unknown": {"max_unknown": 0.9},
    "sampling": {"sampling": "equal", "alpha": 0.1, "source_alpha": 0.2, "pairs_per_epoch": 7},
    "steps": {"batch_size": 4, "tokens_per_pass": 99, "pool_steps": 2},
}


def keys_of(data: Any) -> tuple[str, set[str]]:
    return data._pairs_key, {store.path.name for store in data._stores.values()}


def test_every_option_has_its_place_in_the_keys() -> None:
    known = set(ParallelSentences.__init__.__annotations__) - {"return", "sources", "cache"}
    assert known == {*CHANGES, *TOKEN_CHANGES, *(key for change in NO_CHANGES.values() for key in change)}


@pytest.mark.parametrize(
    "change",
    [*CHANGES.values(), *TOKEN_CHANGES.values(), *NO_CHANGES.values()],
    ids=[*CHANGES, *TOKEN_CHANGES, *NO_CHANGES],  # the same in every worker: an object's address is not
)
def test_a_changed_option_misses_and_only_then(
    files: dict[str, str], cache: Path, tokenizer: Any, change: dict[str, Any]
) -> None:
    before, after = (
        keys_of(data_of(files, cache, tokenizer)),
        keys_of(data_of(files, cache, tokenizer, **change)),
    )
    name = next(iter(change))
    assert (before[0] != after[0]) == (name in CHANGES)
    assert before[1].isdisjoint(after[1]) == (name in CHANGES or name in TOKEN_CHANGES)


def test_changed_files_readers_tokenizers_and_prompts_miss(
    files: dict[str, str], cache: Path, tokenizer: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "a.parquet"
    table = pq.read_table(files["a"])
    pq.write_table(table, copy)
    keys = set()
    for columns in ({}, {"english": "text", "text": "english"}):
        data = ParallelSentences({"a": PairTable(str(copy), **columns)}, cache=str(cache))
        data.pairs()
        keys.add(data._pairs_key)
    pq.write_table(table.slice(0, table.num_rows - 1), copy)
    data = ParallelSentences({"a": PairTable(str(copy))}, cache=str(cache))
    data.pairs()
    keys.add(data._pairs_key)
    assert len(keys) == 3
    first = data_of(files, cache, tokenizer)
    other = data_of(files, cache, tiny_tokenizer(tmp_path / "words", kind="words"))
    assert other._pairs_key == first._pairs_key
    assert keys_of(other)[1].isdisjoint(keys_of(first)[1])
    first._stores = {}
    first.trainer.prompt = "query: "
    first.setup("fit")
    assert keys_of(first)[1].isdisjoint(keys_of(data_of(files, cache, tokenizer))[1])


def test_a_reading_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    class Torn(Given):
        def batches(self, on_bad_row: Any = None) -> Iterator[pa.RecordBatch]:
            yield from super().batches()
            if (tmp_path / "torn").exists():
                raise KeyboardInterrupt

    pairs = given_pairs(40, 0)
    (tmp_path / "torn").touch()
    # Named files: else all pairs are read for the key already.
    Torn.files = lambda self: [Path(__file__)]  # type: ignore[method-assign]
    data = ParallelSentences({"a": Torn(pairs)}, cache=str(tmp_path / "cache"))
    with pytest.raises(KeyboardInterrupt):
        data.pairs()
    assert list((tmp_path / "cache" / "pairs").iterdir()) == []
    (tmp_path / "torn").unlink()
    assert data.counts().get("read") == 40


def test_pairs_that_cannot_be_read_end_the_reading_or_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("english\ttext\tlang\nSend water\tEau\tfr\nHelp\t\tfr\nRoad\tRoute\tfr\n")
    sources = {"a": PairTable(str(file))}
    with pytest.raises(DataError, match=r"pairs.tsv, row 2: column 'text' is empty"):
        ParallelSentences(sources, cache=str(tmp_path)).pairs()
    data = ParallelSentences(sources, on_bad_pair="skip", cache=str(tmp_path))
    assert (data.counts().get("unreadable"), data.counts().get("train"), data.counts().get("read")) == (
        1,
        2,
        3,
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cap": 0}, "cap is 0"),
        ({"held_out": -1}, "held_out is -1"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"max_length_ratio": float("nan")}, "max_length_ratio is nan"),
        ({"languages": []}, "languages is empty"),
        ({"sources": {}}, "sources is empty"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ParallelSentences(**{"sources": {"a": PairTable("a.tsv")}, **options})
