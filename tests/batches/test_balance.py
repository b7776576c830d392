"""Rare labels: how often their messages come in an epoch, against the formula; and which labels have too few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.batches.balance import (
    draw_epoch,
    messages_an_epoch,
    positives_of,
    repeat_factors,
    repeats_digest,
    sampling_facts,
)
from tocsin.batches.rare_labels import rare_labels
from tocsin.batches.sampler import StepSampler, epoch_steps
from tocsin.errors import ConfigError

NULL = np.nan
factors_of_messages = st.lists(
    st.one_of(st.just(1.0), st.floats(1.0, 6.0, allow_nan=False)), min_size=1, max_size=60
).map(np.array)
target_matrices = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, NULL, 0.5, 0.4]), min_size=3, max_size=3), min_size=1, max_size=30
).map(lambda rows: np.array(rows, np.float32))


@given(targets_NL=target_matrices, threshold=st.floats(0.001, 1.0))
def test_factors_are_those_of_the_paper(targets_NL: np.ndarray, threshold: float) -> None:
    rows = targets_NL.tolist()
    for row, found in zip(rows, repeat_factors(targets_NL, threshold), strict=True):
        wanted = 1.0
        for label, target in enumerate(row):
            if target >= 0.5:  # never of NaN
                share = sum(other[label] >= 0.5 for other in rows) / len(rows)
                wanted = max(wanted, math.sqrt(threshold / share))
        assert found == pytest.approx(wanted, rel=1e-12)


def test_a_hand_computed_case() -> None:
    targets_NL = np.zeros((100, 2), np.float32)
    targets_NL[0, 0] = 1  # on in 1 of 100: sqrt(0.09 / 0.01) = 3
    targets_NL[:4, 1] = 1  # on in 4 of 100: sqrt(0.09 / 0.04) = 1.5
    factors = repeat_factors(targets_NL, 0.09)
    assert factors[:5].tolist() == pytest.approx([3, 1.5, 1.5, 1.5, 1])
    assert messages_an_epoch(factors) == 96 + 3 + 3 + 1  # of three halves, one message
    facts = sampling_facts(targets_NL, factors, 0.09)
    assert facts["prior_seen"] == pytest.approx([3 / 103.5, 7.5 / 103.5])
    assert (facts["messages_repeated"], facts["largest_factor"]) == (4, pytest.approx(3))


@settings(deadline=None)
@given(factors=factors_of_messages, seed=st.integers(0, 9))
def test_an_epoch_has_its_size_and_every_message_its_whole_part_or_one_more(factors, seed) -> None:
    drawn = draw_epoch(factors, np.random.default_rng(seed))
    assert len(drawn) == messages_an_epoch(factors)
    times = np.bincount(drawn, minlength=len(factors))
    extra = times - np.floor(factors)
    assert set(extra.tolist()) <= {0.0, 1.0}
    assert (extra[factors == np.floor(factors)] == 0).all()
    assert np.array_equal(drawn, draw_epoch(factors, np.random.default_rng(seed)))


def test_over_many_epochs_messages_come_as_often_as_their_factors() -> None:
    factors = np.concatenate([np.ones(20), np.full(10, 1.25), np.full(5, 2.7), [4.0]])
    generator = np.random.default_rng(0)
    draws = 4000
    times = sum(np.bincount(draw_epoch(factors, generator), minlength=36) for _ in range(draws)) / draws
    # The fractions sum to 6; a share of 0.7 over 4,000 draws has a standard error of 0.007.
    np.testing.assert_allclose(times, factors, atol=0.04)
    assert times[:20].tolist() == [1.0] * 20
    assert times[-1] == 4.0


@settings(deadline=None)
@given(
    factors=factors_of_messages,
    batch=st.integers(2, 9),
    pool=st.integers(1, 4),
    world=st.integers(1, 2),
    epoch=st.integers(0, 2),
)
def test_steps_are_of_exact_size_and_shared_among_ranks(factors, batch, pool, world, epoch) -> None:
    lengths = np.random.default_rng(1).integers(2, 40, len(factors))
    steps = epoch_steps(lengths, batch, pool, 5, epoch, factors)
    sizes = sorted((len(step) for step in steps), reverse=True)
    assert all(size == batch for size in sizes[:-1])
    assert sum(sizes) == messages_an_epoch(factors)
    assert set(np.concatenate(steps).tolist()) == set(range(len(factors)))
    samplers = [StepSampler(lengths, batch, 90, pool, 5, rank, world, factors) for rank in range(world)]
    dealt = []
    for sampler in samplers:
        assert len(sampler) == len(steps)
        sampler.set_epoch(epoch)
        dealt.append([np.concatenate(step) for step in sampler])
    for number, step in enumerate(steps):
        together = [int(at) for mine in dealt for at in mine[number] if at >= 0]
        assert sorted(together) == sorted(step.tolist())


def test_factors_of_one_change_nothing_about_an_epoch_but_the_order() -> None:
    lengths = np.arange(1, 21)
    assert sorted(np.concatenate(epoch_steps(lengths, 8, 1, 0, 0, np.ones(20))).tolist()) == list(range(20))


@settings(deadline=None)
@given(done=st.integers(0, 20), pool=st.integers(1, 3))
def test_a_saved_position_goes_on_with_the_next_step(done: int, pool: int) -> None:
    lengths = np.random.default_rng(3).integers(2, 60, 30)
    factors = np.where(np.arange(30) % 7 == 0, 2.6, 1.0)

    def build() -> StepSampler:
        return StepSampler(lengths, 8, 64, pool, 1, repeats=factors)

    def endless(sampler: StepSampler):
        while True:
            for step in sampler:
                yield sorted(int(at) for part in step for at in part)

    steps = endless(interrupted := build())
    before = [next(steps) for _ in range(done)]
    resumed = build()
    resumed.load_state_dict(interrupted.state_dict())
    rest, whole = endless(resumed), endless(build())
    assert before + [next(rest) for _ in range(9)] == [next(whole) for _ in range(done + 9)]


def test_a_position_inside_an_epoch_with_other_repeats_is_refused() -> None:
    lengths = np.arange(1, 21)

    def build(factors: np.ndarray | None) -> StepSampler:
        return StepSampler(lengths, 8, 64, repeats=factors)

    inside = {**build(np.full(20, 1.5)).state_dict(), "step": 2}
    for other in (None, np.full(20, 1.25)):
        with pytest.raises(ConfigError, match="Resume with the same `balanced`"):
            build(other).load_state_dict(inside)
        build(other).load_state_dict({**inside, "step": 0})
    build(np.full(20, 1.5)).load_state_dict(inside)
    # Saved before messages could be repeated.
    old = {**build(None).state_dict(), "step": 2}
    del old["repeats"]
    build(None).load_state_dict(old)
    with pytest.raises(ConfigError, match="balanced"):
        build(np.full(20, 1.5)).load_state_dict(old)
    assert repeats_digest(np.full(20, 1.5)) != repeats_digest(np.full(20, 1.25))


def test_positives_and_rare_labels() -> None:
    targets_NL = np.array([[1, 0, 0.5, NULL], [1, 0, 0.4, NULL], [NULL, 0, 1, NULL]], np.float32)
    positives_L = positives_of(targets_NL)
    assert positives_L.tolist() == [2, 0, 2, 0]
    names = ("fire", "rain", "heat", "snow")
    assert rare_labels(names, positives_L, 0) is None
    assert rare_labels(names, positives_L, 1) == (
        "2 of 4 labels have fewer than 1 positive training message: rain (0), snow (0)."
    )
    assert rare_labels(names, positives_L, 3) == (
        "4 of 4 labels have fewer than 3 positive training messages: rain (0), snow (0), fire (2), heat (2)."
    )
    many = rare_labels([f"l{n}" for n in range(25)], np.zeros(25, int), 1)
    assert many is not None
    assert many.endswith(" and 5 more.")
