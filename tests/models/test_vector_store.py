"""The store of teachers' vectors: never a wrong one, whatever changed, was damaged or was cut short."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import tiny_encoder
from tests.pairs import MemoryPairs, tiny_teacher
from tocsin.errors import ConfigError, DataError
from tocsin.models import vector_store
from tocsin.models.pooling import ClsPooling, MaxPooling, MeanPooling
from tocsin.models.teacher import LoadedTeacher, Teacher
from tocsin.models.teacher_vectors import TeacherVectors
from tocsin.models.vector_store import VectorStore, sentence_keys

SENTENCES = [f"sentence {number}" for number in range(40)] + ["", "\ud800 lone", "ÿ\0"]


def vectors_of(sentences: list[str], width: int = 8) -> np.ndarray:
    """Made from the sentence, so that a wrong one shows."""
    return np.array(
        [np.frombuffer(sentence_keys([s]).tobytes(), dtype=np.uint8)[:width] for s in sentences],
        dtype=np.float32,
    )


def filled(folder: Path, sentences: list[str] = SENTENCES, block: int = 7) -> VectorStore:
    store = VectorStore(folder, 8)
    with store.writing() as append:
        for start in range(0, len(sentences), block):
            append(sentences[start : start + block], vectors_of(sentences[start : start + block]))
    return store


def found(store: VectorStore, sentences: list[str]) -> np.ndarray:
    """Places; those that are found must hold the right vector."""
    places = np.zeros(len(sentences), dtype=np.int64)
    store.find(sentence_keys(sentences), places)
    held = np.flatnonzero(places >= 0)
    if len(held):
        np.testing.assert_array_equal(store.vectors()[places[held]], vectors_of([sentences[i] for i in held]))
    return places


def test_what_was_kept_is_found_and_nothing_else(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert (found(store, SENTENCES[::-1]) >= 0).all()
    assert (found(store, ["never seen", "sentence 4 ", "Sentence 4"]) == -1).all()
    assert (found(VectorStore(tmp_path / "empty", 8), SENTENCES) == -1).all()
    assert found(store, []).tolist() == []


def test_parts_by_first_bits_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)
    whole = found(store, SENTENCES)
    monkeypatch.setattr(vector_store, "_PART", 3)
    assert np.array_equal(found(store, SENTENCES), whole)
    assert (found(store, ["never seen"]) == -1).all()


@settings(max_examples=60, deadline=None)
@given(
    place=st.integers(0, 10**6), bit=st.integers(0, 7), name=st.sampled_from(["vectors", "keys", "blocks"])
)
def test_a_flipped_bit_is_never_served(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, name: str
) -> None:
    """Whichever bit of whichever file: its block is lost, computed again, and the rest stands."""
    folder = tmp_path_factory.mktemp("store")
    store = filled(folder)
    content = bytearray((folder / name).read_bytes())
    content[place % len(content)] ^= 1 << bit
    (folder / name).write_bytes(content)
    lost = np.flatnonzero(found(store, SENTENCES) < 0)
    # A line of `blocks` may now reach into the blocks behind it.
    assert 0 < len(lost) <= (len(SENTENCES) if name == "blocks" else 7)
    with store.writing() as append:
        append([SENTENCES[i] for i in lost], vectors_of([SENTENCES[i] for i in lost]))
    assert (found(store, SENTENCES) >= 0).all()
    assert (found(VectorStore(folder, 8), SENTENCES) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(cuts=st.tuples(*(st.integers(0, 200) for _ in range(3))))
def test_a_kill_while_a_block_is_written_leaves_the_others(
    tmp_path_factory: pytest.TempPathFactory, cuts: tuple[int, int, int]
) -> None:
    """Files of any length beyond the last whole block, as a kill leaves them, and half a line of `blocks`."""
    folder = tmp_path_factory.mktemp("store")
    store = filled(folder, SENTENCES[:14])
    for name, cut in zip(("vectors", "keys", "blocks"), cuts, strict=True):
        with (folder / name).open("ab") as file:
            file.write(b"\x07" * min(cut, 31 if name == "blocks" else 200))
    assert (found(store, SENTENCES[:14]) >= 0).all()
    again = VectorStore(folder, 8)
    with again.writing() as append:
        append(SENTENCES[14:], vectors_of(SENTENCES[14:]))
    assert (found(again, SENTENCES) >= 0).all()


def test_missing_bytes_are_missing_vectors(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for name in ("vectors", "keys"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        lost = np.flatnonzero(found(store, SENTENCES) < 0)
        assert len(lost)
        with store.writing() as append:
            append([SENTENCES[i] for i in lost], vectors_of([SENTENCES[i] for i in lost]))
        assert (found(store, SENTENCES) >= 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 7e4])
def test_what_float16_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    store = VectorStore(tmp_path, 8)
    wrong = vectors_of(SENTENCES[:3])
    wrong[1, 2] = value
    with (
        store.writing() as append,
        pytest.raises(ConfigError, match="'sentence 1' holds a number that is not finite"),
    ):
        append(SENTENCES[:3], wrong)
    with store.writing() as append, pytest.raises(ConfigError, match="wanted the width 8"):
        append(SENTENCES[:3], wrong[:, :4])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match="TOCSIN_CACHE"),
        VectorStore(tmp_path / "file" / "store", 8).writing(),
    ):
        pass


# With a teacher ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def prepared(teacher: Teacher, data: Any = None) -> TeacherVectors:
    made = TeacherVectors(data or MemoryPairs(), teacher, show=False)
    made.prepare(["train", "validation"], "cpu")
    return made


def assert_right(made: TeacherVectors) -> None:
    """Against the teacher, one sentence at a time, within float16's rounding."""
    english = made.data.english().to_pylist()
    numbers = np.union1d(made.data.english_rows("train"), made.data.english_rows("validation"))
    loaded = made.teacher.load()
    wanted = np.concatenate([loaded.vectors([english[number]], 1000) for number in numbers])
    np.testing.assert_allclose(made.of(torch.from_numpy(numbers)).numpy(), wanted, rtol=2**-11, atol=2e-6)


