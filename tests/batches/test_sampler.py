"""Which messages stand in which optimiser step, on which rank, and that the position is state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.batches.sampler import PassSampler, StepSampler, epoch_steps
from tocsin.errors import ConfigError

lengths_of_messages = st.lists(st.integers(1, 40), min_size=1, max_size=80).map(np.array)
pools = st.integers(1, 6)
seeds = st.integers(0, 5)


def members(sampler: StepSampler) -> list[list[int]]:
    """Positions of each step, fillers included, sorted."""
    return [sorted(int(at) for part in step for at in part) for step in sampler]


def random_lengths(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(2, 60, count)


@settings(deadline=None)
@given(lengths=lengths_of_messages, batch=st.integers(1, 9), pool=pools, seed=seeds, epoch=st.integers(0, 3))
def test_steps_of_an_epoch_hold_each_message_once(lengths, batch, pool, seed, epoch) -> None:
    steps = epoch_steps(lengths, batch, pool, seed, epoch)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(lengths)))
    sizes = sorted((len(step) for step in steps), reverse=True)
    assert all(size == batch for size in sizes[:-1])
    assert 0 < sizes[-1] <= batch
    again = epoch_steps(lengths, batch, pool, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(steps, again, strict=True))


def test_without_pools_the_short_step_is_the_last() -> None:
    assert [len(step) for step in epoch_steps(random_lengths(20), 8, 1, 0, 0)] == [8, 8, 4]


def test_another_seed_or_epoch_is_another_order() -> None:
    lengths = random_lengths(64)
    orders = [
        np.concatenate(epoch_steps(lengths, 8, pool, seed, epoch)).tolist()
        for pool in (1, 4)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(order) for order in orders}) == 6


def test_messages_of_a_step_drawn_from_a_pool_are_alike_in_length() -> None:
    lengths = random_lengths(800)

    def spread(pool: int) -> float:
        return float(np.mean([np.ptp(lengths[step]) for step in epoch_steps(lengths, 8, pool, 0, 0)]))

    assert spread(50) < 0.1 * spread(1)
    # Steps are shuffled again: an epoch does not run from short messages to long ones.
    means = [lengths[step].mean() for step in epoch_steps(lengths, 8, 100, 0, 0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4


def test_pools_do_not_mix_messages_of_other_pools() -> None:
    lengths = random_lengths(96)
    order = np.random.default_rng([5, 2]).permutation(96)
    wanted = [frozenset(order[start : start + 32].tolist()) for start in (0, 32, 64)]
    for step in epoch_steps(lengths, 8, 4, 5, 2):
        assert any(set(step.tolist()) <= pool for pool in wanted)


@settings(deadline=None)
@given(
    lengths=lengths_of_messages,
    world=st.integers(1, 4),
    more=st.integers(0, 6),
    pool=pools,
    budget=st.integers(1, 120),
    seed=seeds,
)
def test_ranks_share_each_step(lengths, world, more, pool, budget, seed) -> None:
    batch = world + more
    ranks = [list(StepSampler(lengths, batch, budget, pool, seed, rank, world)) for rank in range(world)]
    steps = epoch_steps(lengths, batch, pool, seed, 0)
    assert {len(found) for found in ranks} == {len(steps)}
    for number, step in enumerate(steps):
        dealt = [np.concatenate(found[number]) for found in ranks]
        assert sorted(at for mine in dealt for at in mine if at >= 0) == sorted(step.tolist())
        for mine in dealt:
            # A filler stands alone, only where there are fewer messages than ranks.
            assert (mine >= 0).all() or (mine.tolist() == [-1] and len(step) < world)
        counts = [np.count_nonzero(mine >= 0) for mine in dealt]
        assert max(counts) - min(counts) <= 1
        for found in ranks:
            for part in found[number]:
                assert len(part) == 1 or len(part) * lengths[part].max() <= budget


def test_ranks_carry_like_numbers_of_tokens() -> None:
    lengths = random_lengths(640)
    ranks = [list(StepSampler(lengths, 64, 10_000, 1, 0, rank, 2)) for rank in range(2)]
    for mine, theirs in zip(*ranks, strict=True):
        a, b = (lengths[np.concatenate(step)].sum() for step in (mine, theirs))
        assert abs(a - b) <= lengths.max()


def test_a_step_smaller_than_the_ranks_gives_a_filler() -> None:
    lengths = np.arange(1, 10)
    last = [members(StepSampler(lengths, 4, 100, rank=rank, world_size=2))[-1] for rank in range(2)]
    assert sorted(map(len, last)) == [1, 1]
    assert [-1] in last


def test_fewer_messages_a_step_than_ranks_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 3 messages over 4 devices"):
        StepSampler(random_lengths(9), 3, 64, world_size=4)


@settings(deadline=None)
@given(done=st.integers(0, 30), pool=pools, seed=seeds)
def test_a_saved_position_goes_on_with_the_next_step(done: int, pool: int, seed: int) -> None:
    lengths = random_lengths(50)

    def build() -> StepSampler:
        return StepSampler(lengths, 8, 64, pool, seed)

    def endless(sampler: StepSampler):
        while True:
            for step in sampler:
                yield sorted(int(at) for part in step for at in part)

    steps = endless(interrupted := build())
    before = [next(steps) for _ in range(done)]
    state = interrupted.state_dict()
    resumed = build()
    resumed.load_state_dict(state)
    rest = endless(resumed)
    whole = endless(build())
    assert before + [next(rest) for _ in range(12)] == [next(whole) for _ in range(done + 12)]


def test_the_state_is_plain_data_and_brings_its_seed() -> None:
    sampler = StepSampler(random_lengths(20), 8, 64, seed=3)
    next(iter(sampler))
    assert sampler.state_dict() == {
        "epoch": 0,
        "step": 1,
        "seed": 3,
        "messages": 20,
        "batch_size": 8,
        "pool_steps": 1,
        "repeats": None,
    }
    other = StepSampler(random_lengths(20), 8, 64, seed=4)
    other.load_state_dict(sampler.state_dict())
    assert other.seed == 3


def test_a_position_over_other_messages_is_refused() -> None:
    state = StepSampler(random_lengths(20), 8, 64).state_dict()
    with pytest.raises(ConfigError, match=r"saved over 20 training messages; there are 21 now"):
        StepSampler(random_lengths(21), 8, 64).load_state_dict(state)


def test_an_epoch_cut_short_is_left_behind_by_set_epoch() -> None:
    lengths = random_lengths(40)
    sampler = StepSampler(lengths, 8, 64, seed=1)
    steps = iter(sampler)
    next(steps), next(steps)
    sampler.set_epoch(1)
    second = members(sampler)
    wanted = [sorted(step.tolist()) for step in epoch_steps(lengths, 8, 1, 1, 1)]
    assert second == wanted
    assert len(sampler) == 5


def test_set_epoch_keeps_a_position_inside_that_epoch() -> None:
    sampler = StepSampler(random_lengths(40), 8, 64)
    sampler.load_state_dict(
        {"epoch": 2, "step": 3, "seed": 0, "messages": 40, "batch_size": 8, "pool_steps": 1}
    )
    sampler.set_epoch(2)
    assert len(members(sampler)) == 2
    sampler.set_epoch(3)
    assert (sampler.epoch, sampler.step) == (3, 0)


def test_who_stops_after_the_last_step_gets_the_next_epoch() -> None:
    lengths = random_lengths(16)
    sampler = StepSampler(lengths, 8, 64, seed=1)
    steps = iter(sampler)
    next(steps), next(steps)  # the generator never learns that nobody asks again
    assert members(sampler) == [sorted(step.tolist()) for step in epoch_steps(lengths, 8, 1, 1, 1)]


@settings(deadline=None)
@given(lengths=lengths_of_messages, world=st.integers(1, 4), budget=st.integers(1, 120))
def test_evaluation_passes_hold_each_message_once_over_all_ranks(lengths, world, budget) -> None:
    samplers = [PassSampler(lengths, budget, rank, world) for rank in range(world)]
    seen = [int(at) for sampler in samplers for step in sampler for part in step for at in part]
    assert sorted(at for at in seen if at >= 0) == list(range(len(lengths)))
    # Every rank has a pass, a filler if need be: one without any would not join the others in gathering.
    assert all(len(sampler) for sampler in samplers)
    assert [len(list(sampler)) for sampler in samplers] == [len(sampler) for sampler in samplers]
    assert max(map(len, samplers)) - min(map(len, samplers)) <= 1
