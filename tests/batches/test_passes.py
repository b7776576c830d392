"""Passes: a partition in order of length, within a budget; padding and fillers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.batches.passes import collate, cut_even_passes, cut_passes

lengths_of_messages = st.lists(st.integers(1, 40), max_size=60).map(
    lambda found: np.array(found, dtype=np.int32)
)


@settings(deadline=None)
@given(lengths=lengths_of_messages, budget=st.integers(1, 200))
def test_passes_are_a_partition_within_the_budget_longest_first(lengths: np.ndarray, budget: int) -> None:
    passes = cut_passes(lengths, budget)
    everything = np.concatenate(passes) if passes else np.zeros(0, int)
    assert sorted(everything.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[everything]) <= 0).all()
    for chosen in passes:
        assert len(chosen) > 0
        assert len(chosen) == 1 or len(chosen) * lengths[chosen].max() <= budget


@settings(deadline=None)
@given(lengths=lengths_of_messages, budget=st.integers(1, 200))
def test_no_pass_could_take_the_first_message_of_the_next(lengths: np.ndarray, budget: int) -> None:
    passes = cut_passes(lengths, budget)
    for chosen in passes[:-1]:
        assert (len(chosen) + 1) * lengths[chosen].max() > budget


def test_equal_lengths_keep_their_order() -> None:
    passes = cut_passes(np.array([3, 5, 3, 5, 3]), 9)
    assert [chosen.tolist() for chosen in passes] == [[1], [3], [0, 2, 4]]


def test_a_message_beyond_the_budget_has_a_pass_of_its_own() -> None:
    assert [chosen.tolist() for chosen in cut_passes(np.array([2, 100, 2]), 4)] == [[1], [0, 2]]


def test_no_message_makes_no_pass() -> None:
    assert cut_passes(np.zeros(0, int), 8) == []


def test_collate_pads_on_the_right_and_masks_what_is_unknown() -> None:
    tokens = [np.array([0, 7, 8, 2], np.int32), np.array([0, 2], np.int32)]
    part = collate(tokens, np.array([[1, np.nan], [0, 1]], np.float32), np.array([4, 9]), pad_id=1)
    assert part.input_ids_BT.tolist() == [[0, 7, 8, 2], [0, 2, 1, 1]]
    assert part.mask_BT.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert part.targets_BL.tolist() == [[1, 0], [0, 1]]
    assert part.known_BL.tolist() == [[1, 0], [1, 1]]
    assert part.rows_B.tolist() == [4, 9]
    kinds = (torch.int64, torch.int64, torch.float32, torch.float32, torch.int64)
    assert tuple(tensor.dtype for tensor in part) == kinds


def test_a_fillers_labels_weigh_nothing() -> None:
    part = collate([np.array([0, 2], np.int32)], np.array([[1.0, 0.0]], np.float32), np.array([-1]), pad_id=1)
    assert part.known_BL.sum() == 0
    assert part.targets_BL.sum() == 0


def test_a_message_without_tokens_is_a_row_of_padding() -> None:
    part = collate([np.zeros(0, np.int32)], np.zeros((1, 2), np.float32), np.array([0]), pad_id=5)
    assert part.input_ids_BT.tolist() == [[5]]
    assert part.mask_BT.tolist() == [[0]]


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=60).map(np.array), budget=st.integers(1, 400)
)
def test_even_passes_are_as_many_keep_the_budget_and_never_need_more_memory(
    lengths: np.ndarray, budget: int
) -> None:
    def cost(chosen: np.ndarray) -> int:
        return int(lengths[chosen].max()) * len(chosen)

    greedy, even = cut_passes(lengths, budget), cut_even_passes(lengths, budget)
    assert len(even) == len(greedy)
    assert sorted(np.concatenate(even).tolist()) == list(range(len(lengths)))
    assert all(cost(chosen) <= budget or len(chosen) == 1 for chosen in even)
    assert max(map(cost, even)) <= max(map(cost, greedy))


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=60).map(np.array), budget=st.integers(1, 400)
)
def test_packed_passes_keep_the_budget_of_real_tokens_and_bound_attention(
    lengths: np.ndarray, budget: int
) -> None:
    greedy, even = cut_passes(lengths, budget, packed=True), cut_even_passes(lengths, budget, packed=True)
    assert len(even) == len(greedy)
    assert len(greedy) <= len(cut_passes(lengths, budget))
    for passes in (greedy, even):
        assert sorted(np.concatenate(passes).tolist()) == list(range(len(lengths)))
        for chosen in passes:
            longest = max(1, int(lengths[chosen].max()))
            if len(chosen) > 1:
                assert lengths[chosen].sum() <= budget
                assert len(chosen) * longest <= budget or len(chosen) * longest**2 <= 128 * budget


def test_packed_passes_spend_nothing_on_padding_but_spare_attention() -> None:
    # One long message and many short ones: 40 + 61 * 16 real tokens are one pass, though 62 * 40 padded ones.
    assert [len(chosen) for chosen in cut_passes(np.array([40] + [16] * 61), 1024, packed=True)] == [62]
    # A message of 512 beside short ones: every one of these would cost 512 * 512 scores a head.
    assert [len(chosen) for chosen in cut_passes(np.array([512] + [8] * 60), 1024, packed=True)] == [2, 59]


def test_even_passes_share_what_a_greedy_cut_leaves_to_a_crumb() -> None:
    lengths = np.full(32, 36)
    assert [len(chosen) for chosen in cut_passes(lengths, 1024)] == [28, 4]
    assert [len(chosen) for chosen in cut_even_passes(lengths, 1024)] == [16, 16]
