"""Shares, quotas and orders of sentence pairs, against their definitions and naive references."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.batches.pair_sampling import PairOrder, permuted, shares
from tocsin.batches.pair_selection import HeldOut, mixed, thresholds

GROUPS = [("a", "fra", 900), ("a", "hat", 100), ("b", "fra", 100), ("b", "swh", 9)]


def test_shares_by_hand() -> None:
    assert shares(GROUPS, "proportional", 0.5, None) == pytest.approx(np.array([900, 100, 100, 9]) / 1109)
    assert shares(GROUPS, "equal", 0.5, None) == pytest.approx([0.25] * 4)
    # Languages: fra 1000, hat 100, swh 9. To the power .5: 31.62, 10, 3. Within fra: 30 and 10.
    languages = np.array([1000**0.5, 10, 3]) / (1000**0.5 + 13)
    wanted = [languages[0] * 0.75, languages[1], languages[0] * 0.25, languages[2]]
    assert shares(GROUPS, "temperature", 0.5, None) == pytest.approx(wanted)
    wanted = [1 / 3 * 0.9, 1 / 3, 1 / 3 * 0.1, 1 / 3]
    assert shares(GROUPS, "temperature", 0.0, 1.0) == pytest.approx(wanted)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_shares_sum_to_one_and_exponent_one_is_proportional(
    sizes: list[int], alpha: float, beta: float
) -> None:
    groups = [(f"s{n % 2}", f"l{n // 2}", size) for n, size in enumerate(sizes)]
    assert shares(groups, "temperature", alpha, beta).sum() == pytest.approx(1)
    proportional = shares(groups, "proportional", 0, 0)
    assert shares(groups, "temperature", 1.0, None) == pytest.approx(proportional)


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_a_permutation_meets_each_number_once(size: int, key: int) -> None:
    found = permuted(np.arange(size), np.full(size, size), np.full(size, key, np.uint64))
    assert sorted(found.tolist()) == list(range(size))


def test_permutations_of_several_sizes_at_once_and_of_large_ones() -> None:
    sizes = np.array([1, 2, 3, 2**32, 2**40 + 1])
    keys = np.arange(5, dtype=np.uint64)
    together = permuted(sizes - 1, sizes, keys)
    alone = [int(permuted(sizes[n : n + 1] - 1, sizes[n : n + 1], keys[n : n + 1])[0]) for n in range(5)]
    assert together.tolist() == alone
    assert (together < sizes).all()


def test_permutations_look_random() -> None:
    """Each of 5! orders of 5 comes about as often as chance has it (chi-square, 119 degrees of freedom)."""
    draws = 12_000
    keys = mixed(np.arange(draws, dtype=np.uint64), 9)
    orders = np.stack([permuted(np.full(draws, n), np.full(draws, 5), keys) for n in range(5)], axis=1)
    counts = np.array(list(Counter(map(tuple, orders.tolist())).values()))
    assert len(counts) == 120
    assert 60 < ((counts - 100) ** 2 / 100).sum() < 200


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=7),
    st.integers(0, 5),
    st.integers(0, 2**32),
    st.sampled_from(["proportional", "equal", "temperature"]),
    st.none() | st.integers(1, 150),
)
def test_quotas_and_rounds(
    sizes: list[int], epoch: int, seed: int, sampling: str, budget: int | None
) -> None:
    groups = [("s", f"l{n}", size) for n, size in enumerate(sizes)]
    share = shares(groups, sampling, 0.3, None)  # type: ignore[arg-type]
    draws = budget or sum(sizes)
    order = PairOrder(np.array(sizes), share, draws, seed)
    quotas = order.quotas(epoch)
    assert quotas.sum() == draws
    assert (np.abs(quotas - share * draws) < 1 + 1e-6).all()
    if sampling == "proportional" and budget is None:
        assert quotas.tolist() == sizes
    # What an epoch shows: of each group its quota; over epochs, no pair a second time more than another.
    starts = np.cumsum([0, *sizes])
    seen = np.zeros(sum(sizes), int)
    for number in range(epoch + 1):
        pairs = order.pairs(number, np.arange(draws))
        drawn = np.searchsorted(starts, pairs, side="right") - 1
        assert np.bincount(drawn, minlength=len(sizes)).tolist() == order.quotas(number).tolist()
        seen += np.bincount(pairs, minlength=len(seen))
        for low, high in pairwise(starts):
            assert seen[low:high].max() - seen[low:high].min() <= 1


def test_quotas_meet_the_shares_over_epochs() -> None:
    share = np.array([0.004, 0.333, 0.663])
    order = PairOrder(np.array([5, 50, 500]), share, 10, 3)
    total = sum(order.quotas(epoch) for epoch in range(4000))
    assert total / 40_000 == pytest.approx(share, abs=0.003)


def test_an_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return PairOrder(np.array([300]), np.ones(1), 300, seed).pairs(epoch, np.arange(300)).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    part = PairOrder(np.array([300]), np.ones(1), 300, 1).pairs(0, np.arange(70, 80))
    assert part.tolist() == order(1, 0)[70:80]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1)), unique_by=lambda one: one[1]),
    st.integers(1, 9),
)
def test_thresholds_are_the_cap_th_smallest(rows: list[tuple[int, int]], cap: int) -> None:
    groups = np.array([group for group, _ in rows], np.int64)
    keys = np.array([key for _, key in rows], np.uint64)
    parts = [(keys[::2], groups[::2]), (keys[1::2], groups[1::2])]
    limits = thresholds(lambda: parts, np.bincount(groups, minlength=4), cap)
    for group in range(4):
        mine = sorted(int(key) for key in keys[groups == group])
        kept = [key for key in mine if key <= int(limits[group])]
        assert kept == mine[:cap]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), unique=True),
    st.integers(0, 5),
    st.sampled_from([0.1, 0.3, 1.0]),
)
def test_held_out_is_what_a_sort_would_choose(rows: list[tuple[int, int]], most: int, share: float) -> None:
    language = np.array([lang for lang, _ in rows], np.int64)
    english = np.array([key for _, key in rows], np.uint64)
    pairs = np.arange(len(rows), dtype=np.uint64) + np.uint64(1000)
    whole, parted = HeldOut(most, share, 5), HeldOut(most, share, 5)
    whole.see(language, english, pairs)
    for start in range(0, len(rows), 4):
        part = slice(start, start + 4)
        parted.see(language[part], english[part], pairs[part])
    wanted: set[int] = set()
    for lang in range(3):
        mine = [n for n in range(len(rows)) if language[n] == lang]
        mine.sort(key=lambda n: (int(mixed(english[n : n + 1], 5)[0]), int(mixed(pairs[n : n + 1], 5)[0])))
        wanted |= {int(pairs[n]) for n in mine[: min(most, int(Fraction(str(share)) * len(mine)))]}
    for drawn in (whole, parted):
        of, chosen = drawn.chosen()
        assert set(chosen.tolist()) == wanted
        assert set(of.tolist()) == {int(english[n]) for n in range(len(rows)) if int(pairs[n]) in wanted}
