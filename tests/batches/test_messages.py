"""LabelledMessages from files to loaders: what is read, what is refused, and when the token cache is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.builders import LABELS, message_file, messages, tiny_data, tiny_tokenizer
from tocsin.batches.corpus import choose_rows
from tocsin.batches.messages import LabelledMessages, SplitWarning
from tocsin.errors import ConfigError, DataError, LabelError
from tocsin.labels.schemes import Columns
from tocsin.text.cleaners import Cleaner, TweetCleaner
from tocsin.text.readers import CsvReader
from tocsin.text.reading import DataWarning
from tocsin.text.splitters import GivenSplit, GroupedSplit


class Suffix(Cleaner):
    """Puts a word behind each text."""

    def __init__(self, word: str = "") -> None:
        self.word = word

    def clean(self, text: str) -> str:
        return text + self.word


def ids_of(data: Any, split: str) -> set[str]:
    corpus = data.corpus()
    return set(corpus.table["id"].take(pa.array(corpus.rows(split))).to_pylist())


# Files -------------------------------------------------------------------------------------------------------------


class Frame:
    """Looks like a table in memory."""

    columns = ("text", "water")

    def __iter__(self) -> Any:
        return iter(self.columns)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "train is null; wanted is the path of a message file"),
        (float("nan"), "train is nan"),
        (Frame(), r"train is a Frame; .* Write a table to a file first: frame.to_parquet\('train.parquet'\)"),
        ([Frame()], "train is a Frame"),
        (pa.table({"text": ["secret"]}), "train is a Table"),
        ([], "train is an empty list"),
        (["a.csv", None], "train is null"),
        ("", "train is ''"),
        (b"a.csv", "train is a bytes"),
        (7, "train is 7"),
    ],
)
def test_what_is_no_file_is_named(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        LabelledMessages(Columns(["water"]), train=given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_splits_may_be_null_but_nothing_else(split: str) -> None:
    LabelledMessages(Columns(["water"]), train="a.csv", **{split: None})
    with pytest.raises(ConfigError, match=f"{split} is a Frame"):
        LabelledMessages(Columns(["water"]), train="a.csv", **{split: Frame()})


def test_a_text_is_no_file() -> None:
    with pytest.raises(DataError, match="no data file 'we need water'"):
        LabelledMessages(Columns(["water"]), train="we need water").corpus()
    for text in ("we need water " * 400, "water \ud83d", "a\x00b"):
        with pytest.raises(ConfigError, match=r"train is .*wanted is the path of a message file") as caught:
            LabelledMessages(Columns(["water"]), train=text)
        str(caught.value).encode("utf-8")
        assert len(str(caught.value)) < 300


def test_a_path_is_a_file_and_so_are_several(tmp_path: Path) -> None:
    path = message_file(tmp_path / "m.parquet", messages(20))
    for given in (path, [path], (str(path),)):
        assert (
            len(LabelledMessages(Columns(["water"]), train=given, splitter=GivenSplit()).corpus().table) == 20
        )  # type: ignore[arg-type]


# Choosing rows -------------------------------------------------------------------------------------------------------


def test_rows_are_chosen_by_their_id_never_by_their_position() -> None:
    ids = pa.array([f"m{number}" for number in range(60)])
    names = np.array(["train"] * 40 + ["test"] * 20, dtype=object)
    kept = choose_rows(ids, names, {"train": 10}, seed=1)
    chosen = {ids[int(row)].as_py() for row in np.flatnonzero(kept == "train")}
    assert len(chosen) == 10
    assert (kept == "test").sum() == 20
    order = np.random.default_rng(0).permutation(60)
    moved = choose_rows(ids.take(pa.array(order)), names[order], {"train": 10}, seed=1)
    assert {ids[int(order[row])].as_py() for row in np.flatnonzero(moved == "train")} == chosen
    assert np.flatnonzero(choose_rows(ids, names, {"train": 10}, seed=2) == "train").tolist() != sorted(
        np.flatnonzero(kept == "train").tolist()
    )
    assert max(np.flatnonzero(kept == "train")) > 12  # not the first ten


def test_a_larger_limit_only_adds_rows() -> None:
    ids = pa.array([f"m{number}" for number in range(50)])
    names = np.full(50, "train", dtype=object)
    few, more = (set(np.flatnonzero(choose_rows(ids, names, {"train": n}, 0) == "train")) for n in (5, 9))
    assert few < more
    assert (choose_rows(ids, names, {"train": 500}, 0) == "train").all()
    assert not (choose_rows(ids, names, {"train": 0}, 0) == "train").any()


def test_limits_hold_for_each_split_and_stand_in_the_facts(file: Path) -> None:
    data = tiny_data(file, max_messages={"train": 12, "test": 5})
    assert data.corpus().counts() == {"train": 12, "validation": 24, "test": 5}
    assert data.corpus().limits == {"train": 12, "test": 5}
    assert ids_of(tiny_data(file, max_messages={"train": 12}), "train") == ids_of(data, "train")
    assert ids_of(tiny_data(file, max_messages={"train": 12}, seed=8), "train") != ids_of(data, "train")


# Reading -------------------------------------------------------------------------------------------------------------


def test_targets_and_prior_are_those_of_the_file(file: Path) -> None:
    corpus = tiny_data(file).corpus()
    rows = messages()
    wanted = np.array([[np.nan if row[name] is None else row[name] for name in LABELS] for row in rows])
    np.testing.assert_array_equal(corpus.targets_NL, wanted.astype(np.float32))
    train = np.array([row["split"] == "train" for row in rows])
    np.testing.assert_allclose(corpus.prior(), np.nanmean(wanted[train], axis=0))
    assert corpus.rows("validation").tolist() == [
        n for n, row in enumerate(rows) if row["split"] == "validation"
    ]


def test_the_prior_of_a_label_that_no_training_message_knows_is_nan(tmp_path: Path) -> None:
    rows = [{**row, "fire": None if row["split"] == "train" else row["fire"]} for row in messages(30)]
    prior = tiny_data(message_file(tmp_path / "m.parquet", rows)).corpus().prior()
    assert np.isnan(prior).tolist() == [False, False, True]


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_other_files_say_the_same(tmp_path: Path, ending: str) -> None:
    first = tiny_data(message_file(tmp_path / "m.parquet")).corpus()
    second = tiny_data(message_file(tmp_path / f"m{ending}")).corpus()
    np.testing.assert_array_equal(first.targets_NL, second.targets_NL)
    assert first.split_names.tolist() == second.split_names.tolist()
    assert first.table["text"].to_pylist() == second.table["text"].to_pylist()


def test_empty_texts_are_dropped_and_counted_or_kept(tmp_path: Path, ready: Any) -> None:
    rows = messages(30)
    rows[3]["text"], rows[5]["text"], rows[6]["text"] = "", "@somebody http://x.y", None
    path = message_file(tmp_path / "m.parquet", rows)
    dropped = tiny_data(path, cleaner=TweetCleaner()).corpus()
    assert len(dropped.table) == 27
    assert (dropped.facts["dropped_empty"], dropped.facts["null_texts"]) == (3, 1)
    with pytest.warns(SplitWarning):  # three empty texts are three equal texts
        kept = ready(tiny_data(path, cleaner=TweetCleaner(), on_empty="keep"))
    assert len(kept.corpus().table) == 30
    assert kept.corpus().facts["kept_empty"] == 3
    assert kept._store()[3].tolist() == [0, 2]  # nothing but the special tokens
    assert sum(len(part.rows_B) for part in kept.passes(kept.rows("train"))) == len(kept.rows("train"))


def separate_files(folder: Path) -> dict[str, Any]:
    rows = messages(60)
    return {
        split: str(message_file(folder / f"{split}.parquet", [row for row in rows if row["split"] == split]))
        for split in ("train", "validation", "test")
    }


def test_separate_files_are_separate_splits(tmp_path: Path) -> None:
    files = separate_files(tmp_path)
    data = LabelledMessages(Columns(list(LABELS)), **files)
    assert data.splitter is None
    assert data.corpus().counts() == {"train": 36, "validation": 12, "test": 12}
    assert set(data.provenance()["files"]) == {Path(name).name for name in files.values()}
    files["train"] = [files["train"], str(message_file(tmp_path / "more.parquet", messages(7, seed=9)))]
    more = LabelledMessages(Columns(list(LABELS)), **files)
    assert more.corpus().counts()["train"] == 43
    assert len(set(more.corpus().table["id"].to_pylist())) == 67


def test_texts_that_cross_files_are_counted_aloud(tmp_path: Path) -> None:
    rows = messages(20)
    train = message_file(tmp_path / "train.parquet", rows[:12])
    test = message_file(tmp_path / "test.parquet", [*rows[12:], {**rows[0], "text": rows[0]["text"].upper()}])
    data = LabelledMessages(Columns(list(LABELS)), str(train), test=str(test))
    with pytest.warns(SplitWarning, match="1"):
        assert data.corpus().crossing
    assert data.provenance()["crossing"] == data.corpus().crossing


def test_one_file_in_two_splits_is_refused(file: Path) -> None:
    with pytest.raises(
        DataError, match=r"messages\.parquet: named more than once in train, validation and test"
    ):
        LabelledMessages(Columns(list(LABELS)), str(file), validation=str(file)).corpus()


def test_one_file_without_a_splitter_is_split_by_duplicates(file: Path) -> None:
    data = LabelledMessages(Columns(list(LABELS)), str(file))
    assert isinstance(data.splitter, GroupedSplit)
    assert min(data.corpus().counts().values()) > 0


def test_a_splitter_beside_separate_files_is_refused(file: Path) -> None:
    for name in ("validation", "test"):
        with pytest.raises(ConfigError, match="Leave out one or the other"):
            LabelledMessages(Columns(list(LABELS)), str(file), splitter=GivenSplit(), **{name: "other.csv"})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("batch_size", 0, "batch_size is 0; wanted at least 1"),
        ("max_length", 0, "max_length is 0; wanted at least 1"),
        ("pool_steps", -2, "pool_steps is -2; wanted at least 1"),
        ("tokens_per_pass", 0, "tokens_per_pass is 0; wanted at least 1, or null"),
        ("max_messages", {"dev": 3}, "max_messages names 'dev'; the splits are train, validation, test"),
        ("max_messages", {"train": -1}, "max_messages of train is -1; wanted at least 0"),
    ],
)
def test_a_bad_setting_is_refused_when_it_is_made(file: Path, setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_data(file, **{setting: value})


def test_nothing_is_read_before_it_is_asked_for() -> None:
    LabelledMessages(Columns(list(LABELS)), "absent.parquet")


def test_nothing_to_train_or_test_on_is_an_error_with_counts(tmp_path: Path) -> None:
    rows = [{**row, "split": "validation"} for row in messages(10)]
    data = tiny_data(message_file(tmp_path / "m.parquet", rows))
    with pytest.raises(DataError, match="no message is left in train or test: 10 were read, 0 dropped"):
        data.corpus()


def test_an_unknown_label_is_refused_with_a_hint(file: Path) -> None:
    with pytest.raises((LabelError, DataError), match=r"(?s)watr.*'water'"):
        tiny_data(file, labels=Columns(["watr"])).corpus()


# Tokens --------------------------------------------------------------------------------------------------------------


def test_whatever_tokens_depend_on_is_in_the_cache_key(tmp_path: Path, ready: Any) -> None:
    rows = [{**row, "other": row["text"]} for row in messages(20)]
    path = message_file(tmp_path / "m.parquet", rows)
    changed = message_file(tmp_path / "n.parquet", [{**row, "water": 1 - row["water"]} for row in rows])
    prepared = {
        "as it is": ready(tiny_data(path)),
        "cleaner": ready(tiny_data(path, cleaner=TweetCleaner())),
        "another cleaner": ready(tiny_data(path, cleaner=Suffix())),
        "a cleaner's argument": ready(tiny_data(path, cleaner=Suffix(" "))),
        "prompt": ready(tiny_data(path), prompt="query: "),
        "length": ready(tiny_data(path, max_length=31)),
        "tokenizer": ready(tiny_data(path), other=tiny_tokenizer(tmp_path / "words", kind="words")),
        "bytes": ready(tiny_data(changed)),
        "text column": ready(tiny_data(path, text="other")),
        "empty texts": ready(tiny_data(path, on_empty="keep")),
    }
    keys = {name: data.tokens_key() for name, data in prepared.items()}
    assert len(set(keys.values())) == len(keys), keys
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == len(keys)


def test_a_cleaner_whose_code_changed_misses(file: Path, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ready(tiny_data(file, cleaner=Suffix("a"))).tokens_key()
    monkeypatch.setattr(Suffix, "clean", lambda self, text: text + self.word * 2)
    assert ready(tiny_data(file, cleaner=Suffix("a"))).tokens_key() != before


def test_a_reader_that_reads_otherwise_misses(tmp_path: Path, ready: Any) -> None:
    path = message_file(tmp_path / "m.csv")
    default, named = ready(tiny_data(path)), ready(tiny_data(path, reader=CsvReader()))
    assert default.tokens_key() == named.tokens_key()


def test_what_tokens_do_not_depend_on_finds_them_again(
    file: Path, ready: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready(tiny_data(file))
    from tocsin.batches import cache

    monkeypatch.setattr(cache, "_tokenise", None)  # would fail: nothing may be tokenised again
    others = {
        "batch_size": 5,
        "seed": 1,
        "splitter": GroupedSplit(),
        "labels": Columns(["food"]),
        "pool_steps": 3,
    }
    again = ready(tiny_data(file, max_messages={"train": 9}, **others))
    assert again.tokens_key() == first.tokens_key()


def test_tokens_are_the_tokenizers_own(file: Path, ready: Any, tokenizer: Any) -> None:
    data = ready(tiny_data(file, max_length=9), prompt="help ")
    given = ["help " + text for text in data.corpus().table["text"].to_pylist()]
    wanted = tokenizer(given, truncation=True, max_length=9)["input_ids"]
    assert [data._store()[row].tolist() for row in range(len(wanted))] == wanted
    used = {piece for row in data.rows("train") for piece in wanted[row]}
    assert data.pieces_in_use().tolist() == sorted(used)


def test_passes_cover_the_rows_once_with_their_own_targets(file: Path, ready: Any) -> None:
    data = ready(tiny_data(file))
    rows = data.rows("test")
    seen: list[int] = []
    for part in data.passes(rows):
        assert part.input_ids_BT.numel() <= 64 or len(part.rows_B) == 1
        wanted = data.corpus().targets_NL[part.rows_B.numpy()]
        np.testing.assert_array_equal(part.known_BL.numpy(), ~np.isnan(wanted))
        np.testing.assert_array_equal(part.targets_BL.numpy(), np.nan_to_num(wanted))
        seen += part.rows_B.tolist()
    assert sorted(seen) == rows.tolist()


def test_rows_are_described_for_the_scores_table(tmp_path: Path, ready: Any) -> None:
    rows = [{**row, "genre": "news" if n % 2 else "direct"} for n, row in enumerate(messages(20))]
    path = message_file(tmp_path / "m.parquet", rows)
    described = ready(tiny_data(path, slices=["genre"])).describe(np.array([3, 1]))
    assert described["ids"].tolist() == ["m3", "m1"]
    assert described["langs"].tolist() == ["eng", "spa"]
    assert {name: values.tolist() for name, values in described["slices"].items()} == {
        "genre": ["news", "news"]
    }
    assert ready(tiny_data(path, lang=None)).describe(np.array([0]))["langs"] is None


# Loaders -------------------------------------------------------------------------------------------------------------


def test_the_training_loader_gives_whole_steps(file: Path, ready: Any) -> None:
    data = ready(tiny_data(file))
    steps = list(data.train_dataloader())
    assert [sum(len(part.rows_B) for part in step.passes) for step in steps] == [8] * 9
    seen = sorted(int(row) for step in steps for part in step.passes for row in part.rows_B)
    assert seen == data.rows("train").tolist()


def test_evaluation_loaders_give_each_row_once(file: Path, ready: Any) -> None:
    data = ready(tiny_data(file))
    for split, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        assert sorted(int(row) for part in loader for row in part.rows_B) == data.rows(split).tolist()


def test_a_ranks_filler_is_no_row_of_the_corpus(file: Path, ready: Any) -> None:
    data = ready(tiny_data(file, batch_size=71))
    data.trainer.world_size = 2
    fillers = []
    for rank in range(2):
        data.trainer.global_rank = rank
        last = list(data.train_dataloader())[-1]
        fillers += [part for part in last.passes if -1 in part.rows_B.tolist()]
    assert [part.rows_B.tolist() for part in fillers] == [[-1]]
    assert float(fillers[0].known_BL.sum()) == 0
    assert int(fillers[0].mask_BT.sum()) > 0


def test_an_empty_training_split_is_named_an_empty_evaluation_is_none(tmp_path: Path, ready: Any) -> None:
    rows = [{**row, "split": "test"} for row in messages(10)]
    data = ready(tiny_data(message_file(tmp_path / "m.parquet", rows)))
    with pytest.raises(DataError, match=r"the training split holds no message. Look at the splitter"):
        data.train_dataloader()
    assert data.val_dataloader() == []


def test_tokens_before_setup_and_a_model_without_a_tokenizer_are_refused(file: Path) -> None:
    data = tiny_data(file)
    with pytest.raises(ConfigError, match="not tokenised yet"):
        data.pieces_in_use()
    with pytest.raises(ConfigError, match=r"NoneType offers none. Use MultilabelClassifier"):
        data.prepare_data()
    assert data.state_dict() == {}


@pytest.mark.parametrize(
    "given", [pa.table({"text": ["fire"]}), {"text": "fire"}, 3, [None], [["a.csv"]], b"a.csv"]
)
def test_what_is_no_file_name_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="wanted is the path of a message file"):
        LabelledMessages(Columns(list(LABELS)), train=given)


def test_one_file_or_several_by_name_or_path() -> None:
    for given in ("a.csv", Path("a.csv"), ["a.csv"], ("a.csv",), [Path("a.csv")]):
        assert LabelledMessages(Columns(list(LABELS)), train=given).files["train"] == ["a.csv"]  # type: ignore[arg-type]


def test_rows_that_cannot_be_read_are_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    rows = "".join(f"{n},text number {n},{n % 2}\n" for n in range(40))
    path.write_bytes(b"id,text,flood\n" + rows.encode() + b"40,a,0,extra\n41,caf\xe9,1\n")
    with pytest.raises(DataError, match="row 41"):
        LabelledMessages(Columns(["flood"]), str(path)).corpus()
    with pytest.warns(DataWarning, match=r"2 rows cannot be read and are left out \(on_error: skip\)"):
        corpus = LabelledMessages(Columns(["flood"]), str(path), on_error="skip").corpus()
    assert len(corpus.table) == 40
    assert corpus.facts["skipped"] == 2
    path.write_bytes("id,text,flood\n1,é,0\n2,é,1\n".encode("cp1252"))
    with pytest.raises(DataError, match="none of its rows can be read"):
        LabelledMessages(Columns(["flood"]), str(path), on_error="skip").corpus()


def test_a_folder_of_files_and_columns_of_their_paths(tmp_path: Path) -> None:
    for event in ("fire", "flood"):
        (tmp_path / event).mkdir()
        rows = "".join(f"{event}-{n},text {event} {n},{n % 2}\n" for n in range(20))
        (tmp_path / event / "tweets.csv").write_text("id,text,flood\n" + rows)
    for name in (str(tmp_path), str(tmp_path / "*" / "tweets.csv")):
        data = LabelledMessages(Columns(["flood"]), name, path_columns={"event": "folder"})
        assert data.corpus().slices == ("event",)
        assert data.corpus().table["event"].to_pylist() == ["fire"] * 20 + ["flood"] * 20


def test_a_table_without_ids_is_told_how_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("text,flood\n" + "".join(f"text {n},{n % 2}\n" for n in range(20)))
    with pytest.raises(DataError, match=r"no column 'id'.*data\.init_args\.id.*`id: null`"):
        LabelledMessages(Columns(["flood"]), str(path)).corpus()
    assert len(LabelledMessages(Columns(["flood"]), str(path), id=None).corpus().table) == 20