def test_each_sentence_is_computed_once_over_all_fits(tmp_path: Path, cache: Path) -> None:
    teacher = Teacher(tiny_teacher(tmp_path / "teacher"))
    rows = [{"split": "train", "lang": "spa", "english": f"help {word}", "text": word} for word in "abcdef"]
    first = prepared(teacher, MemoryPairs([*rows[:4], {**rows[0], "lang": "hat"}]))
    assert first.computed == 4
    other = prepared(teacher, MemoryPairs([{**row, "text": "other"} for row in rows[::-1]]))
    assert other.computed == 2
    assert_right(other)
    assert prepared(teacher, MemoryPairs(rows)).computed == 0
    with pytest.raises(KeyError, match="english_rows"):
        other.of(torch.tensor([99]))


@pytest.mark.parametrize(
    "changed", ["weights", "heads", "pooling", "prompt", "length", "dtype", "tokenizer", "layers"]
)
def test_a_changed_anything_misses(tmp_path: Path, cache: Path, changed: str) -> None:
    folder = tmp_path / "teacher"
    teacher = Teacher(tiny_teacher(folder), MeanPooling(), 16)
    assert_right(prepared(teacher))
    other = {
        "weights": lambda: Teacher(tiny_teacher(tmp_path / "other", seed=10), MeanPooling(), 16),
        "pooling": lambda: Teacher(tiny_teacher(folder), ClsPooling(), 16),
        "prompt": lambda: Teacher(tiny_teacher(folder, prompt="help "), MeanPooling(), 16),
        "length": lambda: Teacher(tiny_teacher(folder), MeanPooling(), 5),
        "dtype": lambda: Teacher(tiny_teacher(folder, dtype="bfloat16"), MeanPooling(), 16),
        "layers": lambda: Teacher(tiny_teacher(folder, keep_layers=[1]), MeanPooling(), 16),
    }
    if changed in other:
        made = prepared(other[changed]())
    else:
        name, old, new = {
            "heads": ("config.json", '"num_attention_heads": 2', '"num_attention_heads": 4'),
            "tokenizer": ("tokenizer.json", "▁help", "▁halp"),
        }[changed]
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
        made = prepared(Teacher(tiny_teacher(folder), MeanPooling(), 16))
    assert made.computed == 52
    if changed != "dtype":
        assert_right(made)


@settings(max_examples=12, deadline=None)
@given(
    choices=st.lists(
        st.tuples(
            st.sampled_from([8, 9]),
            st.sampled_from([MeanPooling, MaxPooling]),
            st.sampled_from(["", "help "]),
            st.sampled_from([4, 32]),
        ),
        min_size=2,
        max_size=4,
    ),
    chosen=st.lists(st.integers(0, 5), min_size=1, max_size=6),
)
def test_teachers_never_get_one_anothers_vectors(
    tmp_path_factory: pytest.TempPathFactory, choices: list[Any], chosen: list[int]
) -> None:
    """Any teachers and data mixes one after another over one cache."""
    folder = tmp_path_factory.getbasetemp() / "teachers"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOCSIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        for seed, pooling, prompt, length in choices:
            if not (folder / str(seed)).exists():
                tiny_encoder(folder / str(seed), seed=seed)
            rows = [
                {
                    "split": "train",
                    "lang": "spa",
                    "english": ("help flood water food now " * 2)[number:],
                    "text": "casa",
                }
                for number in chosen
            ]
            teacher = Teacher(tiny_teacher(folder / str(seed), prompt=prompt), pooling(), length)
            assert_right(prepared(teacher, MemoryPairs(rows)))


def test_an_interrupted_computation_goes_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.models.teacher_vectors._BLOCK", 10)
    teacher = Teacher(tiny_teacher(tmp_path / "teacher"))
    plain, calls = LoadedTeacher.vectors, []

    def failing(self: Any, sentences: Any, budget: int) -> np.ndarray:
        calls.append(len(sentences))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(self, sentences, budget)

    monkeypatch.setattr(LoadedTeacher, "vectors", failing)
    with pytest.raises(KeyboardInterrupt):
        prepared(teacher)
    monkeypatch.setattr(LoadedTeacher, "vectors", plain)
    again = prepared(teacher)
    assert again.computed == 52 - 20
    assert_right(again)


def test_a_damaged_block_is_computed_again_aloud(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.models.teacher_vectors._BLOCK", 10)
    teacher = Teacher(tiny_teacher(tmp_path / "teacher"))
    prepared(teacher)
    (path,) = cache.glob("teachers/*/vectors")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="1 blocks of the teacher's vectors .* are damaged"):
        again = prepared(teacher)
    assert again.computed == 10
    assert_right(again)
    assert prepared(teacher).computed == 0
