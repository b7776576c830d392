"""Exact search against the whole matrix, at every size of block."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import ConfigError, DataError
from tocsin.vectors import nearest
from tocsin.vectors.search import _Rows, lengths


def whole_matrix(source_ND: np.ndarray, target_MD: np.ndarray) -> np.ndarray:
    """All cosines, float64."""
    source, target = (
        vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        for vectors in (source_ND, target_MD)
    )
    return source @ target.T


@given(
    sources=st.integers(1, 90),
    targets=st.integers(1, 90),
    width=st.integers(2, 20),
    block=st.integers(1, 100),
    copies=st.integers(0, 5),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=60)
def test_it_finds_what_the_whole_matrix_holds(
    sources: int, targets: int, width: int, block: int, copies: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    source_ND = generator.standard_normal((sources, width)).astype(np.float32)
    target_MD = generator.standard_normal((targets, width)).astype(np.float32)
    # Copies of other lengths; by powers of two, for these change no digit.
    for vectors in (source_ND, target_MD):
        for _ in range(copies):
            one, other = generator.integers(0, len(vectors), 2)
            vectors[one] = vectors[other] * 2.0 ** generator.integers(-3, 4)
    cosine_NM = whole_matrix(source_ND, target_MD)
    found = nearest(source_ND, target_MD, block=block)
    for cosines, places, values in (
        (cosine_NM, found.target_N, found.target_cosine_N),
        (cosine_NM.T, found.source_M, found.source_cosine_M),
    ):
        rows = np.arange(len(cosines))
        np.testing.assert_allclose(values, cosines.max(axis=1), atol=1e-6)
        np.testing.assert_allclose(cosines[rows, places], cosines.max(axis=1), atol=1e-6)
        # Of copies the first: nothing before the one found is as near, but for what lies within rounding of it.
        ties = (np.abs(cosines - cosines.max(axis=1, keepdims=True)) < 1e-12) & (
            np.arange(cosines.shape[1]) < places[:, None]
        )
        assert not ties.any()


@pytest.mark.parametrize("block", [1, 2, 3, 31, 32, 33, 64, 1000])
def test_equal_vectors_give_the_first_whatever_the_block(block: int) -> None:
    same = np.tile(np.random.default_rng(0).standard_normal(384).astype(np.float32), (77, 1))
    found = nearest(same, same, block=block)
    assert not found.target_N.any()
    assert not found.source_M.any()


def test_minus_zero_is_zero() -> None:
    target = np.array([[1.0, -0.0], [1.0, 0.0]], np.float32)
    assert nearest(target, target).target_N.tolist() == [0, 0]


def test_vectors_whose_hashes_meet_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Multipliers:
        def integers(self, low: int, high: int, size: int, dtype: type) -> np.ndarray:
            return np.zeros(size, dtype)

    vectors = np.random.default_rng(3).standard_normal((40, 8)).astype(np.float32)
    vectors[30] = vectors[0]
    with monkeypatch.context() as patch:
        # Every multiplier 1: the hash is the sum of the numbers' bits, which all permutations of a row share.
        patch.setattr(np.random, "default_rng", lambda seed: Multipliers())
        vectors[20] = vectors[10][::-1]
        rows = _Rows(vectors, "source", 7)
        found = nearest(vectors, vectors)
    assert rows.place_N[20] != rows.place_N[10]
    assert len(rows) == 39
    assert found.target_N.tolist() == [*range(30), 0, *range(31, 40)]


def test_half_precision_and_memory_maps_are_read_in_place(tmp_path) -> None:  # type: ignore[no-untyped-def]
    vectors = np.random.default_rng(1).standard_normal((300, 32)).astype(np.float16)
    stored = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float16, vectors.shape)
    stored[:] = vectors
    found = nearest(np.load(tmp_path / "v.npy", mmap_mode="r"), vectors.astype(np.float32), block=64)
    assert found.target_N.tolist() == list(range(300))


def test_large_sets_are_scaled_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(1).standard_normal((300, 32)).astype(np.float32)
    others = vectors + np.random.default_rng(2).standard_normal(vectors.shape).astype(np.float32)
    wanted = nearest(vectors, others, block=64)
    monkeypatch.setattr("tocsin.vectors.search._KEPT_BYTES", 0)
    found = nearest(vectors, others, block=64)
    np.testing.assert_array_equal(found.target_N, wanted.target_N)
    np.testing.assert_array_equal(found.source_cosine_M, wanted.source_cosine_M)


def test_it_tells_how_far_it_is() -> None:
    vectors = np.random.default_rng(1).standard_normal((100, 8)).astype(np.float32)
    vectors[50:60] = vectors[3]
    done: list[int] = []
    nearest(vectors, vectors, block=30, advance=done.append)
    assert sum(done) == 100
    assert len(done) == 3  # 90 distinct ones


@pytest.mark.slow
def test_memory_is_a_block_s_not_the_matrix_s() -> None:
    code = """
import numpy as np, resource
from tocsin.vectors import nearest
n = 30_000
vectors = np.random.default_rng(0).standard_normal((n, 16), dtype=np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = nearest(vectors, vectors)
assert (found.target_N == np.arange(n)).all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    used = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(used.stdout) < 120  # MB; the matrix would take 3,600


@pytest.mark.parametrize(
    ("value", "what"), [(0.0, "zero"), (np.nan, "infinite or NaN"), (np.inf, "infinite or NaN")]
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_vector_without_a_direction_is_named(value: float, what: str, side: str) -> None:
    good = np.ones((5, 3), np.float32)
    bad = good.copy()
    bad[3] = value
    with pytest.raises(DataError, match=rf"{side} vectors.*row 4 is {what}") as caught:
        nearest(*((bad, good) if side == "source" else (good, bad)))
    assert caught.value.row == 4


def test_small_vectors_have_a_direction() -> None:
    small = np.eye(3, dtype=np.float32) * np.float32(1e-30)
    assert nearest(small, np.eye(3)).target_N.tolist() == [0, 1, 2]
    assert lengths(small, "x").tolist() == pytest.approx([1e-30] * 3)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ones((2, 4)), "4 wide and the target vectors 3"),
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((0, 3)), "at least one row"),
        (np.ones((2, 0)), "at least one row"),
        (np.ones((2, 3), np.int64), "int64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(source: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        nearest(source, np.ones((2, 3)))


def test_a_block_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="block is 0"):
        nearest(np.ones((2, 3)), np.ones((2, 3)), block=0)


def test_the_room_needs_numpy_alone() -> None:
    code = (
        "import sys, tocsin.vectors\n"
        "late = {'torch', 'sklearn', 'scipy', 'lightning', 'pyarrow', 'rich'} & set(sys.modules)\n"
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
